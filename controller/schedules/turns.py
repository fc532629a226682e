"""Taking turns: each starts one deployment at most, whatever number of controllers look, and whatever dies.

A turn is claimed by moving `next_at` on, in the transaction that queues its deployment: there is never one
without the other. What fell due while nobody looked is one turn: its last time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.awx.errors import sentence
from controller.catalog.errors import CatalogError
from controller.deployments import service as deployments
from controller.deployments.models import Deployment, Status
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Forbidden, PlugfleetError, Unavailable
from controller.schedules import outcomes
from controller.schedules.models import Missed, Outcome, Overlap, Schedule
from controller.schedules.rights import rights
from controller.schedules.rules import parse

PROMPT = timedelta(seconds=60)
"""How late a turn may begin that nobody counts as missed: a controller has been started anew, or was busy."""
_GRACE = 3600  # seconds, where `once` is asked for without a number
# A clock that went back by more than this has made turns wait for a time that is far away.
_WENT_BACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Due:
    """A schedule whose turn has come.

    Attributes:
        at: `next_at` as it was read; whoever moves it on takes the turn.
        done: when the last turn fell due.
        allowed: how late a turn may begin.
    """

    id: int
    version: int
    rrule: str
    at: datetime
    done: datetime | None
    allowed: timedelta


@dataclass(frozen=True)
class Turn:
    """What is to be done at a moment.

    Attributes:
        since: the first time that nobody dealt with, or None where `next_at` was wrong and no turn has come.
        last: the last one that may still begin, or None where all are too late.
        following: the first time to come.
    """

    since: datetime | None
    last: datetime | None
    following: datetime | None


def due(session: Session, moment: datetime) -> list[Due]:
    """The schedules whose turn has come, the one that waits longest first."""
    query = select(Schedule).where(Schedule.next_at <= moment).order_by(Schedule.next_at)
    return [_due(row, row.next_at) for row in session.scalars(query) if row.next_at]


def misled(session: Session, moment: datetime) -> list[Due]:
    """Schedules whose next turn comes of a clock that was far ahead, and would wait until it is true."""
    ahead = moment + _WENT_BACK
    query = select(Schedule).where(
        or_(Schedule.turn_at > ahead, Schedule.updated > ahead), Schedule.next_at.is_not(None)
    )
    return [_due(row, row.next_at) for row in session.scalars(query) if row.next_at]


def lead_back(session: Session, one: Due, moment: datetime) -> None:
    """Let a schedule that was misled go by the clock as it is now.

    Its `turn_due` stays: when that comes again, or the clock was wrong only now, the turn is not taken twice.
    """
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is not None and row.next_at == one.at:
        row.next_at = parse(row.rrule).following(moment)
        row.updated = min(row.updated, moment)
        row.turn_at = row.turn_at and min(row.turn_at, moment)


def work_out(one: Due, moment: datetime) -> Turn:
    """What is to be done of a schedule whose turn has come; this asks no database.

    Raises:
        ValueError: its rule is not taken any more.
    """
    rule = parse(one.rrule)
    since: datetime | None = one.at
    if one.done and one.at <= one.done <= moment:
        since = rule.following(one.done)  # clocks disagree; these times were dealt with
    elif rule.following(one.at - timedelta(seconds=1)) != one.at:
        # The time zone's rules have changed since it was worked out.
        since = rule.following(max(moment - one.allowed, one.done or moment - one.allowed))
    if since is None or since > moment:
        return Turn(None, None, since)
    last = None
    # Not from `since` on: a rule of every minute has a million times in two years of silence.
    for time in rule.times(max(since - timedelta(seconds=1), moment - one.allowed)):
        if time > moment:
            return Turn(since, last, time)
        last = time
    return Turn(since, last, None)


def take(session: Session, vault: Vault, one: Due, turn: Turn, moment: datetime) -> Schedule | None:
    """Take a turn; None where another controller was faster, it is no longer wanted, or has not come.

    Args:
        turn: as `work_out` says.

    Raises:
        Unavailable: the database does not answer; the turn is still to be taken.
    """
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is None:
        return None
    # Compared and set: PostgreSQL's reader may have waited here for another controller's turn.
    claimed = session.execute(
        update(Schedule)
        .where(Schedule.id == one.id, Schedule.next_at == one.at, Schedule.version == one.version)
        .values(next_at=turn.following)
        .returning(Schedule.id)
    ).all()
    if not claimed or turn.since is None:
        return None
    session.refresh(row)
    outcome, reason = _carry_out(session, vault, row, turn.since, turn.last)
    outcomes.note(session, row, turn.last or turn.since, moment, outcome, reason)
    return row


def give_up(session: Session, one: Due, moment: datetime, reason: str) -> Schedule | None:
    """Let a turn that cannot be taken be over, so that it is not tried for ever.

    Returns:
        The schedule, or None where another controller has dealt with it.
    """
    row = session.scalar(select(Schedule).where(Schedule.id == one.id).with_for_update())
    if row is None or row.next_at != one.at:
        return None
    try:
        row.next_at = parse(row.rrule).following(max(moment, one.at))
    except Exception as error:
        row.next_at = None
        reason = f"its rule cannot be worked out any more, change it: {error}"
    outcomes.note(session, row, one.at, moment, Outcome.FAILED, reason)
    return row


def _due(row: Schedule, at: datetime) -> Due:
    allowed = PROMPT
    if row.missed == Missed.ONCE:
        allowed = timedelta(seconds=row.grace or _GRACE)
    return Due(row.id, row.version, row.rrule, at, row.turn_due, allowed)


def _carry_out(
    session: Session, vault: Vault, row: Schedule, at: datetime, last: datetime | None
) -> tuple[Outcome, str]:
    if last is None:
        late = f"no controller took the turn of {outcomes.said(at, row)} in time"
        return Outcome.MISSED, f"{late}: none ran, or the database was away"
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
    return Outcome.STARTED, f"turns since {outcomes.said(at, row)} were missed" if last > at else ""


def _going_on(session: Session, row: Schedule) -> str:
    """Why the deployment of the turn before keeps this one from beginning, or nothing."""
    before = session.get(Deployment, row.deployment_id) if row.deployment_id else None
    if before is None or Status(before.status).ended:
        return ""
    if before.status != Status.QUEUED and row.overlap == Overlap.WAIT:
        return ""
    does = "waits still" if before.status == Status.QUEUED else "goes on still"
    return f"deployment {before.id}, of a turn before, {does}"
