"""Lists by page: keyset cursors, so that a page costs the same however deep it is, and rows that
come or go meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute, Session

from controller.errors import Invalid

Item = TypeVar("Item")
_Sortable = TypeVar("_Sortable")
Column = InstrumentedAttribute[Any]

Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of a page.")]
Cursor = Annotated[
    str, Query(max_length=2000, description="`next` of the page before; empty for the first page.")
]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: Annotated[
        str | None, Field(description="Cursor of the page that follows; null on the last one.")
    ] = None


def fetch_page(
    session: Session,
    query: Select[Any],
    *,
    sort: str,
    columns: Mapping[str, Column],
    key: Column,
    limit: int,
    cursor: str,
) -> tuple[Sequence[Any], str | None]:
    """One page of a query's rows.

    Args:
        sort: a name of `columns`, with `-` before it for descending.
        columns: what may be sorted by.
        key: a unique column that settles ties.
        cursor: of the page before.

    Returns:
        The rows, and the next page's cursor or None.

    Raises:
        Invalid: the sort is not known, or the cursor is not one of this list and sort.
    """
    column, descending = _sorted_by(sort, columns)
    if cursor:
        value, last = _decode(cursor, sort, column.type.python_type)
        query = query.where(_after(column, key, value, last, descending))
    order = (
        (column.desc().nulls_last(), key.desc())
        if descending
        else (column.asc().nulls_last(), key.asc())
    )
    rows = session.scalars(query.order_by(*order).limit(limit + 1)).unique().all()
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, _encode(sort, getattr(rows[-1], column.key), getattr(rows[-1], key.key))


def slice_page(
    rows: Iterable[Item],
    *,
    sort: str,
    columns: Mapping[str, Callable[[Item], str]],
    key: Callable[[Item], str],
    limit: int,
    cursor: str,
) -> tuple[list[Item], str | None]:
    """As `fetch_page`, of a list that is in memory.

    Args:
        columns: what may be sorted by.
        key: a text that no two rows share, which settles ties.
    """
    value, descending = _sorted_by(sort, columns)

    def place(row: Item) -> tuple[str, str]:
        return value(row), key(row)

    ordered = sorted(rows, key=place, reverse=descending)
    if cursor:
        shown, last_key = _decode(cursor, sort, str, str)
        after = (shown or "", last_key)
        ordered = [r for r in ordered if (place(r) < after if descending else place(r) > after)]
    if len(ordered) <= limit:
        return ordered, None
    return ordered[:limit], _encode(sort, *place(ordered[limit - 1]))


def _sorted_by(sort: str, columns: Mapping[str, _Sortable]) -> tuple[_Sortable, bool]:
    """What a sort names, and whether it is descending."""
    name = sort.removeprefix("-")
    if name not in columns:
        raise Invalid(
            f"cannot sort by {name[:50]!r}; known are {', '.join(sorted(columns))}",
            fields=[{"field": "query.sort", "message": "unknown"}],
        )
    return columns[name], sort.startswith("-")


def _after(
    column: Column, key: Column, value: Any, last: int, descending: bool
) -> ColumnElement[bool]:
    """The rows after (value, last); empty values stand at the end in either direction."""
    later_key = key < last if descending else key > last
    if value is None:
        return and_(column.is_(None), later_key)
    later = column < value if descending else column > value
    tied = and_(column == value, later_key)
    if column.expression.nullable:
        return or_(later, tied, column.is_(None))
    return or_(later, tied)


def _encode(sort: str, value: Any, last: int | str) -> str:
    shown = {"t": value.isoformat()} if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sort, shown, last]).encode()).decode()


def _decode(cursor: str, sort: str, kind: type, key_kind: type = int) -> tuple[Any, Any]:
    """What a cursor holds; one that somebody wrote by hand must not reach the database."""
    try:
        made_for, value, last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if isinstance(value, dict):
            value = datetime.fromisoformat(value["t"])
        if made_for != sort or type(last) is not key_kind:
            raise ValueError
        if isinstance(last, int) and abs(last) > 2**62:
            raise ValueError
        if value is not None and type(value) is not kind:
            raise ValueError
        if isinstance(value, int) and abs(value) > 2**62:
            raise ValueError
        if isinstance(value, str):
            value.encode()  # half of a Unicode pair is a UnicodeError, which is a ValueError
            if "\0" in value:
                raise ValueError
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise Invalid(
            "the cursor is not one of this list in this order",
            hint="begin again without a cursor",
            fields=[{"field": "query.cursor", "message": "not valid"}],
        ) from None
    return value, last
