"""The portal follows us: what differs in its hostgroups, and the steps that change just that.

Names of hosts and hostgroups are one regardless of case there (its tables' collation), so are they
here when both sides are compared. Within a hostgroup things are added before others are taken away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from agentplugin.problems import shown
from controller.bindings.models import BindingRow
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import AgentKind, Host, Hostgroup, Membership
from controller.portal import owned
from controller.portal.client import Bound, Group, Member, Portal
from controller.portal.content import LeftOut, in_our_form
from controller.portal.models import Kind, Side
from controller.portal.owned import Thing
from controller.portal.schemas import Step

_HOSTS_AT_ONCE = 200
_FOREIGN = "no sync made it; --prune takes it away"


@dataclass
class Ours:
    """What the portal is to have.

    Attributes:
        hosts: of each hostgroup, those with a Falcon agent.
        plugins: of each hostgroup, those that a portal can hold.
        made: what syncs made in the portal.
        left: what is left as it is.
        executors: how many hosts of them take their plugins from us alone.
        bound_to_all: how many bindings are every host's, which a portal has no hostgroup for.
    """

    hosts: dict[str, list[str]]
    plugins: dict[str, list[str]]
    made: set[Thing]
    left: LeftOut = field(default_factory=LeftOut)
    executors: int = 0
    bound_to_all: int = 0


class Theirs(NamedTuple):
    """A hostgroup of the portal; `found` is None where it has none of that name."""

    found: Group | None
    members: list[Member]
    bindings: list[Bound]


@dataclass
class Work:
    """What there is to do in one hostgroup of the portal, in this order.

    Attributes:
        steps: what the report says of it; each but for repeated rows is one request.
        unbound: rows that go with a plugin that is taken away, or stands there more than once.
        stale: what syncs made and is gone there.
    """

    name: str
    theirs: Theirs
    steps: list[Step] = field(default_factory=list)
    unbound: dict[str, list[Bound]] = field(default_factory=dict)
    stale: list[Thing] = field(default_factory=list)


def read(session: Session, portal: str, only: Collection[str]) -> Ours:
    """What the portal is to have of our hostgroups.

    Args:
        only: names of hostgroups; empty is all.
    """
    names = [
        name
        for name in session.scalars(select(Hostgroup.name).order_by(Hostgroup.name))
        if name != EVERY_HOST and (not only or name in only)
    ]
    made = owned.read(session, portal, Side.PORTAL, only)
    ours = Ours({name: [] for name in names}, {name: [] for name in names}, made)
    members = (
        select(Hostgroup.name, Host.name, Host.agent_kind)
        .join(Membership, Membership.hostgroup_id == Hostgroup.id)
        .join(Host, Host.id == Membership.host_id)
        .order_by(Host.name)
    )
    executors = set()
    for group, host, agent in session.execute(members):
        if group not in ours.hosts:
            continue
        if agent == AgentKind.FALCON.value:
            ours.hosts[group].append(host)
        else:
            executors.add(host)
    ours.executors = len(executors)
    bound = (
        select(Hostgroup.name, BindingRow.plugin, BindingRow.config, BindingRow.secrets)
        .join(BindingRow.hostgroup)
        .order_by(BindingRow.plugin)
    )
    for group, plugin, config, secrets in session.execute(bound):
        if group == EVERY_HOST:
            ours.bound_to_all += 1
        elif group in ours.plugins and config is None and not secrets:
            ours.plugins[group].append(plugin)
        elif group in ours.plugins:
            ours.left.skip(
                Kind.BINDING, group, plugin, "a portal keeps no configuration of plugins"
            )
    return ours


def look(portal: Portal, ours: Ours) -> tuple[dict[str, Theirs], int]:
    """The portal's side of every hostgroup that is ours or that a sync made, by our name.

    Returns:
        And how many hostgroups more it has.

    Raises:
        PortalError: it cannot be read.
    """
    wanted = {*ours.hosts, *(thing.hostgroup for thing in ours.made)}
    there = portal.hostgroups()
    by_name = {group.name: group for group in there}
    folded = {group.name.casefold(): group for group in there}
    seen: dict[str, Theirs] = {}
    for name in sorted(wanted):
        found = by_name.get(name)
        other = folded.get(name.casefold())
        if found is None and other is not None:
            reason = f"the portal calls it {other.name!r}, and cannot tell the two apart"
            ours.left.skip(Kind.HOSTGROUP, name, "", reason)
        elif found is None:
            seen[name] = Theirs(None, [], [])
        else:
            seen[name] = Theirs(found, portal.members(found), portal.bindings(found))
    return seen, len(there) - sum(side.found is not None for side in seen.values())


def plan(ours: Ours, seen: Mapping[str, Theirs], *, prune: bool) -> list[Work]:
    """What differs, hostgroup by hostgroup."""
    made: dict[str, list[Thing]] = {}
    for thing in ours.made:
        made.setdefault(thing.hostgroup, []).append(thing)
    return [
        _Difference(ours, name, theirs, made.get(name, ()), prune).work
        for name, theirs in seen.items()
    ]


class _Difference:
    """Compares one hostgroup; `made` is what syncs made in it."""

    def __init__(
        self, ours: Ours, name: str, theirs: Theirs, made: Iterable[Thing], prune: bool
    ) -> None:
        self._ours = ours
        self._name = name
        self._owned = {_one(thing.kind, thing.name): thing for thing in made}
        own = (Kind.HOSTGROUP, "") in self._owned
        gone = name not in ours.hosts
        # What is in a hostgroup that others made, and that we have no more, is no business of ours.
        self._prune = prune and (own or not gone)
        self.work = Work(name, theirs)
        if theirs.found is None and not gone:
            self._step("create", "hostgroup")
        bound, unbound, extra = self._bindings()
        joins, leaves = self._members()
        for action, kind, names, at_once in (
            ("add", "binding", bound, 1),
            ("add", "member", joins, _HOSTS_AT_ONCE),
            ("remove", "duplicate", extra, 1),
            ("remove", "binding", unbound, 1),
            ("remove", "member", leaves, _HOSTS_AT_ONCE),
        ):
            for first in range(0, len(names), at_once):
                self._step(action, kind, names[first : first + at_once])
        if gone and own:
            self._end()

    def _step(self, action: str, kind: str, names: Sequence[str] = ()) -> None:
        fields = {"action": action, "kind": kind, "hostgroup": self._name, "names": list(names)}
        self.work.steps.append(Step.model_validate(fields))

    def _bindings(self) -> tuple[list[str], list[str], list[str]]:
        """Plugins to bind, those to take away, and those that stand there more than once."""
        wanted = self._ours.plugins.get(self._name, [])
        rows: dict[str, list[Bound]] = {}
        for bound in self.work.theirs.bindings:
            rows.setdefault(in_our_form(bound.text)[0], []).append(bound)
        unbound, extra = [], []
        for plugin, same in rows.items():
            if plugin not in wanted and self._is_taken_away(Kind.BINDING, plugin):
                unbound.append(plugin)
                self.work.unbound[plugin] = same
            elif len(same) > 1:
                # It stays as an agent takes it literally, else as it was there first.
                same.sort(key=lambda bound: (bound.text != plugin, bound.id))
                extra.append(plugin)
                self.work.unbound[plugin] = same[1:]
        self._forget_stale(Kind.BINDING, {*rows, *wanted})
        return [plugin for plugin in wanted if plugin not in rows], unbound, extra

    def _members(self) -> tuple[list[str], list[str]]:
        """Hosts to add, and to take out."""
        wanted = {name.casefold(): name for name in self._ours.hosts.get(self._name, ())}
        there = {member.name.casefold(): member.name for member in self.work.theirs.members}
        joins = [name for folded, name in wanted.items() if folded not in there]
        leaves = [
            name
            for folded, name in there.items()
            if folded not in wanted and self._is_taken_away(Kind.MEMBER, name)
        ]
        self._forget_stale(Kind.MEMBER, {*there, *wanted})
        return joins, leaves

    def _is_taken_away(self, kind: Kind, name: str) -> bool:
        """Whether something that we have not is taken away; that it stays is told."""
        if self._prune or _one(kind, name) in self._owned:
            return True
        self._ours.left.skip(kind, self._name, shown(name), _FOREIGN)
        return False

    def _forget_stale(self, kind: Kind, known: Collection[str]) -> None:
        """Whatever comes there under that name later is somebody else's."""
        self.work.stale += [
            thing
            for (of_kind, name), thing in self._owned.items()
            if of_kind is kind and name not in known
        ]

    def _end(self) -> None:
        """A hostgroup that a sync made, and that we have no more."""
        if self.work.theirs.found is None:
            self.work.stale.append(Thing(self._name, Kind.HOSTGROUP))
        elif self._prune:
            self._step("delete", "hostgroup")
        else:
            reason = "a sync made it, and it is here no more; --prune deletes it"
            self._ours.left.skip(Kind.HOSTGROUP, self._name, "", reason)


def _one(kind: Kind, name: str) -> tuple[Kind, str]:
    """What is one thing for the portal: hosts' names are so regardless of case."""
    return kind, name.casefold() if kind is Kind.MEMBER else name
