"""What runs that only look say of hosts: one that had its plan and is otherwise now has drifted.

A look finds what a visit would change (roles/plugin_sync/control/visit.py decides both by the same
facts), so a difference on a host that reported this very plan was made by somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from controller.database import counters
from controller.database.base import now
from controller.database.chunks import chunks
from controller.deployments.models import Deployment, HostLock, HostResult
from controller.fleet.models import Host, HostState

_MOST_TEXT = 20_000  # characters of a message that are kept


@dataclass(frozen=True)
class Look:
    """What a look at one host found.

    Attributes:
        plan: digest of the plan that it was held against; empty where that is not its newest one.
        differs: whether a visit would change something.
        message: what.
    """

    plan: str
    differs: bool
    message: str


def record_looks(session: Session, deployment: Deployment, looks: Mapping[int, Look]) -> None:
    """Write what a look says of hosts, by their ids.

    A host that reported the plan and differs from it is `drifted`: the next deployment visits it. A
    drifted host is `converged` again only where nothing differs from the plan that it had reported.
    Where its plan has changed since, it stays `drifted`: nobody has brought it to the new one. All
    else stands: a look says nothing of a host that has yet to get its plan.

    Hosts that were visited while the run looked are left out: what it saw may be over.
    """
    judged = {host_id: look for host_id, look in looks.items() if look.plan}
    changes: list[dict[str, Any]] = []
    moment = now()
    for part in chunks(sorted(judged)):
        visited = _visited_since(session, deployment, part)
        query = select(Host.id, Host.state, Host.state_since, Host.reported_plan, Host.last_error)
        for host_id, state, since, reported, told in session.execute(
            query.where(Host.id.in_(part))
        ):
            look = judged[host_id]
            if host_id in visited or reported != look.plan:
                continue
            fitting, error = _judge(deployment.id, look, HostState(state), told)
            if (fitting, error) != (state, told):
                changes.append(
                    {
                        "host": host_id,
                        "seen": state,
                        "seen_plan": reported,
                        "fitting": fitting.value,
                        "since": since if fitting == state else moment,
                        "error": error,
                    }
                )
    if not changes:
        return
    table = Host.__table__
    # Another run may have ended since these rows were read.
    guarded = update(Host).where(
        table.c.id == bindparam("host"),
        table.c.state == bindparam("seen"),
        table.c.reported_plan == bindparam("seen_plan"),
    )
    moved = guarded.values(
        state=bindparam("fitting"), state_since=bindparam("since"), last_error=bindparam("error")
    )
    session.connection().execute(moved, changes)
    counters.advance(session, counters.STATES)


def _judge(deployment_id: int, look: Look, state: HostState, told: str) -> tuple[HostState, str]:
    """The state and last error of a host that has reported the plan that was looked for."""
    if look.differs:
        error = f"deployment {deployment_id}: differs from its plan: {look.message}"
        return HostState.DRIFTED, error[:_MOST_TEXT]
    if state == HostState.DRIFTED:
        return HostState.CONVERGED, ""
    return state, told


def _visited_since(session: Session, deployment: Deployment, host_ids: list[int]) -> set[int]:
    """Hosts that another deployment holds, or has visited since this one began to look."""
    began: datetime = deployment.started or deployment.created
    holding = select(HostLock.host_id).where(HostLock.host_id.in_(host_ids))
    visits = (
        select(HostResult.host_id)
        .join(Deployment, Deployment.id == HostResult.deployment_id)
        .where(
            HostResult.host_id.in_(host_ids),
            HostResult.wave > 0,
            HostResult.ended >= began,
            Deployment.check.is_(False),
        )
    )
    return {host_id for query in (holding, visits) for host_id in session.scalars(query) if host_id}
