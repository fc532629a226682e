"""The plan of a host: newest release, bindings of its hostgroups, variables; and why each is there.

A plan's digest changes whenever something does that a deployment would carry to the host. A host is
converged when the digest that it was last brought to is that of its plan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings.service import entry
from controller.bindings.static import bindings_of
from controller.fleet.models import Host, HostState, Membership
from controller.plans.facts import few, load, memberships


@dataclass(frozen=True)
class Reason:
    """Why a host has a plugin: a binding, and how the host came into its hostgroup."""

    binding: int
    hostgroup: str
    by_name: bool
    by_rule: bool


@dataclass(frozen=True)
class PlannedPlugin:
    """Something bound to a host; `config_secrets` are the names of items that are not shown."""

    plugin: str
    config: dict[str, Any] | None
    config_secrets: tuple[str, ...]
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
        bindings: as `plugin_bindings` has them, without secret items.
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
    bindings: tuple[Any, ...]


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
    return {
        host_id: facts.host_digest(
            facts.shared(members[host_id]),
            address=address,
            agent_kind=agent_kind,
            variables=variables,
            secrets=secrets,
        )
        for host_id, address, agent_kind, variables, secrets in session.execute(columns)
        if wanted is None or host_id in wanted
    }


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
    digest = facts.host_digest(
        shared,
        address=host.address,
        agent_kind=host.agent_kind,
        variables=host.variables,
        secrets=host.secrets,
    )
    found: dict[str, PlannedPlugin] = {}
    variables: dict[str, PlannedVariable] = {}
    for group in shared.groups:
        for bound in group.bindings:
            secrets = tuple(sorted(vault.open(bound.secrets)))
            reason = Reason(bound.id, group.name, *why.get(group.id, (False, False)))
            key = repr((bound.plugin, bound.config, vault.fingerprint(bound.secrets)))
            known = found.get(key)
            reasons = (*known.reasons, reason) if known else (reason,)
            found[key] = PlannedPlugin(bound.plugin, bound.config, secrets, reasons)
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
        plugins=tuple(sorted(found.values(), key=lambda p: (p.plugin, p.reasons[0].binding))),
        variables=tuple(variables[name] for name in sorted(variables)),
        bindings=tuple(
            bindings_of(
                [group.name for group in shared.groups],
                {
                    group.name: [entry(bound.plugin, bound.config) for bound in group.bindings]
                    for group in shared.groups
                },
            )
        ),
    )


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
