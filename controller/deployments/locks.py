"""Host locks: rows that keep two deployments from touching one host at once.

All of a deployment's hosts are taken together or not at all, so that no two wait for each other;
and a host goes to the deployments that want it in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from controller.database.chunks import chunks
from controller.deployments.models import Deployment, HostLock, HostResult, HostStatus, Status


def take(session: Session, deployment_id: int) -> list[int]:
    """Take the locks of all hosts that a deployment is to visit.

    Returns:
        Ids of the deployments that hold some of them or want them earlier; then none was taken.
    """
    earlier = _wanted_earlier(session, deployment_id)
    if earlier:
        return earlier
    wanted = session.scalars(
        select(HostResult.host_id)
        .where(
            HostResult.deployment_id == deployment_id,
            HostResult.status == HostStatus.WAITING.value,
            HostResult.host_id.is_not(None),
        )
        .order_by(HostResult.host_id)
    ).all()
    # Inserted before they are looked at: on PostgreSQL a lock that another transaction is just
    # taking is seen only by trying to take it too. In order of ids, so that no two deadlock.
    hosts = [host_id for host_id in wanted if host_id is not None]
    _insert(session, deployment_id, hosts)
    held_by = _holders(session, deployment_id)
    if held_by:
        free(session, deployment_id)
    return held_by


def holders(session: Session, deployment_id: int) -> list[int]:
    """Ids of the deployments that keep one from its hosts, without taking any."""
    return _wanted_earlier(session, deployment_id) or _holders(session, deployment_id)


def free(session: Session, deployment_id: int) -> None:
    """Give all of a deployment's hosts back."""
    session.execute(delete(HostLock).where(HostLock.deployment_id == deployment_id))


def _insert(session: Session, deployment_id: int, hosts: Sequence[int]) -> None:
    kind = session.get_bind().dialect.name
    insert = postgresql.insert if kind == "postgresql" else sqlite.insert
    for part in chunks(hosts):
        rows = [{"host_id": host_id, "deployment_id": deployment_id} for host_id in part]
        session.execute(insert(HostLock).values(rows).on_conflict_do_nothing())


def _holders(session: Session, deployment_id: int) -> list[int]:
    query = (
        select(HostLock.deployment_id)
        .join(HostResult, HostResult.host_id == HostLock.host_id)
        .where(
            HostResult.deployment_id == deployment_id,
            HostResult.status == HostStatus.WAITING.value,
            HostLock.deployment_id != deployment_id,
        )
    )
    return sorted(set(session.scalars(query)))


def _wanted_earlier(session: Session, deployment_id: int) -> list[int]:
    """Earlier deployments that still wait for one of the same hosts."""
    mine = select(HostResult.host_id).where(
        HostResult.deployment_id == deployment_id,
        HostResult.status == HostStatus.WAITING.value,
    )
    query = (
        select(HostResult.deployment_id)
        .join(Deployment, Deployment.id == HostResult.deployment_id)
        .where(
            Deployment.status == Status.QUEUED.value,
            Deployment.check.is_(False),
            Deployment.id < deployment_id,
            HostResult.status == HostStatus.WAITING.value,
            HostResult.host_id.in_(mine),
        )
    )
    return sorted(set(session.scalars(query)))
