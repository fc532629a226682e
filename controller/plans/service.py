"""The plan of a host: newest release, bindings of its hostgroups, variables; and why each is there.

A plan's digest changes whenever something does that a deployment would carry to the host. A host is
converged when the digest that it was last brought to is that of its plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings import merging
from controller.bindings.merging import Layer, Merged
from controller.fleet.models import Host, HostState, Membership
from controller.plans.facts import Shared, few, load, memberships, overrides, used


@dataclass(frozen=True)
class Reason:
    """Why a host has a plugin: a binding, and how the host came into its hostgroup."""

    binding: int
    hostgroup: str
    by_name: bool
    by_rule: bool


@dataclass(frozen=True)
class PlannedPlugin:
    """Something bound to a host, by one or several hostgroups.

    Attributes:
        merged: its configuration, with `Sealed` values, and where each part of it comes from.
        reasons: in the order in which configurations are merged.
    """

    merged: Merged[Reason]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class PlannedVariable:
    """An Ansible variable of a host, and what it has it from; its value is not a plan's matter.

    Attributes:
        hostgroup: where it stands, or None for the host itself.
    """

    name: str
    hostgroup: str | None
    secret: bool


@dataclass(frozen=True)
class Plan:
    """What one host should have.

    Attributes:
        release: number and commit, or None where nothing was published yet.
        unused: overrides of the host for plugins that are not bound to it.
    """

    host: str
    agent_kind: str
    release: tuple[int, str] | None
    digest: str
    state: HostState
    reported: bool
    hostgroups: tuple[str, ...]
    plugins: tuple[PlannedPlugin, ...]
    variables: tuple[PlannedVariable, ...]
    unused: tuple[str, ...]


def digests(
    session: Session, vault: Vault, host_ids: Collection[int] | None = None
) -> dict[int, str]:
    """The digest of each host's plan, by the host's id.

    Args:
        host_ids: only these; None is every host.
    """
    facts = load(session, vault)
    members = memberships(session, host_ids)
    columns = select(Host.id, Host.address, Host.agent_kind, Host.variables, Host.secrets)
    if host_ids is not None and few(host_ids):
        columns = columns.where(Host.id.in_(host_ids))
    wanted = None if host_ids is None else frozenset(host_ids)
    own = overrides(session, host_ids)
    found = {}
    for host_id, address, agent_kind, variables, secrets in session.execute(columns):
        if wanted is not None and host_id not in wanted:
            continue
        shared = facts.shared(members[host_id])
        found[host_id] = facts.host_digest(
            shared,
            address=address,
            agent_kind=agent_kind,
            variables=variables,
            secrets=secrets,
            overrides=used(shared, own[host_id]) if host_id in own else (),
        )
    return found


def plan_of(session: Session, vault: Vault, host: Host) -> Plan:
    """The plan of one host, with the reason of everything in it."""
    rows = session.execute(
        select(Membership.hostgroup_id, Membership.by_name, Membership.by_rule).where(
            Membership.host_id == host.id
        )
    )
    why = {group_id: (by_name, by_rule) for group_id, by_name, by_rule in rows}
    facts = load(session, vault, list(why))
    shared = facts.shared(tuple(sorted(why)))
    own = overrides(session, [host.id])[host.id]
    digest = facts.host_digest(
        shared,
        address=host.address,
        agent_kind=host.agent_kind,
        variables=host.variables,
        secrets=host.secrets,
        overrides=used(shared, own),
    )
    variables: dict[str, PlannedVariable] = {}
    for group in shared.groups:
        for secret, names in ((False, group.variables), (True, vault.open(group.secrets))):
            variables |= {name: PlannedVariable(name, group.name, secret) for name in names}
    for secret, names in ((False, host.variables), (True, vault.open(host.secrets))):
        variables |= {name: PlannedVariable(name, None, secret) for name in names}
    return Plan(
        host=host.name,
        agent_kind=host.agent_kind,
        release=facts.release,
        digest=digest,
        state=effective_state(host.state, host.reported_plan, digest),
        reported=host.reported_plan == digest,
        hostgroups=tuple(group.name for group in shared.groups),
        plugins=tuple(_plugins(vault, shared, why, {o.plugin: o.tree(vault) for o in own})),
        variables=tuple(variables[name] for name in sorted(variables)),
        unused=tuple(over.plugin for over in own if over.plugin not in shared.keys),
    )


def _plugins(
    vault: Vault,
    shared: Shared,
    why: Mapping[int, tuple[bool, bool]],
    laid_over: Mapping[str, Mapping[str, Any]],
) -> list[PlannedPlugin]:
    layers = [
        Layer(
            bound.form(vault).entry,
            Reason(bound.id, group.name, *why.get(group.id, (False, False))),
        )
        for group in shared.groups
        for bound in group.bindings
    ]
    merged = merging.merge(layers, laid_over)
    return [
        PlannedPlugin(plugin, tuple(plugin.labels))
        for plugin in sorted(merged, key=lambda plugin: plugin.form.key)
    ]


def effective_state(state: str, reported: str, digest: str) -> HostState:
    """A host's state against the plan that it has at this moment.

    The stored one follows a change of plans within seconds (see controller.plans.flow); what other
    than its plan was seen on the host (failed, unreachable, drifted) stands until it is visited.
    """
    known = HostState(state)
    if known == HostState.CONVERGED and reported != digest:
        return HostState.PENDING
    if known == HostState.PENDING and reported == digest:
        return HostState.CONVERGED
    return known
