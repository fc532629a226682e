"""Schedules: making, changing, removing and showing them.

A schedule has the rights of the token that made or changed it last, as they are when a turn comes: whoever
changes one vouches for all that it deploys, and with a revoked token its schedules stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.database import counters
from controller.database.base import now
from controller.database.chunks import chunks
from controller.deployments import service as deployments
from controller.deployments.choosing import asked_for
from controller.deployments.models import Deployment
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Conflict, Forbidden, Invalid, NotFound
from controller.fleet.models import Host
from controller.schedules import outcomes
from controller.schedules.meaning import need_meaning
from controller.schedules.models import Missed, Outcome, Overlap, Place, Schedule
from controller.schedules.rules import Rule, check, parse
from controller.schedules.schemas import ScheduleCreate, SchedulePatch
from controller.settings import Settings
from controller.web import etags

_MOST = 1000
# What decides when the next turn is.
_TIMING = frozenset({"rrule", "enabled", "runs_in"})


def describe(row: Schedule) -> dict[str, Any]:
    """What is configured of a schedule, as the audit log keeps it."""
    deploy = DeploymentRequest.model_validate(row.request).model_dump(exclude_defaults=True)
    return {
        "description": row.description,
        "rrule": row.rrule,
        "deploy": deploy,
        "enabled": row.enabled,
        "runs_in": row.runs_in,
        "missed": row.missed,
        "grace": row.grace,
        "overlap": row.overlap,
    }


def rule_of(text: str, moment: datetime) -> Rule:
    """A rule that falls due after a moment.

    Raises:
        Invalid: says what is wrong with it.
    """
    try:
        return check(text, moment)
    except ValueError as error:
        raise Invalid(
            f"the rrule is not taken: {error}",
            fields=[{"field": "body.rrule", "message": str(error)}],
        ) from None


def find(session: Session, by: Principal, name: str) -> Schedule:
    """A schedule by its name.

    Raises:
        NotFound: there is none that the token sees.
    """
    row = session.scalar(select(Schedule).where(Schedule.name == name))
    if row is None or not sees(session, by, row):
        raise NotFound(f"there is no schedule {name!r}")
    return row


def find_to_change(
    session: Session, by: Principal, name: str, if_match: str | None = None
) -> Schedule:
    """A schedule that is going to be changed, as it is now and stays until this transaction ends.

    Raises:
        PreconditionFailed: it is not what the caller read.
        NotFound: there is none that the token sees.
    """
    session.execute(select(Schedule.id).where(Schedule.name == name).with_for_update())
    row = find(session, by, name)
    etags.check(if_match, row.version)
    return row


def hold(session: Session, by: Principal, name: str, if_match: str | None = None) -> Schedule:
    """The same of one that is not being removed.

    Raises:
        PlugfleetError: as `find_to_change`.
        Conflict: it is being removed.
    """
    row = find_to_change(session, by, name, if_match)
    if row.removing:
        raise Conflict(
            f"schedule {name!r} is being removed: it goes as soon as it is gone from AWX",
            hint="DELETE it with forget=true to remove it here whatever AWX has",
        )
    return row


def sees(session: Session, by: Principal, row: Schedule) -> bool:
    """Whether a token may know of a schedule: all of its hosts that are left are the token's.

    Where none is left, nobody can tell whose they were: then only its owner knows, and who has the whole fleet.
    """
    if by.hostgroups is None:
        return True
    try:
        asked_for(session, by, DeploymentRequest.model_validate(row.request))
    except Forbidden:
        return False
    except Invalid:
        return row.token_id == by.token_id or _some_left(session, row)
    return True


def _some_left(session: Session, row: Schedule) -> bool:
    """Whether something is left of what a schedule names, by which its other readers are known."""
    request = DeploymentRequest.model_validate(row.request)
    # The token's hostgroups are its own by name, whether they are there or not.
    return bool(request.hostgroups) or any(
        session.scalar(select(Host.id).where(Host.name.in_(part)).limit(1))
        for part in chunks(request.hosts)
    )


def listing(session: Session, by: Principal) -> list[Schedule]:
    """All schedules that a token sees."""
    return [row for row in session.scalars(select(Schedule)) if sees(session, by, row)]


def create(session: Session, by: Principal, settings: Settings, spec: ScheduleCreate) -> Schedule:
    """Make a schedule.

    Raises:
        Conflict: the name is taken, or there are too many.
        Invalid: the rule, the hosts, or what AWX cannot do.
        Forbidden: the token does not reach that far.
    """
    counters.lock(
        session, counters.PLANS
    )  # of two of a name at once, the later sees the earlier's row
    taken = session.scalar(select(Schedule).where(Schedule.name == spec.name))
    if taken is not None:
        going = ", which is being removed" if taken.removing else ""
        raise Conflict(f"there is a schedule {spec.name!r} already{going}")
    if (session.scalar(select(func.count(Schedule.id))) or 0) >= _MOST:
        raise Conflict(f"there are {_MOST} schedules, which is the most", hint="remove some")
    row = Schedule(name=spec.name, created_by=by.name, version=0, awx_url="")
    row.token_id = _owner(by)
    given = {name: getattr(spec, name) for name in ScheduleCreate.model_fields if name != "name"}
    _configure(session, by, settings, row, given)
    session.add(row)
    session.flush()
    record(session, by, "schedule.create", "schedule", row.name, None, describe(row))
    return row


def change(
    session: Session, by: Principal, settings: Settings, row: Schedule, patch: SchedulePatch
) -> Schedule:
    """Change what is named of a schedule; the caller's rights are the schedule's from now on.

    Args:
        row: as `hold` gave it.

    Raises:
        Invalid: the rule, the hosts, or what AWX cannot do.
        Forbidden: the token does not reach that far.
    """
    before = describe(row)
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    row.token_id = _owner(by)
    _configure(session, by, settings, row, given)
    record(session, by, "schedule.update", "schedule", row.name, before, describe(row))
    return row


def remove(session: Session, by: Principal, row: Schedule, *, forget: bool) -> bool:
    """Remove a schedule; one that AWX may have takes no turn here any more, and goes when it is gone there.

    Args:
        row: as `find_to_change` gave it.
        forget: remove it at once, whatever AWX has.

    Returns:
        Whether it is gone already.
    """
    here = forget or not row.awx_url
    if row.removing and not here:
        return False
    after = None if here else {"removing": True}
    record(session, by, "schedule.delete", "schedule", row.name, describe(row), after)
    if here:
        session.delete(row)
        return True
    row.removing, row.next_at = True, None
    row.version += 1
    return False


def run(session: Session, by: Principal, vault: Vault, row: Schedule) -> Deployment:
    """Start what a schedule deploys now, with the caller's rights and whatever its turns are.

    Raises:
        PlugfleetError: as `deployments.service.start`.
    """
    request = DeploymentRequest.model_validate(row.request)
    deployment = deployments.start(session, by, vault, request)
    row.deployment_id = deployment.id
    told = {"deployment": deployment.id}
    record(session, by, "schedule.run", "schedule", row.name, None, told)
    return deployment


def plan_next(row: Schedule, moment: datetime) -> None:
    """Set when the controller takes the next turn; never where its rule is not taken any more."""
    here = row.runs_in == Place.CONTROLLER and not row.awx_url and not row.removing
    row.next_at = None
    if here and row.enabled:
        with suppress(ValueError):
            row.next_at = parse(row.rrule).following(moment)


def _configure(
    session: Session, by: Principal, settings: Settings, row: Schedule, given: Mapping[str, Any]
) -> None:
    moment = now()
    values = dict(given)
    deploy: DeploymentRequest | None = values.pop("deploy", None)
    if "rrule" in values:
        values["rrule"] = rule_of(values["rrule"], moment).text
    moved = any(getattr(row, name) != values[name] for name in _TIMING & values.keys())
    for name, value in values.items():
        setattr(row, name, value)
    if deploy is not None:
        row.request = deploy.model_dump(mode="json")
    request = DeploymentRequest.model_validate(row.request)
    # Also what was not changed: whoever changes a schedule vouches for it.
    try:
        asked_for(session, by, request)
    except Invalid as error:
        error.fields = [
            entry | {"field": f"body.deploy.{entry['field']}"} for entry in error.fields
        ]
        raise
    missed = Missed(row.missed) if row.missed else None
    if row.grace is not None and missed is not Missed.ONCE:
        raise Invalid(
            "grace says how late a missed turn may begin, so it needs missed to be `once`",
            fields=[{"field": "body.grace", "message": "needs missed to be `once`"}],
        )
    if not row.awx_url:
        row.awx_problem, row.awx_since = "", None  # what was tried before is no matter now
    if row.runs_in == Place.AWX:
        need_meaning(request, missed, Overlap(row.overlap) if row.overlap else None)
        _need_awx(settings)
    row.version += 1
    row.updated = moment
    # What stays as it is must not do away with a turn that is due.
    if moved or row.next_at is None:
        _move(session, row, moment)


def _move(session: Session, row: Schedule, moment: datetime) -> None:
    """Set the next turn anew, and tell of one that is due and will not be taken."""
    due = row.next_at
    plan_next(row, moment)
    if due is not None and due <= moment:
        why = f"the schedule was changed before the turn of {outcomes.said(due, row)} was taken"
        outcomes.note(session, row, due, moment, Outcome.MISSED, why)


def _need_awx(settings: Settings) -> None:
    if not (settings.awx_url and settings.awx_token):
        raise Invalid(
            "this controller knows no AWX",
            hint="set awx_url and awx_token (docs/awx.md)",
            fields=[{"field": "body.runs_in", "message": "needs awx_url and awx_token"}],
        )


def _owner(by: Principal) -> int:
    if by.token_id is None:
        raise Forbidden("a schedule needs a token whose rights it has")
    return by.token_id
