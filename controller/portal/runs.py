"""The record of syncs and imports: one at a time changes the portal, and each leaves its report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.database import counters
from controller.database.base import now
from controller.errors import Conflict, NotFound
from controller.portal.client import CHANGING, READING
from controller.portal.models import PortalRun
from controller.portal.schemas import PortalReport, Skipped

_LONGEST = timedelta(seconds=READING + CHANGING + 60)
_KEPT = 50
_MOST_SKIPPED = 1000


def begin(session: Session, by: Principal, report: PortalReport) -> None:
    """Record that a sync begins, if no other is under way; gives its report an id.

    Raises:
        Conflict: one is.
    """
    counters.lock(session, counters.PLANS)  # of two at once, the later sees the earlier's row
    other = session.scalar(
        select(PortalRun)
        .where(PortalRun.status == "running", PortalRun.started > now() - _LONGEST)
        .limit(1)
    )
    if other is not None:
        raise Conflict(
            f"a sync of {other.by} with the portal is under way since {other.started:%H:%M:%S} UTC",
            hint="wait for it to end: GET /portal/report",
        )
    report.status = "running"
    run = PortalRun(
        portal=report.portal,
        by=by.name,
        status=report.status,
        report=report.model_dump(mode="json"),
        started=report.started,
    )
    session.add(run)
    session.flush()
    session.execute(delete(PortalRun).where(PortalRun.id <= run.id - _KEPT))
    report.id = run.id


def keep(session: Session, report: PortalReport) -> None:
    """Record what a sync is going to do."""
    session.get_one(PortalRun, report.id).report = report.model_dump(mode="json")


def end(session: Session, report: PortalReport, status: Literal["done", "failed"]) -> None:
    """Record what a sync came to."""
    report.status, report.ended = status, now()
    run = session.get_one(PortalRun, report.id)
    run.status, run.ended = status, report.ended
    keep(session, report)


def take_back(session: Session, report: PortalReport) -> None:
    """A sync could not begin after all: there is nothing to record."""
    session.execute(delete(PortalRun).where(PortalRun.id == report.id))


def latest(session: Session) -> PortalReport:
    """The report of the newest sync or import.

    Raises:
        NotFound: there was none.
    """
    row = session.scalar(select(PortalRun).order_by(PortalRun.id.desc()).limit(1))
    if row is None:
        raise NotFound("there was no sync with a portal yet", hint="plugfleet portal sync")
    report = PortalReport.model_validate(row.report)
    report.id = row.id
    if row.status == "running" and row.started <= now() - _LONGEST:
        report.status = "interrupted"
    return report


def shortened(skipped: Sequence[Skipped]) -> tuple[list[Skipped], int]:
    """What is told of things that were left out, and how many there are."""
    return list(skipped[:_MOST_SKIPPED]), len(skipped)
