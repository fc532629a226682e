"""Alembic's way into the controller's database; `migrate.config` hands over the engine."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from controller.database import base

# Two controllers that start at once must not both migrate; the number is any that nobody else uses.
_MIGRATION_LOCK = 0x706C7567


def _include(name: str | None, kind: str, parents: Any) -> bool:
    return not (kind == "table" and name is not None and name.startswith("sqlite_"))


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    """Write our own column types by their names."""
    if kind != "type":
        return False
    for name in ("Json", "JsonOrNull", "UtcDateTime"):
        own = getattr(base, name)
        if item is own or (isinstance(own, type) and isinstance(item, own)):
            autogen.imports.add(f"from controller.database.base import {name}")
            return name
    return False


engine = context.config.attributes["engine"]
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes["metadata"],
        render_as_batch=connection.dialect.name == "sqlite",
        include_name=_include,
        render_item=_render,
        compare_type=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        context.run_migrations()
