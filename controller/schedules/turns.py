"""Taking turns: each starts one deployment at most, whatever number of controllers look, and whatever dies.

A turn is claimed by moving `next_at` on, in the transaction that queues its deployment: there is never one
without the other. What fell due while nobody looked is one turn: its last time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import CONTROLLER
from controller.auth.vault import Vault
from controller.awx.errors import sentence
from controller.catalog.errors import CatalogError
from controller.deployments import service as deployments
from controller.deployments.models import Deployment, Status
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Forbidden, PlugfleetError, Unavailable
from controller.schedules.models import Missed, Outcome, Overlap, Schedule
from controller.schedules.rules import Rule, parse
from controller.schedules.service import rights

PROMPT = timedelta(seconds=60)
"""How late a turn may begin that nobody counts as missed: a controller has been started anew, or was busy."""
_GRACE = 3600  # seconds, where `once` is asked for without a number
# A clock that went back by more than this has made turns wait for a time that is far away.
_WENT_BACK = timedelta(days=1)


@dataclass(frozen=True)
class Due:
    """A schedule whose turn has come.

    Attributes:
        at: `next_at` as it was read; whoever moves it on takes the turn.
    """

    id: int
    at: datetime


def due(session: Session, moment: datetime) -> list[Due]:
    """The schedules whose turn has come, the one that waits longest first."""
    found = session.execute(
        select(Schedule.id, Schedule.next_at)
        .where(Schedule.next_at <= moment)
        .order_by(Schedule.next_at)
    )
    return [Due(id, at) for id, at in found if at]


def misled(session: Session, moment: datetime) -> list[Due]:
    """Schedules whose next turn comes of a clock that was far ahead, and would wait until it is true."""
    ahead = moment + _WENT_BACK
    found = session.execute(
        select(Schedule.id, Schedule.next_at).where(
            or_(Schedule.turn_at > ahead, Schedule.updated > ahead), Schedule.next_at.is_not(None)
        )
    )
    return [Due(id, at) for id, at in found if at]


def lead_back(session: Session, one: Due, moment: datetime) -> None:
    """Let a schedule that was misled go by the clock as it is now."""
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is not None and row.next_at == one.at:
        row.next_at = parse(row.rrule).following(moment)
        row.updated = min(row.updated, moment)
        row.turn_at = row.turn_at and min(row.turn_at, moment)


def take(session: Session, vault: Vault, one: Due, moment: datetime) -> Schedule | None:
    """Take a turn; None where another controller was faster, or it is no longer wanted.

    Raises:
        Unavailable: the database does not answer; the turn is still to be taken.
    """
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is None:
        return None
    rule = parse(row.rrule)
    last, following = _around(rule, one.at, moment, _allowed(row))
    # Compared and set: PostgreSQL's reader may have waited here for another controller's turn.
    claimed = session.execute(
        update(Schedule)
        .where(Schedule.id == one.id, Schedule.next_at == one.at)
        .values(next_at=following)
        .returning(Schedule.id)
    ).all()
    if not claimed:
        return None
    session.refresh(row)
    _note(row, last or one.at, moment, *_carry_out(session, vault, row, one.at, last))
    if row.turn_outcome != Outcome.STARTED:
        told = {"outcome": row.turn_outcome, "reason": row.turn_reason}
        record(session, CONTROLLER, "schedule.turn", "schedule", row.name, None, told)
    return row


def give_up(session: Session, one: Due, moment: datetime, reason: str) -> None:
    """Let a turn that cannot be taken be over, so that it is not tried for ever."""
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is None or row.next_at != one.at:
        return
    row.next_at = parse(row.rrule).following(max(moment, one.at))
    _note(row, one.at, moment, Outcome.FAILED, reason)
    told = {"outcome": row.turn_outcome, "reason": reason}
    record(session, CONTROLLER, "schedule.turn", "schedule", row.name, None, told)


def _allowed(row: Schedule) -> timedelta:
    """How late a turn may begin."""
    if row.missed != Missed.ONCE:
        return PROMPT
    return timedelta(seconds=row.grace or _GRACE)


def _around(
    rule: Rule, at: datetime, moment: datetime, allowed: timedelta
) -> tuple[datetime | None, datetime | None]:
    """The last time that may still begin, and the first one to come."""
    last = None
    # Not from `at` on: a rule of every minute has a million times in two years of silence.
    for time in rule.times(max(at - timedelta(seconds=1), moment - allowed)):
        if time > moment:
            return last, time
        last = time
    return last, None


def _carry_out(
    session: Session, vault: Vault, row: Schedule, at: datetime, last: datetime | None
) -> tuple[Outcome, str]:
    if last is None:
        return Outcome.MISSED, f"no controller took the turn of {_said(at)} in time"
    if going := _going_on(session, row):
        return Outcome.OVERLAP, going
    try:
        with session.begin_nested():
            request = DeploymentRequest.model_validate(row.request)
            deployment = deployments.start(session, rights(session, row), vault, request)
    except Unavailable:
        raise
    except Forbidden as error:
        return Outcome.REFUSED, sentence(error)
    except PlugfleetError as error:
        return Outcome.FAILED, sentence(error)
    except CatalogError as error:
        return Outcome.FAILED, str(error)
    row.deployment_id = deployment.id
    return Outcome.STARTED, f"turns since {_said(at)} were missed" if last > at else ""


def _going_on(session: Session, row: Schedule) -> str:
    """Why the deployment of the turn before keeps this one from beginning, or nothing."""
    before = session.get(Deployment, row.deployment_id) if row.deployment_id else None
    if before is None or Status(before.status).ended:
        return ""
    if before.status != Status.QUEUED and row.overlap == Overlap.WAIT:
        return ""
    does = "waits still" if before.status == Status.QUEUED else "goes on still"
    return f"deployment {before.id}, of a turn before, {does}"


def _note(row: Schedule, at: datetime, moment: datetime, outcome: Outcome, reason: str) -> None:
    row.turn_due, row.turn_at = at, moment
    row.turn_outcome, row.turn_reason = outcome.value, reason


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
