"""Removing what deployments that ended long ago have in abundance: their events, and a row for each host that
had nothing to be done. What was done to which host stays.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, true
from sqlalchemy.orm import Session

from controller.database.base import now
from controller.deployments.models import Deployment, HostResult, HostStatus, RunEvent, Status

_AT_ONCE = 5_000  # rows; a writer that waits meanwhile waits some 50 ms
_ABUNDANT = (
    (RunEvent, true()),
    (HostResult, HostResult.status == HostStatus.CURRENT.value),
)


def prune(session: Session, keep_days: int) -> int:
    """Remove some rows of deployments that ended more than so many days ago; returns how many.

    Called again until it returns 0, so that no other writer waits for long.
    """
    old = select(Deployment.id).where(
        Deployment.ended < now() - timedelta(days=keep_days),
        Deployment.status.in_([status.value for status in Status if status.ended]),
    )
    removed = 0
    for rows, abundant in _ABUNDANT:
        ids = session.scalars(
            select(rows.id).where(rows.deployment_id.in_(old), abundant).limit(_AT_ONCE)
        ).all()
        if ids:
            session.execute(delete(rows).where(rows.id.in_(ids)))
        removed += len(ids)
    return removed
