"""Writing the audit log: in the transaction of the change, so that neither is there alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    session.add(
        AuditEntry(
            actor=by.name,
            action=action,
            kind=kind,
            name=name,
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
            request_id=by.request_id,
        )
    )
