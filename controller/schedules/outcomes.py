"""Writing down what came of a turn, where people and the audit log see it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import CONTROLLER
from controller.schedules.models import Outcome, Schedule
from controller.schedules.rules import zone_of


def note(
    session: Session,
    row: Schedule,
    due: datetime,
    moment: datetime,
    outcome: Outcome,
    reason: str,
) -> None:
    """Write what came of a turn; one that started nothing goes to the audit log too.

    Args:
        due: when it fell due.
        moment: when it was dealt with.
    """
    row.turn_due, row.turn_at = due, moment
    row.turn_outcome, row.turn_reason = outcome.value, reason
    if outcome is not Outcome.STARTED:
        told = {"outcome": outcome.value, "reason": reason}
        record(session, CONTROLLER, "schedule.turn", "schedule", row.name, None, told)


def said(moment: datetime, row: Schedule) -> str:
    """A time of a schedule's rule as people read it: in the rule's time zone."""
    zone = zone_of(row.rrule)
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key}"
