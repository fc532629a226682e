"""Counts of the fleet at this moment, of what a token sees."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.catalog.models import ReleaseRow
from controller.deployments import service as deployments
from controller.deployments.models import Deployment, Status
from controller.fleet.access import seen_by
from controller.fleet.models import Host, HostState


@dataclass(frozen=True)
class Overview:
    """The fleet in a few numbers.

    Attributes:
        hosts: how many there are in each state.
        behind: how many do not report the newest release.
        release: the newest one, or None.
        deployments: how many have not ended, by status.
    """

    hosts: dict[str, int]
    behind: int
    release: ReleaseRow | None
    deployments: dict[str, int]


def overview(session: Session, by: Principal) -> Overview:
    """Count what a token sees."""
    release = session.scalar(select(ReleaseRow).order_by(ReleaseRow.number.desc()).limit(1))
    hosts = dict.fromkeys((state.value for state in HostState), 0)
    counted = select(Host.state, func.count()).where(seen_by(by)).group_by(Host.state)
    hosts.update((state, number) for state, number in session.execute(counted))
    behind = 0
    if release:
        behind = session.scalars(
            select(func.count(Host.id)).where(
                seen_by(by), Host.reported_release.is_distinct_from(release.number)
            )
        ).one()
    open_ones = [status.value for status in Status if not status.ended]
    seen = deployments.seen(by).where(Deployment.status.in_(open_ones)).subquery()
    going_on = dict.fromkeys(open_ones, 0)
    going_on.update(
        (status, number)
        for status, number in session.execute(
            select(seen.c.status, func.count()).group_by(seen.c.status)
        )
    )
    return Overview(hosts, behind, release, going_on)
