"""The controller's settings as commands of its own machine use them, with trouble told in sentences."""

from __future__ import annotations

import os
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controller.settings import Settings
    from controller.web.deps import Context

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The settings file, instead of PLUGFLEET_CONFIG or /etc/plugfleet/controller.toml.",
    ),
]


def use_file(file: Path | None) -> None:
    """Make a settings file the one of this process and of those that it starts."""
    if file is not None:
        os.environ["PLUGFLEET_CONFIG"] = str(file.expanduser().absolute())


def load(file: Path | None, *, new: bool = False, **given: Any) -> Settings:
    """The settings: what the command line gives, then environment, then file.

    Args:
        file: the settings file of the command line, or None.
        new: the file that is named is yet to be made.

    Raises:
        CommandError: names the setting, or the file.
    """
    from pydantic import ValidationError

    from controller.settings import Settings, SettingsError, check_settings_file, settings_file

    use_file(file)
    try:
        if not new:
            check_settings_file()
        return Settings(**{key: value for key, value in given.items() if value is not None})
    except SettingsError as error:
        raise CommandError(error.message, hint=error.hint) from None
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{settings_file()} is not TOML: {error}") from None
    except OSError as error:
        raise CommandError(f"cannot read {settings_file()}: {error.strerror or error}") from None
    except ValidationError as error:
        raise CommandError(
            "the controller's settings are wrong",
            details=[_setting(entry) for entry in error.errors(include_input=False)],
            hint=f"they come from PLUGFLEET_... variables and {settings_file()}; "
            "docs/controller-settings.md lists them",
        ) from None
    except ValueError as error:
        # A variable that should be JSON, or a file that is not UTF-8.
        raise CommandError(f"the controller's settings are wrong: {error}") from None


@contextmanager
def existing(file: Path | None) -> Iterator[Context]:
    """What a controller has open that was set up before; trouble within is told as `told` does.

    Raises:
        CommandError: there is none: the settings are probably another one's.
    """
    settings = load(file)
    need_keys(settings)
    from controller.app import open_context

    with told(settings):
        context = open_context(settings)
        try:
            yield context
        finally:
            context.database.close()


def need_keys(settings: Settings) -> None:
    """Refuse to go on where no controller was set up: a new, empty one would be made.

    Raises:
        CommandError: names the key file that is missing.
    """
    if not settings.secret_key and not settings.key_file.exists():
        raise CommandError(
            f"there is no key file {settings.key_file}",
            hint="name the controller's settings with --config, PLUGFLEET_CONFIG or PLUGFLEET_DATA_DIR",
        )


def _setting(entry: Any) -> str:
    name = ".".join(str(part) for part in entry["loc"]).lower()
    message = "there is no such setting" if entry["type"] == "extra_forbidden" else entry["msg"]
    return f"{name}: {message}" if name else message  # several settings together have none


@contextmanager
def told(settings: Settings) -> Iterator[None]:
    """Say what trouble with the data folder, the keys or the database means.

    Raises:
        CommandError: in place of the trouble.
    """
    from alembic.util import CommandError as MigrationError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    from controller.errors import PlugfleetError, Unavailable

    try:
        yield
    except Unavailable as error:
        raise CommandError(error.message, hint=error.hint, exit_code=Exit.NOT_REACHABLE) from None
    except PlugfleetError as error:
        raise CommandError(error.message, hint=error.hint) from None
    except (ArgumentError, NoSuchModuleError, ImportError):
        # The URL may hold a password: it is not shown.
        raise CommandError(
            "database_url is not a URL of SQLite or PostgreSQL",
            hint="write it as postgresql+psycopg://user@host/name",
        ) from None
    except MigrationError as error:
        raise CommandError(
            f"the database cannot be brought to this version: {error}",
            hint="was it written by a newer plugfleet?",
        ) from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise CommandError(
            f"the database cannot be opened: {reason}", exit_code=Exit.NOT_REACHABLE
        ) from None
    except OSError as error:
        where = error.filename or settings.data_dir
        raise CommandError(
            f"cannot use {where}: {error.strerror or error}",
            hint=f"data_dir is {settings.data_dir}; another one is set with PLUGFLEET_DATA_DIR",
        ) from None
