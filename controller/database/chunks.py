"""Many ids or names in portions: a database takes so many parameters in one statement, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

AT_ONCE = 1_000
"""Parameters of one statement; SQLite takes 32,766, PostgreSQL 65,535."""

_Item = TypeVar("_Item")


def chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Portions that fit into one statement, in the same order."""
    rest = list(items)
    for start in range(0, len(rest), AT_ONCE):
        yield rest[start : start + AT_ONCE]
