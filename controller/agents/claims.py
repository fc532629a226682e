"""Heartbeats in a host's name from another address: flagged, and settled by a person.

Nobody proves by a heartbeat who he is. What comes from another address changes nothing of the host until
somebody says that the host has moved.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, contains_eager

from controller.agents.models import AgentRow
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.database import counters
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
