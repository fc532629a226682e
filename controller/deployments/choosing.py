"""Which hosts a deployment concerns, and which of them need a visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import fitting
from controller.catalog.models import ReleaseRow
from controller.database.chunks import chunks
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Forbidden, Invalid
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Hostgroup, HostState, Membership
from controller.plans import service as plans

_FEW = 1_000  # hosts
_NAMED = 20  # unknown names that an error lists
# A host in one of these states is visited whatever plan it reported before.
_SUSPECT = (HostState.DRIFTED, HostState.FAILED, HostState.UNREACHABLE)


@dataclass(frozen=True)
class Chosen:
    """One host of a deployment; `current` where it reports its plan already."""

    id: int
    name: str
    plan: str
    current: bool


def choose(
    session: Session, by: Principal, vault: Vault, request: DeploymentRequest
) -> list[Chosen]:
    """The hosts that are asked for, in order of their names.

    Raises:
        Invalid: names each host and hostgroup that there is not.
        Forbidden: the token does not reach that far.
    """
    ids = asked_for(session, by, request)
    digests = plans.digests(session, vault, None if ids is None else sorted(ids))
    columns = select(Host.id, Host.name, Host.reported_plan, Host.state)
    rows = []
    if ids is None:
        rows = list(session.execute(columns))
    else:
        for part in chunks(sorted(ids)):
            rows += list(session.execute(columns.where(Host.id.in_(part))))
    return sorted(
        (
            Chosen(
                host_id,
                name,
                digests[host_id],
                current=reported == digests[host_id] and state not in _SUSPECT,
            )
            for host_id, name, reported, state in rows
        ),
        key=lambda host: host.name,
    )


def check_agents(session: Session, release: int, visited: Sequence[Chosen]) -> None:
    """Hold a release and all bindings against the agents of the hosts that a deployment visits.

    Publishing and binding did so before; but hosts, and what is known of their agents, may have come since.

    Raises:
        Invalid: an agent would be harmed, or skip a plugin in silence.
    """
    if not visited:
        return
    findings = session.scalar(select(ReleaseRow.problems).where(ReleaseRow.number == release))
    ids = [host.id for host in visited]
    # Thousands are looked up one by one only where somebody in the fleet is harmed: that takes a second.
    found = fitting.of_fleet(session, ids if len(ids) <= _FEW else None).refused(
        findings or [], None
    )
    if found and len(ids) > _FEW:
        found = fitting.of_fleet(session, ids).refused(findings or [], None)
    fitting.need(found, "body.hosts", "this deployment")


def asked_for(session: Session, by: Principal, request: DeploymentRequest) -> set[int] | None:
    """Ids of the hosts, or None for every one.

    Raises:
        Invalid: names each host and hostgroup that there is not.
        Forbidden: the token does not reach that far.
    """
    if EVERY_HOST in request.hostgroups or not (request.hosts or request.hostgroups):
        by.need_whole_fleet("a deployment to every host")
        return None
    by.need_hostgroups(request.hostgroups)
    ids, unknown = _by_name(session, by, sorted(set(request.hosts)))
    groups = dict(
        session.execute(
            select(Hostgroup.name, Hostgroup.id).where(Hostgroup.name.in_(request.hostgroups))
        ).all()
    )
    unknown += [
        {"field": "hostgroups", "message": f"there is no hostgroup {name!r}"}
        for name in sorted(set(request.hostgroups) - set(groups))
    ]
    if unknown:
        shown = "; ".join(field["message"] for field in unknown[:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise Invalid(shown + more, fields=unknown[:_NAMED])
    members = select(Membership.host_id).where(Membership.hostgroup_id.in_(groups.values()))
    return ids | set(session.scalars(members))


def _by_name(
    session: Session, by: Principal, names: Sequence[str]
) -> tuple[set[int], list[dict[str, str]]]:
    known: dict[str, int] = {}
    seen: set[int] = set()
    for part in chunks(names):
        query = select(Host.name, Host.id).where(Host.name.in_(part))
        known.update(session.execute(query).all())
        seen.update(session.scalars(select(Host.id).where(Host.name.in_(part), seen_by(by))))
    outside = sorted(name for name, host_id in known.items() if host_id not in seen)
    if outside:
        raise Forbidden(
            f"token {by.name!r} is limited to {', '.join(sorted(by.hostgroups or ()))}; "
            f"not to {', '.join(outside[:_NAMED])}"
        )
    unknown = [
        {"field": "hosts", "message": f"there is no host {name!r}"}
        for name in names
        if name not in known
    ]
    return set(known.values()), unknown
