"""What every host's agent is to be told, and by which digests its plan is recognised, read at once."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.agents.wire import encode
from controller.auth.vault import Vault
from controller.catalog import releaserows
from controller.fleet.models import AgentKind, Host
from controller.plans.facts import Bound, Facts, Group, load, memberships


class List(NamedTuple):
    """Plugins as JSON, and their digest."""

    plugins: bytes
    digest: str


class Planned(NamedTuple):
    """One host.

    Attributes:
        address: where SSH reaches it, if that is an IP address.
        plan: the digest of its plan.
        config: the digest of all of its plan that no agent gets by itself.
        takes_lists: whether its agent runs what it is told, and nothing else.
    """

    name: str
    address: str
    plan: str
    config: str
    takes_lists: bool
    list: List


@dataclass(frozen=True)
class Plans:
    """What was planned at one moment.

    Attributes:
        hosts: by their ids.
        numbers: of the releases, by their commits.
        wanted: commit of the newest release, or empty.
    """

    hosts: dict[int, Planned]
    numbers: dict[str, int]
    wanted: str


def read(session: Session, vault: Vault) -> Plans:
    """Read the plans of all hosts."""
    facts = load(session, vault)
    members = memberships(session)
    # A Falcon agent gets its bindings from here alone. Our executor runs those of its own file as
    # well, which only a deployment changes; it pulls releases by itself.
    beside = {
        AgentKind.FALCON.value: Facts(vault, _without_told(facts.groups.values()), None),
        AgentKind.EXECUTOR.value: Facts(vault, facts.groups, None),
    }
    lists: dict[tuple[int, ...], List] = {}
    hosts: dict[int, Planned] = {}
    columns = select(
        Host.id, Host.name, Host.address, Host.agent_kind, Host.variables, Host.secrets
    )
    for host_id, name, address, agent_kind, variables, secrets in session.execute(columns):
        groups = members[host_id]
        known = lists.get(groups)
        if known is None:
            known = lists[groups] = _list(facts.shared(groups).groups)
        plan, config = (
            kind.host_digest(
                kind.shared(groups),
                address=address,
                agent_kind=agent_kind,
                variables=variables,
                secrets=secrets,
            )
            for kind in (facts, beside[agent_kind])
        )
        hosts[host_id] = Planned(
            name,
            address if _is_address(address) else "",
            plan,
            config,
            agent_kind == AgentKind.FALCON.value,
            known,
        )
    numbers = {commit: number for number, commit in releaserows.commits(session).items()}
    return Plans(hosts, numbers, facts.release[1] if facts.release else "")


def _told(bound: Bound) -> bool:
    """Whether a binding can be told in a list: a path, without configuration."""
    return bound.config is None and not bound.secrets


def _without_told(groups: Iterable[Group]) -> dict[int, Group]:
    return {
        group.id: replace(group, bindings=[b for b in group.bindings if not _told(b)])
        for group in groups
    }


def _list(groups: Iterable[Group]) -> List:
    """The sorted union of what is bound, as hbs has it (cache/plugins.go)."""
    texts = {bound.plugin for group in groups for bound in group.bindings if _told(bound)}
    plugins = encode(sorted(texts, key=str.encode))
    return List(plugins, hashlib.sha256(plugins).hexdigest())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
