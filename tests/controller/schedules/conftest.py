"""A controller's database with a release and hosts, and a clock that stands where a test puts it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.auth import service as auth
from controller.auth.models import Scope
from controller.auth.principal import CONTROLLER, Principal
from controller.catalog.models import ReleaseRow
from controller.deployments.models import Deployment, Status
from controller.fleet.models import Host, Hostgroup, Membership
from controller.schedules import service
from controller.schedules.flow import Turner
from controller.schedules.models import Schedule
from controller.schedules.schemas import ScheduleCreate, SchedulePatch
from controller.web.deps import Context

NIGHTLY = "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"


def at(text: str) -> datetime:
    """A moment in UTC, as `2030-01-05 02:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Book:
    """The schedules of a controller without its threads, and turns taken when a test says so."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.database = context.database
        self.by = self.token("admin", Scope.ADMIN)
        with self.database.write() as session:
            session.add(ReleaseRow(number=1, commit="1" * 40, tree="0" * 40))
            for name in ("web", "db"):
                group = Hostgroup(name=name, description="", rule="", variables={}, secrets="")
                host = Host(name=f"{name}1", variables={}, labels={}, secrets="")
                session.add_all([group, host])
                session.flush()
                session.add(Membership(hostgroup_id=group.id, host_id=host.id, by_name=True))

    def token(self, name: str, scope: Scope, groups: list[str] | None = None) -> Principal:
        """Who a new token stands for."""
        with self.database.write() as session:
            given = {"name": name, "scope": scope, "hostgroups": groups}
            return auth.check(session, auth.create(session, CONTROLLER, **given)[1], "")[0]

    def add(self, name: str = "nightly", by: Principal | None = None, **values: Any) -> None:
        """Make a schedule."""
        given = {"name": name, "rrule": NIGHTLY, "deploy": {"hostgroups": ["web"]}} | values
        spec = ScheduleCreate.model_validate(given)
        with self.database.write() as session:
            service.create(session, by or self.by, self.context.settings, spec)

    def change(self, name: str = "nightly", by: Principal | None = None, **values: Any) -> None:
        """Change a schedule."""
        patch = SchedulePatch.model_validate(values)
        with self.database.write() as session:
            row = service.hold(session, by or self.by, name)
            service.change(session, by or self.by, self.context.settings, row, patch)

    def remove(self, name: str = "nightly", *, forget: bool = False) -> None:
        """Remove a schedule."""
        with self.database.write() as session:
            row = service.find_to_change(session, self.by, name)
            service.remove(session, self.by, row, forget=forget)

    def row(self, name: str = "nightly") -> Schedule:
        """A schedule's row."""
        with self.database.read() as session:
            return service.find(session, self.by, name)

    def look(self, moment: str) -> Schedule:
        """Take the turns that are due at a moment; returns the row of `nightly`."""
        Turner(self.database, self.context.vault, lambda: None).look(at(moment))
        return self.row()

    def deployments(self) -> list[Deployment]:
        """All deployments, the oldest first."""
        with self.database.read() as session:
            return list(session.query(Deployment).order_by(Deployment.id))

    def end(self, status: Status = Status.SUCCEEDED) -> None:
        """Let every deployment be over."""
        with self.database.write() as session:
            for deployment in session.query(Deployment):
                deployment.status = status.value


@pytest.fixture
def book(context: Context) -> Book:
    return Book(context)
