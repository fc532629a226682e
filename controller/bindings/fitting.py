"""Whether the agents that are bound to a plugin bear it: findings of the lint, and scripts that are bound
by themselves, held against the agents of each hostgroup."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from agentplugin import agents, names
from agentplugin.bindings import Binding, BindingError, parse_binding
from agentplugin.plans import resolve
from controller.bindings.agents import Running, of_hostgroups
from controller.bindings.models import BindingRow
from controller.catalog.tree import GitTree
from controller.errors import Invalid
from controller.fleet.models import Host, Hostgroup

Findings = Iterable[dict[str, Any]]


@dataclass(frozen=True)
class Bound:
    """What is bound to one hostgroup, and the agents of its hosts."""

    hostgroup: str
    bindings: Sequence[Binding]
    running: Sequence[Running]


@dataclass(frozen=True)
class Fit:
    """The bindings and the agents of hostgroups at one moment.

    Attributes:
        known: whether there is any host; without one nobody can tell what will be there.
    """

    bound: Sequence[Bound]
    known: bool = True

    def judged(self, findings: Findings, tree: GitTree) -> list[dict[str, Any]]:
        """Findings in a tree as they count for the agents that would meet them.

        What harms an agent that is bound to it is an error and names hostgroup, version and number
        of hosts; what harms none of them is a warning.
        """
        result, reached = [], self._reached(tree)
        for finding in self._with_bound(findings, tree):
            if agents.depends_on_agent(finding["code"]) and self.known:
                who = _harmed(finding, reached)
                finding = agents.refused(finding, who) if who else agents.borne(finding, _NOBODY)
            result.append(finding)
        return result + self._ignored(tree)

    def refused(self, findings: Findings, tree: GitTree | None) -> list[dict[str, Any]]:
        """Only those of the findings that harm an agent; without a tree, bindings go by their form."""
        result, reached = [], self._reached(tree)
        for finding in self._with_bound(findings, tree):
            if agents.depends_on_agent(finding["code"]) and (who := _harmed(finding, reached)):
                result.append(agents.refused(finding, who))
        return result + self._ignored(tree)

    def _with_bound(self, findings: Findings, tree: GitTree | None) -> list[dict[str, Any]]:
        """Findings, with those that only a binding makes: a script "0" is no plugin of its directory."""
        every = list(findings)
        if tree is None:
            return every
        told = {(finding["path"], finding["code"]) for finding in every}
        for bound in self.bound:
            for problem in resolve([binding.text for binding in bound.bindings], tree).problems:
                place = (problem.path, problem.code)
                if agents.depends_on_agent(problem.code) and place not in told:
                    told.add(place)
                    every.append(problem.as_dict())
        return every

    def _reached(self, tree: GitTree | None) -> dict[str, list[Bound]]:
        """Who is bound to a path, links on the way to it followed."""
        reached: dict[str, list[Bound]] = {}
        for bound in self.bound:
            paths = {binding.path for binding in bound.bindings}
            if tree is not None:
                paths |= {tree.real(path) or "." for path in paths}
            for path in paths:
                reached.setdefault(path, []).append(bound)
        return reached

    def _ignored(self, tree: GitTree | None) -> list[dict[str, Any]]:
        who: dict[str, list[str]] = {}
        for bound in self.bound:
            old = [r for r in bound.running if agents.ignores_scripts(r.versions)]
            for binding in bound.bindings if old else ():
                if tree.isfile(binding.path) if tree else _looks_like_script(binding):
                    who.setdefault(binding.text, []).extend(
                        f"hostgroup {bound.hostgroup}: {running}, which {agents.SCRIPT_IGNORED}"
                        for running in old
                    )
        return [agents.script_problem(text, whom) for text, whom in sorted(who.items())]


_NOBODY = "no error: no agent that it harms is bound to it"


def of_fleet(session: Session, hosts: Sequence[int] | None = None) -> Fit:
    """All bindings and the agents of the hosts that they reach; `hosts` as in `of_hostgroups`."""
    texts: dict[str, list[str]] = {}
    for name, plugin in session.execute(
        select(Hostgroup.name, BindingRow.plugin)
        .join(BindingRow.hostgroup)
        .order_by(Hostgroup.name, BindingRow.plugin)
    ):
        texts.setdefault(name, []).append(plugin)
    return _fit(session, texts, hosts)


def of_binding(session: Session, hostgroup: str, plugin: str) -> Fit:
    """One binding, and the agents of its hostgroup."""
    return _fit(session, {hostgroup: [plugin]}, None)


def need(found: Sequence[Mapping[str, Any]], field: str, what: str) -> None:
    """Refuse something because of what it would do to agents.

    Args:
        found: of `Fit.refused`.
        field: of the request, that is to blame.
        what: what is refused, e.g. "this binding".

    Raises:
        Invalid: there is something; every one is named.
    """
    if not found:
        return
    said = [f"{p['path']}: {agents.explained(p)}" for p in found]
    raise Invalid(
        f"{what} would harm agents: " + "; ".join(said[:5]),
        hint=found[0]["hint"],
        fields=[
            {"field": field, "message": f"{text} [{p['code']}]"}
            for text, p in zip(said, found, strict=True)
        ],
    )


def need_executors(session: Session, hostgroup: str, plugin: str) -> None:
    """Refuse to bind what only the executor runs to hosts with an Open-Falcon agent: such a host would go
    without the plugin, and nothing would say so.

    Raises:
        Invalid: says how many hosts.
    """
    running = of_hostgroups(session, [hostgroup]).get(hostgroup, [])
    falcon = [str(agent) for agent in running if agent.versions != (agents.EXECUTOR,)]
    if falcon:
        message = (
            f"{plugin!r} in hostgroup {hostgroup!r}: {', '.join(falcon)}, which runs step scripts alone; "
            "manifest plugins and what has a format need the executor"
        )
        raise Invalid(
            message,
            hint="bind it to a hostgroup whose hosts have the executor",
            fields=[{"field": "body.plugin", "message": f"{message} [binding-needs-executor]"}],
        )


def _harmed(finding: Mapping[str, Any], reached: Mapping[str, Sequence[Bound]]) -> list[str]:
    """ "<agents>, which <harm>" of every hostgroup that a finding harms hosts of."""
    path = finding["path"]
    found = {
        b.hostgroup: b for p in (path, posixpath.dirname(path) or ".") for b in reached.get(p, ())
    }
    return [
        f"hostgroup {name}: {running}, which {harm}"
        for name, bound in sorted(found.items())
        for running in bound.running
        if (harm := agents.harm(finding["code"], running.versions))
    ]


def _fit(session: Session, texts: Mapping[str, list[str]], hosts: Sequence[int] | None) -> Fit:
    running = of_hostgroups(session, list(texts), hosts)
    return Fit(
        [Bound(name, _parsed(texts[name]), running.get(name, [])) for name in sorted(texts)],
        known=session.scalar(select(Host.id).limit(1)) is not None,
    )


def _parsed(texts: Iterable[str]) -> list[Binding]:
    parsed = []
    for text in texts:
        try:
            parsed.append(parse_binding(text))
        except BindingError:
            # Kept before a rule of today; publishing refuses it by that.
            continue
    return parsed


def _looks_like_script(binding: Binding) -> bool:
    """For bindings that were held against a tree already, by their form alone."""
    name = posixpath.basename(binding.path)
    return binding.args is not None or names.parse_step(name) is not None
