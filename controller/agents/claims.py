"""Heartbeats in a host's name from another address: flagged, and settled by a person.

Nobody proves by a heartbeat who he is. What comes from another address changes nothing of the host until
somebody says that the host has moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session, contains_eager

from controller.agents.models import AgentRow
from controller.audit.service import record, record_all
from controller.auth.principal import CONTROLLER, Principal
from controller.database import counters
from controller.database.base import now
from controller.database.chunks import chunks
from controller.errors import Conflict
from controller.fleet import memberships
from controller.fleet import service as fleet
from controller.fleet.access import seen_by
from controller.fleet.models import Host


def listing(by: Principal) -> Select[Any]:
    """The query of the agents of the hosts that a token sees and that are claimed."""
    return (
        select(AgentRow)
        .join(AgentRow.host)
        .options(contains_eager(AgentRow.host))
        .where(AgentRow.claimed_by != "", seen_by(by))
    )


def flag(session: Session, claims: Mapping[int, str]) -> None:
    """Flag hosts in whose names another address sends heartbeats, once until somebody has looked.

    Args:
        claims: the other address, by the host's id.
    """
    for part in chunks(sorted(claims)):
        rows = session.execute(
            select(Host.id, Host.name, AgentRow.peer)
            .join(AgentRow, AgentRow.host_id == Host.id)
            .where(Host.id.in_(part), AgentRow.claimed_by == "")
            .order_by(Host.id)
        ).all()
        flagged = [row for row in rows if row.peer != claims[row.id]]
        for host_id, _, _ in flagged:
            session.execute(
                update(AgentRow)
                .where(AgentRow.host_id == host_id)
                .values(claimed_by=claims[host_id], claimed_at=now())
            )
        changes = [
            (name, {"heartbeats_from": peer}, {"heartbeats_from": claims[host_id]})
            for host_id, name, peer in flagged
        ]
        record_all(session, CONTROLLER, "agent.claimed", "host", changes)


def accept(session: Session, by: Principal, name: str) -> Host:
    """Take a host's heartbeats from the address that claims it, from now on.

    Raises:
        NotFound: there is no such host.
        Conflict: nobody claims it.
        Forbidden: it is in hostgroups that the token is not for.
    """
    host, agent = _claimed(session, by, name)
    before, agent.peer = agent.peer, agent.claimed_by
    _settle(agent)
    shown = {"heartbeats_from": before}, {"heartbeats_from": agent.peer}
    record(session, by, "agent.move", "host", name, *shown)
    counters.advance(session, counters.PLANS)
    return host


def dismiss(session: Session, by: Principal, name: str) -> None:
    """Take the flag off a host.

    Raises:
        NotFound: there is no such host.
        Conflict: nobody claims it.
        Forbidden: it is in hostgroups that the token is not for.
    """
    _, agent = _claimed(session, by, name)
    record(session, by, "agent.dismiss", "host", name, {"claimed_by": agent.claimed_by}, None)
    _settle(agent)
    counters.advance(session, counters.PLANS)


def _claimed(session: Session, by: Principal, name: str) -> tuple[Host, AgentRow]:
    host = fleet.hold(session, by, name)
    by.need_hostgroups(memberships.names_of(session, [host.id])[host.id])
    agent = session.scalar(
        select(AgentRow).where(AgentRow.host_id == host.id, AgentRow.claimed_by != "")
    )
    if agent is None:
        raise Conflict(f"no other address sends heartbeats in the name of host {name!r}")
    return host, agent


def _settle(agent: AgentRow) -> None:
    agent.claimed_by = ""
    agent.claimed_at = None
