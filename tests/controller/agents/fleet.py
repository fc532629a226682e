"""A fleet in the database, changed by the controller's own services, without HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select, update

from controller.agents.models import AgentRow, UnknownHost
from controller.audit.models import AuditEntry
from controller.auth.principal import CONTROLLER
from controller.bindings import service as bindings
from controller.bindings.models import BindingRow
from controller.catalog.models import ReleaseRow
from controller.database import counters
from controller.database.base import now
from controller.fleet import hostgroups
from controller.fleet import service as hosts
from controller.fleet.models import Host, HostState
from controller.fleet.schemas import HostCreate, HostgroupCreate, HostPatch
from controller.plans import service as plans
from controller.web.deps import Context
from tests.controller.agents.falcon import GoClient, RpcError


def until(true: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """Wait for something; returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
    return found


def commit(number: int) -> str:
    """The commit of a release."""
    return f"{number:040x}"


class Fleet:
    """What a person, a deployment, or a publication does."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def group(self, name: str = "web") -> None:
        """Make a hostgroup."""
        with self.context.database.write() as session:
            hostgroups.create(session, CONTROLLER, self.context.vault, HostgroupCreate(name=name))

    def add(self, name: str, *groups: str, kind: str = "falcon", **more: Any) -> None:
        """Make a host."""
        spec = HostCreate(name=name, agent_kind=kind, hostgroups=list(groups), **more)
        with self.context.database.write() as session:
            hosts.create(session, CONTROLLER, self.context.vault, spec)

    def change(self, name: str, **more: Any) -> None:
        """Change a host."""
        with self.context.database.write() as session:
            host = hosts.hold(session, CONTROLLER, name)
            hosts.change(session, CONTROLLER, self.context.vault, host, HostPatch(**more))

    def delete(self, name: str) -> None:
        """Delete a host."""
        with self.context.database.write() as session:
            host = hosts.hold(session, CONTROLLER, name)
            hosts.delete(session, CONTROLLER, self.context.vault, host)

    def bind(self, group: str, plugin: str, config: dict[str, Any] | None = None) -> None:
        """Bind a plugin."""
        with self.context.database.write() as session:
            bindings.create(
                session,
                CONTROLLER,
                self.context.vault,
                None,
                hostgroup=group,
                plugin=plugin,
                config=config,
                secrets={},
            )

    def unbind(self, plugin: str) -> None:
        """Remove a plugin's bindings."""
        with self.context.database.write() as session:
            session.execute(delete(BindingRow).where(BindingRow.plugin == plugin))
            counters.advance(session, counters.PLANS)

    def publish(self, number: int, **found: str) -> None:
        """A release is there.

        Args:
            found: the code of a finding, and the file that the lint found it in.
        """
        problems = [{"path": path, "code": code.replace("_", "-")} for code, path in found.items()]
        with self.context.database.write() as session:
            row = ReleaseRow(number=number, commit=commit(number), tree="0" * 40, problems=problems)
            session.add(row)
            counters.advance(session, counters.PLANS)

    def deployed(self, name: str, number: int) -> None:
        """A deployment has just brought a host to its plan, as deployments.results writes it."""
        with self.context.database.write() as session:
            host = session.scalars(select(Host).where(Host.name == name)).one()
            digest = plans.digests(session, self.context.vault, [host.id])[host.id]
            host.state, host.reported_plan = HostState.CONVERGED.value, digest
            host.state_since = now()
            host.reported_release, host.reported_commit = number, commit(number)
            counters.advance(session, counters.STATES)

    def put(self, name: str, **columns: Any) -> None:
        """Set columns of a host."""
        with self.context.database.write() as session:
            session.execute(update(Host).where(Host.name == name).values(**columns))
            counters.advance(session, counters.STATES)

    def host(self, name: str) -> Host:
        """A host's row."""
        with self.context.database.read() as session:
            return session.scalars(select(Host).where(Host.name == name)).one()

    def agent(self, name: str) -> AgentRow:
        """What is on record of a host's agent."""
        with self.context.database.read() as session:
            return session.scalars(
                select(AgentRow).join(Host, Host.id == AgentRow.host_id).where(Host.name == name)
            ).one()

    def unknown(self) -> dict[str, UnknownHost]:
        """Unknown hosts by name."""
        with self.context.database.read() as session:
            return {row.name: row for row in session.scalars(select(UnknownHost))}

    def audit(self, action: str) -> list[AuditEntry]:
        """Entries of the audit log."""
        with self.context.database.read() as session:
            return list(session.scalars(select(AuditEntry).where(AuditEntry.action == action)))


def told(agent: GoClient, name: str) -> tuple[list[str], int] | None:
    """What a host is told, or None where it is refused."""
    try:
        return agent.plugins(name)
    except RpcError:
        return None


def until_told(agent: GoClient, name: str, plugins: list[str]) -> int:
    """Wait until a host is told just these plugins; returns their Timestamp."""

    def now_told() -> Any:
        found = told(agent, name)
        return found if found and found[0] == plugins else None

    return int(until(now_told, f"{name} is told {plugins}")[1])
