"""Carrying out what there is to do in a portal: each step says what came of it, and nothing is lost.

What is to be made there is noted before the portal is asked, and forgotten where it refuses. So an
answer that is lost, or a controller that is killed, leaves nothing there that nobody takes away again.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.database.engine import Database
from controller.portal import owned
from controller.portal.client import Group, Portal, PortalError, PortalFailed, PortalRefused
from controller.portal.models import Kind, Side
from controller.portal.owned import Thing
from controller.portal.schemas import Step
from controller.portal.toportal import Work

_MOST_FAILED = 3  # faults of the portal's own, one after another


class Carrier:
    """Carries out the work of one sync, hostgroup by hostgroup."""

    def __init__(self, portal: Portal, database: Database, by: Principal) -> None:
        self._portal = portal
        self._database = database
        self._by = by
        self._failed = 0

    def carry_out(self, work: Work) -> None:
        """Do one hostgroup's steps; each says what came of it.

        Raises:
            PortalError: the portal is gone; further work is of no use.
            Unavailable: the database is.
        """
        made = [thing for step in work.steps for thing in _made_by(step)]
        with self._database.write() as session:
            owned.note(session, self._portal.url, Side.PORTAL, made)
        gone = list(work.stale)
        try:
            self._steps(work, gone)
        finally:
            for step in work.steps:
                if step.result == "planned":
                    step.result = "not done"
                    gone += _made_by(step)
            with self._database.write() as session:
                owned.forget(session, self._portal.url, Side.PORTAL, gone)
                self._record(session, work)

    def _steps(self, work: Work, gone: list[Thing]) -> None:
        group = work.theirs.found
        for step in work.steps:
            if group is None and (step.action, step.kind) != ("create", "hostgroup"):
                step.result, step.reason = "not done", "its hostgroup was not made"
                gone += _made_by(step)
                continue
            try:
                if group is None:
                    group = self._portal.create(work.name)
                else:
                    self._do(step, group, work)
            except PortalRefused as error:
                step.result, step.reason = "failed", error.message
                gone += _made_by(step)
            except PortalError as error:
                step.result, step.reason = "failed", error.message
                self._failed += 1
                if not isinstance(error, PortalFailed) or self._failed == _MOST_FAILED:
                    raise
            else:
                step.result = "done"
                self._failed = 0
                gone += _taken_by(step)

    def _do(self, step: Step, group: Group, work: Work) -> None:
        names = list(step.names)
        match step.action, step.kind:
            case "delete", "hostgroup":
                self._portal.delete(group)
            case "add", "binding":
                self._portal.bind(group, names[0])
            case "add", "member":
                self._portal.add(group, names)
            case "remove", "member":
                self._portal.remove(group, names)
            case "remove", "binding" | "duplicate":
                for bound in work.unbound[names[0]]:
                    self._portal.unbind(bound)
            case unknown:
                raise AssertionError(unknown)

    def _record(self, session: Session, work: Work) -> None:
        """In the audit log: what was taken away, and what was added."""
        before: dict[str, list[str]] = {}
        after: dict[str, list[str]] = {}
        for step in work.steps:
            if step.result == "done":
                side = after if step.action in ("create", "add") else before
                side.setdefault(f"{step.kind}s", []).extend(step.names or [step.hostgroup])
        if before or after:
            record(session, self._by, "portal.sync", "hostgroup", work.name, before, after)


def _made_by(step: Step) -> list[Thing]:
    if step.action == "create":
        return [Thing(step.hostgroup, Kind.HOSTGROUP)]
    if step.action == "add":
        return [Thing(step.hostgroup, Kind(step.kind), name) for name in step.names]
    return []


def _taken_by(step: Step) -> list[Thing]:
    if step.action == "delete":
        return [Thing(step.hostgroup, Kind.HOSTGROUP)]
    if step.action == "remove" and step.kind != "duplicate":
        return [Thing(step.hostgroup, Kind(step.kind), name) for name in step.names]
    return []
