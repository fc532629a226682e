"""Events of runs: written in the order in which readers see them, read by page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, insert, or_, select
from sqlalchemy.orm import Session

from controller.auth.principal import CONTROLLER, Principal
from controller.database.base import now
from controller.deployments.models import Deployment, HostResult, RunEvent
from controller.fleet.access import seen_by
from controller.fleet.models import Host

COLUMNS = (
    RunEvent.id,
    RunEvent.wave,
    RunEvent.counter,
    RunEvent.at,
    RunEvent.kind,
    RunEvent.host,
    RunEvent.data,
)


@dataclass(frozen=True)
class Event:
    """One event before it is written; `data` is what its kind tells, without secrets."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    counter: int = 0
    at: datetime = field(default_factory=now)


def append(session: Session, deployment_id: int, wave: int, events: Sequence[Event]) -> None:
    """Write events of one deployment.

    Readers ask for ids greater than the last one that they saw. PostgreSQL gives ids when a row is
    inserted, not when it is committed, so writers of one deployment go one after the other.
    """
    if not events:
        return
    session.execute(
        select(Deployment.id).where(Deployment.id == deployment_id).with_for_update(key_share=True)
    )
    session.execute(
        insert(RunEvent),
        [
            {
                "deployment_id": deployment_id,
                "wave": wave,
                "counter": event.counter,
                "at": event.at,
                "kind": event.kind[:50],
                "host": event.host[:253],
                "data": json.dumps(event.data, ensure_ascii=False, separators=(",", ":")),
            }
            for event in events
        ],
    )


def read(
    session: Session,
    deployment_id: int,
    after: int,
    limit: int,
    *,
    by: Principal = CONTROLLER,
    until: int | None = None,
) -> list[Any]:
    """Events in their order, as rows of COLUMNS.

    Args:
        after: id of the last event that the reader has.
        by: who reads; a limited token sees the events of its hosts.
        until: id of the last event that is wanted, or None.
    """
    query = select(*COLUMNS).where(RunEvent.deployment_id == deployment_id, RunEvent.id > after)
    if until is not None:
        query = query.where(RunEvent.id <= until)
    if by.hostgroups is not None:
        query = query.where(_visible(deployment_id, by))
    return list(session.execute(query.order_by(RunEvent.id).limit(limit)))


def _visible(deployment_id: int, by: Principal) -> ColumnElement[bool]:
    """Events of the hosts that a token sees, and the controller's own, which tell of no host."""
    names = (
        select(HostResult.host)
        .join(Host, Host.id == HostResult.host_id)
        .where(HostResult.deployment_id == deployment_id, seen_by(by))
    )
    own = RunEvent.kind.startswith("deployment.") | RunEvent.kind.startswith("wave.")
    return or_(own, RunEvent.host.in_(names))
