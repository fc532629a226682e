"""`plugfleet init`: writes settings file, key and database of a new controller, or adds a key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli import configuration, output
from controller.cli.configuration import ConfigFile
from controller.cli.exits import CommandError
from controller.cli.options import AsJson

if TYPE_CHECKING:
    from controller.settings import Settings


def init(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the database, the deploy line, keys and run records."),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL in place of an SQLite file in the data folder.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where people and control nodes reach the controller.")
    ] = None,
    config: ConfigFile = None,
    first_token: Annotated[
        bool,
        typer.Option(
            "--token", help="Make the first admin token now; else the first start makes it."
        ),
    ] = False,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Only put a new key first among those of a controller that there is already.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set up a new controller: settings file, key, database. Nothing that is there is overwritten.

    Other settings are PLUGFLEET_... variables or lines of the settings file
    (docs/controller-settings.md).
    """
    if new_key:
        _add_key(config, as_json=as_json)
        return
    from controller.settings import settings_file

    configuration.use_file(config)
    file = settings_file()
    if file.exists():
        raise CommandError(
            f"{file} is there already; nothing was changed",
            hint="start the controller with `plugfleet serve`, or name another file with --config",
        )
    settings = configuration.load(
        None, new=True, data_dir=data_dir, database_url=database_url, public_url=public_url
    )
    if settings.key_file.exists() or (settings.data_dir / "plugfleet.db").exists():
        raise CommandError(
            f"{settings.data_dir} holds a controller's data already; nothing was changed",
            hint="name another folder with --data-dir or PLUGFLEET_DATA_DIR",
        )
    _write(
        file,
        {
            "data_dir": str(settings.data_dir),
            "database_url": database_url or "",
            "public_url": public_url or "",
        },
    )
    try:
        token = _open(settings, first_token=first_token)
    except BaseException:
        # Neither was there before: with them left behind, `init` could not be repeated.
        file.unlink(missing_ok=True)
        settings.key_file.unlink(missing_ok=True)
        raise
    if as_json:
        output.show_json({"config": str(file), "data_dir": str(settings.data_dir), "token": token})
        return
    output.say(f"Settings: {file}\nData:     {settings.data_dir}")
    if token:
        output.say(f"The first admin token, which is shown this once. Keep it:\n\n    {token}\n")
    output.say(
        "Keep a copy of the key file apart from the data: secrets cannot be read without it."
    )
    output.say("Start the controller with `plugfleet serve`.")


def _open(settings: Settings, *, first_token: bool) -> str | None:
    """Make key and database; returns the text of the first token if it is wanted."""
    from controller.app import open_context
    from controller.auth import service

    with configuration.told(settings):
        context = open_context(settings)
        try:
            with context.database.write() as session:
                return service.first_token(session) if first_token else None
        finally:
            context.database.close()


def _add_key(config: Path | None, *, as_json: bool) -> None:
    """Put a new key first; the key itself is shown only where it lives in a variable."""
    settings = configuration.load(config)
    from controller.auth import vault
    from controller.operations.keys import add_key

    key = None
    if settings.secret_key:
        key = vault.new_key()
        done = f"Put this key first in PLUGFLEET_SECRET_KEY, with a comma after it:\n\n    {key}\n"
    else:
        configuration.need_keys(settings)
        with configuration.told(settings):
            count = add_key(settings.key_file)
        done = f"{settings.key_file} holds {count} keys now, the new one first."
    if as_json:
        output.show_json({"key_file": None if key else str(settings.key_file), "key": key})
        return
    output.say(done)
    first = "Restart every controller" if key else "Controllers that read this file have it already"
    output.say(f"{first}. Then run `plugfleet secrets rotate`.")


def _write(file: Path, values: Mapping[str, str]) -> None:
    """Write the settings file; it may hold a database's password, so only its owner reads it."""
    lines = ["# Settings of the plugfleet controller; docs/controller-settings.md lists them all."]
    # A JSON string is a TOML string too.
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items() if value]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, flags, 0o600), "w") as stream:
            stream.write("\n".join(lines) + "\n")
    except OSError as error:
        raise CommandError(
            f"cannot write {file}: {error.strerror or error}",
            hint="name another file with --config or PLUGFLEET_CONFIG",
        ) from None
