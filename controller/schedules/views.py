"""Schedules as they are shown: with their next times, the last turn, and how they are in AWX."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.awx.addresses import job_page, schedule_page
from controller.deployments.models import Deployment
from controller.schedules.models import Missed, Outcome, Overlap, Place, Schedule
from controller.schedules.rights import owners
from controller.schedules.rules import PAST, parse, zone_of
from controller.schedules.schemas import (
    AwxJobView,
    AwxView,
    ScheduleSummary,
    ScheduleView,
    StartedView,
    TurnView,
)

_TIMES = 5


def summaries(
    session: Session, rows: Sequence[Schedule], moment: datetime
) -> list[ScheduleSummary]:
    """Schedules as a list shows them, at a moment."""
    tokens = owners(session, rows)
    ids = {row.deployment_id for row in rows if row.deployment_id}
    started = {
        deployment.id: StartedView.model_validate(deployment, from_attributes=True)
        for deployment in session.scalars(select(Deployment).where(Deployment.id.in_(ids)))
    }
    return [
        ScheduleSummary(
            name=row.name,
            description=row.description,
            rrule=row.rrule,
            enabled=row.enabled,
            runs_in=Place(row.runs_in),
            missed=Missed(row.missed) if row.missed else None,
            grace=row.grace,
            overlap=Overlap(row.overlap) if row.overlap else None,
            owner=tokens[row.token_id].name,
            created=row.created,
            created_by=row.created_by,
            updated=row.updated,
            removing=row.removing,
            next=_next(row, moment),
            over=_over(row, moment),
            turn=_turn(row),
            deployment=started.get(row.deployment_id or 0),
            awx=_awx(row),
        )
        for row in rows
    ]


def view(session: Session, row: Schedule, moment: datetime) -> ScheduleView:
    """A schedule with all that is known of it, at a moment."""
    [summary] = summaries(session, [row], moment)
    times: list[datetime] = []
    with suppress(ValueError):
        times = [_local(row, time) for time in islice(parse(row.rrule).times(moment), _TIMES)]
    return ScheduleView(**summary.model_dump(), deploy=row.request, times=times)


def _next(row: Schedule, moment: datetime) -> datetime | None:
    following = row.next_at
    if row.runs_in == Place.AWX and row.enabled and not row.removing:
        with suppress(ValueError):
            following = parse(row.rrule).following(moment)
    return following and _local(row, following)


def _over(row: Schedule, moment: datetime) -> str:
    if not row.enabled or row.removing:
        return ""
    try:
        rule = parse(row.rrule)
    except ValueError as error:
        return f"its rule is not taken any more: {error}"
    return PAST if row.next_at is None and rule.over(moment) else ""


def _local(row: Schedule, time: datetime) -> datetime:
    """A time of a schedule's rule, in the rule's zone."""
    return time.astimezone(zone_of(row.rrule))


def _turn(row: Schedule) -> TurnView | None:
    if row.turn_due is None or row.turn_at is None:
        return None
    return TurnView(
        due=_local(row, row.turn_due),
        at=row.turn_at,
        outcome=Outcome(row.turn_outcome),
        reason=row.turn_reason,
    )


def _awx(row: Schedule) -> AwxView | None:
    if row.runs_in != Place.AWX and not row.awx_url:
        return None
    page = None
    if row.awx_id and row.awx_template:
        page = schedule_page(row.awx_url, row.awx_template, row.awx_id)
    return AwxView(
        state=awx_state(row),
        url=page,
        job=_job(row),
        corrected=row.awx_corrected,
    )


def _job(row: Schedule) -> AwxJobView | None:
    job = row.awx_job
    return AwxJobView(**job, url=job_page(row.awx_url, job["id"])) if job else None


def awx_state(row: Schedule) -> str:
    """How AWX is in step with a schedule, in words."""
    if row.awx_problem:
        return row.awx_problem
    if row.removing or row.runs_in != Place.AWX:
        return "to be removed"
    if row.awx_id is None:
        return "to be made"
    return "in step" if row.awx_version == row.version else "to be changed"
