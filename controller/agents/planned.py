"""What every host's agent is to be told, and by which digests its plan is recognised, read at once."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.agents.models import AgentRow
from controller.agents.wire import encode
from controller.auth.vault import Vault
from controller.bindings.agents import said_in
from controller.catalog import releaserows
from controller.fleet.models import AgentKind, Host
from controller.plans.facts import Bound, Facts, Group, load, memberships, overrides, used


class List(NamedTuple):
    """Plugins as JSON, their digest, and each by itself."""

    plugins: bytes
    digest: str
    texts: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> List:
        """The list of these plugins, sorted as hbs has it (cache/plugins.go)."""
        ordered = tuple(sorted(texts, key=str.encode))
        plugins = encode(ordered)
        return cls(plugins, hashlib.sha256(plugins).hexdigest(), ordered)


class Planned(NamedTuple):
    """One host.

    Attributes:
        address: where SSH reaches it, if that is an IP address.
        plan: the digest of its plan.
        config: the digest of all of its plan that no agent gets by itself.
        takes_lists: whether its agent runs what it is told, and nothing else.
        list: what it is told.
        version: of its agent, as that said last; empty if it was never heard.
        said: what people say of its agent, see bindings.agents.
        landed: the commit that its plugin directory was last known to have come to.
        withheld: what is left out of its list because its agent would die of it, and why; see withholding.
        fits: the reports of a version (agentplugin.agents.REPORTS) that the list is fit for; None is all.
        risky: whether something bound to it ends agents of some version.
    """

    name: str
    address: str
    plan: str
    config: str
    takes_lists: bool
    list: List
    version: str
    said: str
    landed: str
    withheld: str = ""
    fits: frozenset[str] | None = None
    risky: bool = False


@dataclass(frozen=True)
class Plans:
    """What was planned at one moment.

    Attributes:
        hosts: by their ids.
        numbers: of the releases, by their commits.
        wanted: commit of the newest release, or empty.
        looked_at: commits of the releases in which was looked for what agents die of.
    """

    hosts: dict[int, Planned]
    numbers: dict[str, int]
    wanted: str
    looked_at: frozenset[str] = frozenset()


def read(session: Session, vault: Vault) -> Plans:
    """Read the plans of all hosts, whatever their agents bear (see withholding)."""
    facts = load(session, vault)
    members = memberships(session)
    laid_over = overrides(session)
    # A Falcon agent gets its bindings from here alone. Our executor runs those of its own file as
    # well, which only a deployment changes; it pulls releases by itself.
    beside = {
        AgentKind.FALCON.value: Facts(vault, _without_told(facts.groups.values()), None),
        AgentKind.EXECUTOR.value: Facts(vault, facts.groups, None),
    }
    lists: dict[tuple[int, ...], List] = {}
    hosts: dict[int, Planned] = {}
    columns = select(
        Host.id,
        Host.name,
        Host.address,
        Host.agent_kind,
        Host.variables,
        Host.secrets,
        func.coalesce(AgentRow.version, ""),
        func.coalesce(AgentRow.landed, ""),
    ).outerjoin(AgentRow, AgentRow.host_id == Host.id)
    for host_id, name, address, agent_kind, variables, secrets, *heard in session.execute(columns):
        groups = members[host_id]
        shared = facts.shared(groups)
        over = used(shared, laid_over[host_id]) if host_id in laid_over else ()
        known = lists.get(groups)
        if known is None:
            known = lists[groups] = _list(shared.groups)
        version, landed = heard
        plan, config = (
            kind.host_digest(
                kind.shared(groups),
                address=address,
                agent_kind=agent_kind,
                variables=variables,
                secrets=secrets,
                overrides=over,
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
            version,
            said_in(variables) or said_in(shared.variables),
            landed,
        )
    numbers = {commit: number for number, commit in releaserows.commits(session).items()}
    return Plans(hosts, numbers, facts.release[1] if facts.release else "")


def _told(bound: Bound) -> bool:
    """Whether a binding can be told in a list: a path, without configuration or format."""
    return bound.config is None and not bound.secrets and not bound.format


def _without_told(groups: Iterable[Group]) -> dict[int, Group]:
    return {
        group.id: replace(group, bindings=[b for b in group.bindings if not _told(b)])
        for group in groups
    }


def _list(groups: Iterable[Group]) -> List:
    """The union of what is bound, as hbs has it (cache/plugins.go)."""
    return List.of({bound.plugin for group in groups for bound in group.bindings if _told(bound)})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
