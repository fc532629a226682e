"""Which agents run on the hosts of a hostgroup: what their heartbeats say, and what people say of them.

v0.2.1 and v0.3 report the same version (agentplugin.agents). Who knows better sets the variable
`agent_version` of a host or hostgroup.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, case, cast, func, select
from sqlalchemy.orm import Session

from agentplugin import agents
from controller.agents.models import AgentRow
from controller.database.chunks import chunks
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import AgentKind, Host, Hostgroup, Membership

VARIABLE = "agent_version"


@dataclass(frozen=True)
class Running:
    """Hosts of one hostgroup that run the same agent.

    Attributes:
        versions: what it may be, see agentplugin.agents; () is a Falcon agent that nobody knows.
        reported: what it says that it is; empty where it was never heard, or a variable says it.
        hosts: how many.
    """

    versions: tuple[str, ...]
    reported: str
    hosts: int

    def __str__(self) -> str:
        """ "3 hosts run agent v0.2.1", as the beginning of a sentence."""
        return f"{self.hosts} host{'s run' if self.hosts > 1 else ' runs'} {self.agent}"

    @property
    def agent(self) -> str:
        """ "agent v0.2.1 (it reports 5.1.0)"."""
        what = " or ".join(self.versions)
        if not self.versions:
            says = f"reports {self.reported!r}" if self.reported else "was not heard yet"
            what = f"a Falcon agent that {says}"
        elif self.versions == (agents.EXECUTOR,):
            what = "the executor"
        elif self.reported:
            what = f"agent {what} (it reports {self.reported})"
        else:
            what = f"agent {what}"
        return what


def of_hostgroups(
    session: Session, names: Collection[str], hosts: Sequence[int] | None = None
) -> dict[str, list[Running]]:
    """The agents of hostgroups, by their names; those without hosts are left out.

    Args:
        hosts: ids; only these count. None is every host.
    """
    # Variables are read of those alone that say something of the agent.
    own = _only_with(VARIABLE, Host.variables)
    columns = (Host.agent_kind, func.coalesce(AgentRow.version, ""), own)
    query = select(Hostgroup.name, *columns, func.count()).outerjoin(
        AgentRow, AgentRow.host_id == Host.id
    )
    members = (
        query.join(Membership, Membership.host_id == Host.id)
        .join(Hostgroup, Hostgroup.id == Membership.hostgroup_id)
        .where(Hostgroup.name.in_(names))
    )
    everyone = query.join(Hostgroup, Hostgroup.name == EVERY_HOST)
    asked = [members, everyone] if EVERY_HOST in names else [members]
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for statement in asked:
        for part in _parts(statement.group_by(Hostgroup.name, *columns), hosts):
            for *key, number in session.execute(part):
                name, kind, version, variables = key
                counted[name, kind, version, variables] += number
    said = _said_of_hostgroups(session, names)
    found: dict[str, Counter[tuple[tuple[str, ...], str]]] = {}
    for (name, kind, version, variables), number in counted.items():
        known = said_in(json.loads(variables)) if variables else ""
        known = known or said.get(name, "") or said.get(EVERY_HOST, "")
        found.setdefault(name, Counter())[of_host(kind, version, known)] += number
    return {
        name: [Running(versions, reported, n) for (versions, reported), n in sorted(kinds.items())]
        for name, kinds in found.items()
    }


def of_host(kind: str, reported: str, said: str) -> tuple[tuple[str, ...], str]:
    """`versions` and `reported` of one host, as in `Running`.

    Args:
        kind: of its agent, as it is configured.
        reported: the version that its heartbeats say; empty if none came.
        said: what people say of it, see `said_in`.
    """
    versions = agents.reported_versions(reported)
    falcon = kind == AgentKind.FALCON.value
    if versions == (agents.EXECUTOR,) or not reported:
        # An executor beside a Falcon agent reports under the same name: that one is still unknown.
        versions, reported = () if falcon else (agents.EXECUTOR,), ""
    named = agents.named_versions(said) if len(versions) != 1 else ()
    return (named, "") if named else (versions, reported)


def _only_with(name: str, variables: Any) -> Any:
    text = cast(variables, Text)
    return case((text.contains(f'"{name}"', autoescape=True), text), else_="")


def _parts(query: Select[Any], hosts: Sequence[int] | None) -> Iterator[Select[Any]]:
    if hosts is None:
        yield query
        return
    for part in chunks(hosts):
        yield query.where(Host.id.in_(part))


def _said_of_hostgroups(session: Session, names: Collection[str]) -> dict[str, str]:
    rows = session.execute(
        select(Hostgroup.name, Hostgroup.variables).where(
            Hostgroup.name.in_([*names, EVERY_HOST]),
            cast(Hostgroup.variables, Text).contains(f'"{VARIABLE}"', autoescape=True),
        )
    )
    return {name: said_in(variables) for name, variables in rows}


def said_in(variables: Mapping[str, Any]) -> str:
    """What people say of an agent in the variables of its host or hostgroup; empty if nothing."""
    value = variables.get(VARIABLE)
    # 0.3 without quotes is a number in YAML and JSON.
    return str(value) if isinstance(value, str | int | float) else ""
