"""Making schedules what a document says.

One that is so already is not touched: it keeps the rights that it has. One that is changed has those of
whoever applies the document, as by its own route.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.gitops.outcome import Outcome, at
from controller.schedules import service
from controller.schedules.models import Schedule
from controller.schedules.rights import refusal
from controller.schedules.rules import parse
from controller.schedules.schemas import ScheduleCreate, SchedulePatch, ScheduleSpec
from controller.settings import Settings


def spec_of(row: Schedule) -> ScheduleSpec:
    """A schedule as a document has it."""
    return ScheduleSpec.model_validate(service.describe(row))


def hold(session: Session) -> None:
    """Let nobody else change a schedule until the transaction ends.

    Before a host is locked, as whoever reports a schedule's run does it: it would wait for us, and we for it.
    """
    session.execute(select(Schedule.id).order_by(Schedule.id).with_for_update())


def apply(
    session: Session,
    by: Principal,
    settings: Settings,
    wanted: Mapping[str, ScheduleSpec],
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    """Change what differs; arguments as of `service.make_so`.

    Raises:
        PlugfleetError: a schedule cannot be so; `fields` name its place in the document.
    """
    # Not the rows themselves: those are read when nobody else can change them any more.
    query = select(Schedule.name).order_by(Schedule.name)
    there = set(session.scalars(query))
    for name in session.scalars(query.where(Schedule.removing.is_(False))).all():
        if name in wanted:
            continue
        if prune:
            _remove(session, by, name, outcome)
        else:
            outcome.not_named.append(f"schedule {name}")
    session.flush()
    for name, spec in wanted.items():
        with at(f"schedules.{name}", f"schedule {name}"):
            if name in there:
                _change(session, by, settings, name, spec, outcome)
                continue
            made = service.create(session, by, settings, ScheduleCreate(name=name, **dict(spec)))
            outcome.note("create", "schedule", name, {}, service.describe(made))


def _remove(session: Session, by: Principal, name: str, outcome: Outcome) -> None:
    row = service.find_to_change(session, by, name)
    outcome.note("delete", "schedule", name, service.describe(row), {})
    if not service.remove(session, by, row, forget=False):
        outcome.notes.append(f"schedule {name} goes as soon as it is gone from AWX")


def _change(
    session: Session,
    by: Principal,
    settings: Settings,
    name: str,
    spec: ScheduleSpec,
    outcome: Outcome,
) -> None:
    row = service.hold(session, by, name)
    if differing := _differing(spec_of(row), spec):
        before = service.describe(row)
        service.change(session, by, settings, row, SchedulePatch(**differing))
        outcome.note("change", "schedule", name, before, service.describe(row))
    elif row.enabled and (why := refusal(session, row)):
        outcome.notes.append(f"the turns of schedule {name} are refused: {why}")


def _differing(there: ScheduleSpec, wanted: ScheduleSpec) -> dict[str, Any]:
    """The fields that differ, as they are to be: a rule that stays may be one whose times are all past."""
    before, after = dict(there), dict(wanted)
    after["rrule"] = _as_kept(wanted.rrule)
    return {name: value for name, value in after.items() if value != before[name]}


def _as_kept(rrule: str) -> str:
    """A rule in the form in which schedules keep it; one that is not taken stays, and is told as wrong."""
    with suppress(ValueError):
        return parse(rrule).text
    return rrule
