"""SQL statements that are compiled once a process, though each test has a database of its own.

SQLAlchemy keeps what it has compiled with the engine, under the engine's dialect (its documentation,
"SQL Compilation Caching"). To compile everything anew is a twelfth of what short tests take.
"""

from __future__ import annotations

from collections import UserDict
from typing import Any

import sqlalchemy
from sqlalchemy import Engine

_kept: dict[str, Compiled] = {}


class Compiled(UserDict[Any, Any]):
    """What engines of one kind have compiled. A key begins with the dialect; theirs are all alike."""

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        return self.data[key[1:]]

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        self.data[key[1:]] = compiled

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[1:] in self.data


def create_engine(url: str, **options: Any) -> Engine:
    """An engine that has compiled what others of its kind have.

    Args:
        url: of the database.
        options: SQLAlchemy's own.
    """
    engine = sqlalchemy.create_engine(url, **options)
    kept = _kept.setdefault(engine.dialect.name, Compiled())
    engine.update_execution_options(compiled_cache=kept)
    return engine
