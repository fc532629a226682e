"""Bringing a database's tables to what this version of the controller needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from controller.database.tables import METADATA
from controller.errors import PlugfleetError

_MIGRATIONS = Path(__file__).with_name("migrations")


def config(engine: Engine) -> Config:
    """Alembic's configuration for one database."""
    result = Config()
    result.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    result.attributes["engine"] = engine
    result.attributes["metadata"] = METADATA
    return result


def upgrade(engine: Engine) -> None:
    """Apply every migration that is missing; does nothing where none is.

    Raises:
        PlugfleetError: a newer version of plugfleet has been at this database.
    """
    present = version(engine)
    known, head = _scripts()
    if present and present not in known:
        raise PlugfleetError(
            f"the database is of a newer plugfleet (schema {present})",
            hint="run that version, or restore the backup made before the upgrade",
        )
    if present != head:
        command.upgrade(config(engine), "head")


@cache
def _scripts() -> tuple[frozenset[str], str | None]:
    """The revisions that this version has scripts for, and the newest; reading them compiles each."""
    scripts = ScriptDirectory(str(_MIGRATIONS))
    known = frozenset(script.revision for script in scripts.walk_revisions())
    return known, scripts.get_current_head()


def version(engine: Engine) -> str | None:
    """The schema's revision in the database, or None where there is none."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
