"""The inventory document: hosts, hostgroups, plans and connection variables in the form that Ansible's
inventory scripts have (docs.ansible.com, "Developing dynamic inventory": `--list` with `_meta`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings.sealing import plain, without_secrets
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, HostState
from controller.plans.facts import (
    Bound,
    Facts,
    Group,
    Override,
    few,
    load,
    memberships,
    overrides,
    used,
)
from controller.plans.service import effective_state

EVERYONE = "pf_everyone"
"""The group that carries the variables of hostgroup `all`: of Ansible's own group `all` AWX keeps what is
gone from it, up to 24.6.1 (`inventory_import` adds and never removes), so that there is only what always is."""
_LOWEST = -(2**31)  # `ansible_group_priority`: every hostgroup's variables win over those of `all`


def document(
    session: Session,
    vault: Vault,
    hosts: Collection[str] | None = None,
    with_secrets: bool = False,
    public_url: str = "",
    reach: Collection[str] | None = None,
) -> dict[str, Any]:
    """The inventory of these hosts, or of all.

    Args:
        hosts: names; hostgroups without any of them are left out.
        with_secrets: also the values of secret variables and of secret configuration items.
        public_url: where a control node fetches a release that it lacks, as
            `plugin_source_controller`; empty leaves that out.
        reach: hostgroups whose own secrets may be told, or None for all: a token for the web hosts
            must not learn the password that `all` has.

    Returns:
        `_meta.hostvars`; `all` with bindings and release; `pf_everyone` with the variables of hostgroup `all`;
        a group for each other hostgroup, and `pf_<state>` for each state.
    """
    facts = load(session, vault)
    wanted = None if hosts is None else frozenset(hosts)
    rows = list(session.execute(_columns(wanted)))
    ids = None if wanted is None else [row[0] for row in rows]
    members = memberships(session, ids)
    laid_over = overrides(session, ids)
    hostvars: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    if wanted is None:
        groups = {group.name: [] for group in facts.groups.values() if group.name != EVERY_HOST}
    states: dict[str, list[str]] = {f"pf_{state.value}": [] for state in HostState}
    told = _Told(vault, with_secrets, reach)
    by_name = {group.name: group for group in facts.groups.values()}
    partly = {id for id, group in facts.groups.items() if not told.whole(group)}
    withheld = by_name[EVERY_HOST].id in partly
    for host_id, name, address, agent_kind, variables, secrets, state, reported in rows:
        if wanted is not None and name not in wanted:
            continue
        group_ids = members[host_id]
        shared = facts.shared(group_ids)
        over = used(shared, laid_over[host_id]) if host_id in laid_over else ()
        digest = facts.host_digest(
            shared,
            address=address,
            agent_kind=agent_kind,
            variables=variables,
            secrets=secrets,
            overrides=over,
        )
        own = dict(variables)
        if with_secrets and secrets:
            own |= vault.open(secrets)
        if address:
            own["ansible_host"] = address
        # Whoever deploys with less than the plan must not report that the host has all of it.
        sealed = secrets or any(entry.secrets for entry in over)
        less = withheld or (sealed and not with_secrets) or not partly.isdisjoint(group_ids)
        if over:
            own["plugin_config_overrides"] = told.overrides(over)
        brought = "" if less else digest
        hostvars[name] = own | {"agent_config_kind": agent_kind, "plugfleet_plan": brought}
        states[f"pf_{effective_state(state, reported, digest).value}"].append(name)
        for group_id in group_ids:
            groups.setdefault(facts.groups[group_id].name, []).append(name)
    told_of = [by_name[name] for name in sorted(groups) if name in by_name]
    everyone = by_name[EVERY_HOST]
    found: dict[str, Any] = {
        EVERY_HOST: {
            "vars": {
                "plugin_bindings": {
                    group.name: told.bindings(group)
                    for group in (everyone, *told_of)
                    if group.bindings
                },
                **_release(facts, public_url),
            },
            "children": [EVERYONE, *sorted(groups), *states],
        },
        EVERYONE: {
            "hosts": list(hostvars),
            "vars": told.variables(everyone) | {"ansible_group_priority": _LOWEST},
        },
    }
    found |= {
        group.name: {"hosts": groups[group.name], "vars": told.variables(group)}
        for group in told_of
    }
    found |= {name: {"hosts": names} for name, names in states.items()}
    return {"_meta": {"hostvars": hostvars}, **found}


def _columns(wanted: Collection[str] | None) -> Any:
    columns = select(
        Host.id,
        Host.name,
        Host.address,
        Host.agent_kind,
        Host.variables,
        Host.secrets,
        Host.state,
        Host.reported_plan,
    ).order_by(Host.name)
    return columns.where(Host.name.in_(wanted)) if wanted is not None and few(wanted) else columns


class _Told:
    """What is told of hostgroups: everything, or everything but secrets."""

    def __init__(self, vault: Vault, with_secrets: bool, reach: Collection[str] | None) -> None:
        self._vault = vault
        self._with_secrets = with_secrets
        self._reach = reach

    def variables(self, group: Group) -> dict[str, Any]:
        return group.variables | self._opened(group, group.secrets)

    def bindings(self, group: Group) -> list[Any]:
        return [self._entry(group, bound) for bound in group.bindings]

    def overrides(self, over: Iterable[Override]) -> dict[str, Any]:
        """What one host has otherwise; its own secrets are told to whoever asks for secrets."""
        tell = plain if self._with_secrets else without_secrets
        return {entry.plugin: tell(entry.tree(self._vault)) for entry in over}

    def _entry(self, group: Group, bound: Bound) -> Any:
        if bound.config is None and not bound.secrets:
            return bound.plugin
        tell = plain if self._tells_secrets_of(group) else without_secrets
        return tell(bound.form(self._vault).entry)

    def whole(self, group: Group) -> bool:
        """Whether nothing of a hostgroup is left out."""
        sealed = group.secrets or any(bound.secrets for bound in group.bindings)
        return not sealed or self._tells_secrets_of(group)

    def _tells_secrets_of(self, group: Group) -> bool:
        reached = self._reach is None or bool({group.name, EVERY_HOST} & set(self._reach))
        return self._with_secrets and reached

    def _opened(self, group: Group, sealed: str) -> dict[str, Any]:
        return self._vault.open(sealed) if sealed and self._tells_secrets_of(group) else {}


def _release(facts: Facts, public_url: str) -> dict[str, Any]:
    """What lets the role plugin_source take the newest release as it is; empty where there is none."""
    number, commit = facts.release or (0, "")
    return {
        "plugin_source_release": {"number": number, "commit": commit} if number else {},
        "plugin_source_controller": public_url if number else "",
    }
