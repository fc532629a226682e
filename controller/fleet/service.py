"""Hosts: finding, making, changing and deleting them.

Whoever changes hosts or hostgroups locks the counter of plans first (`hold`, `create`), so that
what is read and then changed is not changed by another controller in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog.models import ReleaseRow
from controller.database import counters
from controller.database.base import now
from controller.deployments.models import HostLock
from controller.errors import Conflict, Invalid, NotFound
from controller.fleet import memberships
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.members import join
from controller.fleet.models import AgentKind, Host, Hostgroup, HostState, Membership
from controller.fleet.names import hostgroups_named, need_new_host_name
from controller.fleet.schemas import HostCreate, HostPatch, HostPut
from controller.fleet.variables import check_address, merged, settle
from controller.web import etags


class Configured(Protocol):
    """What is configured of a host: a row, or what a row is to become."""

    @property
    def address(self) -> str: ...
    @property
    def agent_kind(self) -> str: ...
    @property
    def variables(self) -> dict[str, Any]: ...
    @property
    def labels(self) -> dict[str, str]: ...


def describe(host: Configured, secret_names: Sequence[str]) -> dict[str, Any]:
    """What is configured of a host, as the audit log keeps it: secrets by name only."""
    return {
        "address": host.address,
        "agent_kind": host.agent_kind,
        "variables": host.variables,
        "secrets": sorted(secret_names),
        "labels": host.labels,
    }


def find(session: Session, by: Principal, name: str) -> Host:
    """A host by its name.

    Raises:
        NotFound: there is none, or none that this token sees.
    """
    host = session.scalar(select(Host).where(Host.name == name, seen_by(by)))
    if host is None:
        raise NotFound(f"there is no host {name!r}")
    return host


def hold(session: Session, by: Principal, name: str, if_match: str | None = None) -> Host:
    """A host that is going to be changed, as it is now and stays until this transaction ends.

    Raises:
        PreconditionFailed: it is not what the caller read.
        NotFound: there is none, or none that this token sees.
    """
    counters.lock(session, counters.PLANS)
    host = find(session, by, name)
    etags.check(if_match, host.version)
    return host


def listing(
    session: Session,
    by: Principal,
    *,
    q: str = "",
    states: Sequence[HostState] = (),
    hostgroup: str = "",
    labels: Mapping[str, str] | None = None,
    agent_kind: AgentKind | None = None,
    release: int | None = None,
) -> Select[Any]:
    """The query of the hosts that a token sees and that fit all that is asked.

    Raises:
        Invalid: there is no such hostgroup.
        Forbidden: the token is not for that hostgroup.
    """
    query = select(Host).where(seen_by(by))
    if q:
        query = query.where(
            Host.name.icontains(q, autoescape=True) | Host.address.icontains(q, autoescape=True)
        )
    if states:
        query = query.where(Host.state.in_([state.value for state in states]))
    if agent_kind:
        query = query.where(Host.agent_kind == agent_kind.value)
    if release is not None:
        query = query.where(Host.reported_release == release)
    for key, value in (labels or {}).items():
        query = query.where(Host.labels[key].as_string() == value)
    if hostgroup:
        by.need_hostgroups([hostgroup])
        hostgroup_id = hostgroup_ids(session, [hostgroup], "query.hostgroup")[hostgroup]
        if hostgroup != EVERY_HOST:
            members = select(Membership.host_id).where(Membership.hostgroup_id == hostgroup_id)
            query = query.where(Host.id.in_(members))
    return query


def create(session: Session, by: Principal, vault: Vault, spec: HostCreate) -> Host:
    """Make a host.

    Raises:
        Conflict: there is a host or a hostgroup of that name.
        Invalid: it names hostgroups that there are not, or variables that may not be.
        Forbidden: the token is limited to hostgroups.
    """
    need_entry(by, spec.name)
    counters.lock(session, counters.PLANS)
    if session.scalar(select(Host.id).where(Host.name == spec.name)):
        raise Conflict(f"there is a host {spec.name!r} already", hint="change it by PATCH or PUT")
    need_new_host_name(spec.name, hostgroups_named(session, [spec.name]))
    host = Host(
        name=spec.name,
        address=spec.address,
        agent_kind=spec.agent_kind.value,
        variables={},
        labels={},
        secrets="",
        state=HostState.PENDING.value,
        wanted_release=newest_release(session),
    )
    session.add(host)
    session.flush()
    _configure(session, by, vault, host, spec, variables=spec.variables, labels=spec.labels)
    record(session, by, "host.create", "host", host.name, None, _described(host, vault))
    _join(session, by, host, spec.hostgroups)
    counters.advance(session, counters.PLANS)
    return host


def replace(session: Session, by: Principal, vault: Vault, host: Host, spec: HostPut) -> Host:
    """Let a host be as it is described; secrets and hostgroups that are not named stay.

    Args:
        host: as `hold` gave it.
    """
    return _update(session, by, vault, host, spec, variables=spec.variables, labels=spec.labels)


def change(session: Session, by: Principal, vault: Vault, host: Host, patch: HostPatch) -> Host:
    """Change what is named of a host.

    Args:
        host: as `hold` gave it.
    """
    return _update(
        session,
        by,
        vault,
        host,
        patch,
        variables=merged(host.variables, patch.variables),
        labels=merged(host.labels, patch.labels),
    )


def delete(session: Session, by: Principal, vault: Vault, host: Host) -> None:
    """Delete a host; what deployments did on it stays on record.

    Args:
        host: as `hold` gave it.

    Raises:
        Conflict: a deployment is at it.
        Forbidden: it is in hostgroups that the token is not for.
    """
    # A deployment that wants it now waits for this lock, and then finds it gone.
    session.execute(select(Host.id).where(Host.id == host.id).with_for_update())
    holder = session.scalar(select(HostLock.deployment_id).where(HostLock.host_id == host.id))
    if holder is not None:
        raise Conflict(
            f"deployment {holder} is at work on host {host.name!r}",
            hint="wait for its end, or cancel it",
        )
    hostgroups = memberships.names_of(session, [host.id])[host.id]
    by.need_hostgroups(hostgroups)
    before = _described(host, vault) | {"hostgroups": hostgroups}
    session.delete(host)
    record(session, by, "host.delete", "host", host.name, before, None)
    counters.advance(session, counters.PLANS)


def need_entry(by: Principal, name: str) -> None:
    """Refuse a limited token a new host: a name is an address where none is given, so it decides
    which machine the controller logs in to.

    Raises:
        Forbidden: says which hostgroups it is limited to.
    """
    by.need_whole_fleet(f"making host {name!r}")


def hostgroup_ids(session: Session, names: Sequence[str], field: str) -> dict[str, int]:
    """The ids of hostgroups.

    Raises:
        Invalid: names those that there are not.
    """
    rows = session.execute(
        select(Hostgroup.name, Hostgroup.id).where(Hostgroup.name.in_(set(names)))
    )
    found = {name: id for name, id in rows}
    if unknown := sorted(set(names) - found.keys()):
        raise Invalid(
            f"no such hostgroups: {', '.join(unknown)}",
            hint="make them first",
            fields=[{"field": field, "message": f"there is no hostgroup {n!r}"} for n in unknown],
        )
    return found


def newest_release(session: Session) -> int | None:
    """The number of the newest release, which every host is to have; None before the first."""
    return session.scalar(select(func.max(ReleaseRow.number)))


def _update(
    session: Session,
    by: Principal,
    vault: Vault,
    host: Host,
    spec: HostPut | HostPatch,
    *,
    variables: dict[str, Any],
    labels: dict[str, str],
) -> Host:
    before = _described(host, vault)
    changed = _configure(session, by, vault, host, spec, variables=variables, labels=labels)
    if changed:
        host.version += 1
        host.updated = now()
        after = _described(host, vault) | {"secrets_set": sorted(spec.secrets)}
        record(session, by, "host.update", "host", host.name, before, after)
    joined = _join(session, by, host, spec.hostgroups)
    if changed or joined:
        counters.advance(session, counters.PLANS)
    return host


def _configure(
    session: Session,
    by: Principal,
    vault: Vault,
    host: Host,
    spec: HostPut | HostPatch,
    *,
    variables: dict[str, Any],
    labels: dict[str, str],
) -> bool:
    """Put what is described into a host's row; says whether that changed anything."""
    was = (host.address, host.agent_kind, host.variables, host.labels, host.secrets)
    host.secrets = settle(by, vault, host.variables, host.secrets, variables, spec.secrets)
    host.variables = variables
    if isinstance(spec, HostPut) or "address" in spec.model_fields_set:
        check_address(by, host.address or "", spec.address)
        host.address = spec.address
    if isinstance(spec, HostPut) or "agent_kind" in spec.model_fields_set:
        host.agent_kind = spec.agent_kind.value
    if labels != host.labels:
        moves = memberships.names_that_differ(memberships.ruled(session), host.labels, labels)
        by.need_hostgroups(moves)
        host.labels = labels
        session.flush()
        memberships.fit_hosts(session, {host.id: labels})
    return was != (host.address, host.agent_kind, host.variables, host.labels, host.secrets)


def _join(session: Session, by: Principal, host: Host, hostgroups: Sequence[str]) -> bool:
    """Make a host a member of hostgroups by name; says whether it was not already."""
    if not hostgroups:
        return False
    by.need_hostgroups(hostgroups)
    ids = hostgroup_ids(session, hostgroups, "body.hostgroups")
    return any([join(session, by, name, id, {host.id: host.name}) for name, id in ids.items()])


def _described(host: Host, vault: Vault) -> dict[str, Any]:
    return describe(host, list(vault.open(host.secrets)))
