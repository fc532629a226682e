"""Writing the audit log: in the transaction of the change, so that neither is there alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from controller.audit.models import AuditEntry

if TYPE_CHECKING:
    from controller.auth.principal import Principal


def record(
    session: Session,
    by: Principal,
    action: str,
    kind: str,
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """Note one change.

    Args:
        action: `host.create`, `hostgroup.update`, ...
        kind: of thing, `host`, `hostgroup`, ...
        before: what it was, as plain JSON data without any secret's value; None where it was not.
        after: what it is; None where it is no more.
    """
    record_all(session, by, action, kind, [(name, before, after)])


Change = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""A thing's name, what it was, and what it is."""


def record_all(
    session: Session, by: Principal, action: str, kind: str, changes: Iterable[Change]
) -> None:
    """Note the same change of many things of a kind; see `record`."""
    rows = [
        {
            "actor": by.name,
            "action": action,
            "kind": kind,
            "name": name,
            "before": None if before is None else dict(before),
            "after": None if after is None else dict(after),
            "request_id": by.request_id,
        }
        for name, before, after in changes
    ]
    if rows:
        session.execute(insert(AuditEntry), rows)
