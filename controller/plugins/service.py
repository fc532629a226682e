"""Who runs a plugin: the bindings that reach it, their hostgroups, and how many hosts are in those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from agentplugin.bindings import BindingError, parse_binding
from controller.auth.principal import Principal
from controller.bindings.models import BindingRow
from controller.catalog import releaserows
from controller.catalog.models import ReleaseRow
from controller.catalog.tree import GitTree
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Hostgroup, Membership
from controller.plugins.offered import nearest


class Use(NamedTuple):
    """A binding of a plugin or of something in it."""

    binding: int
    plugin: str
    hostgroup: str


def chosen(session: Session, number: int | None) -> ReleaseRow | None:
    """A release by its number, the newest where none is given; None where there is none yet.

    Raises:
        NotFound: there is no release of that number.
    """
    return releaserows.newest(session) if number is None else releaserows.find(session, number)


def uses(session: Session, tree: GitTree, plugins: Collection[str]) -> dict[str, list[Use]]:
    """The bindings of each plugin, by its path; plugins that nothing binds are left out.

    Args:
        tree: the plugins'.
        plugins: paths of all plugins of the tree.
    """

    @cache
    def plugin_of(text: str) -> str | None:
        try:
            path = tree.real(parse_binding(text).path)
        except BindingError:  # kept before a rule of today
            return None
        if path is None:
            return None
        path = path or "."
        return nearest(path, plugins) if tree.isfile(path) else path if path in plugins else None

    found: defaultdict[str, list[Use]] = defaultdict(list)
    rows = session.execute(
        select(BindingRow.id, BindingRow.plugin, Hostgroup.name)
        .join(BindingRow.hostgroup)
        .order_by(Hostgroup.name, BindingRow.plugin)
    )
    for number, text, hostgroup in rows:
        if (plugin := plugin_of(text)) is not None:
            found[plugin].append(Use(number, text, hostgroup))
    return dict(found)


def hosts_of(
    session: Session, by: Principal, wanted: Iterable[frozenset[str]]
) -> dict[frozenset[str], int]:
    """How many hosts that a token sees are in any of some hostgroups, for several such sets."""
    sets = set(wanted)
    names = frozenset().union(*sets)
    every = 0
    if EVERY_HOST in names:
        every = session.scalar(select(func.count()).select_from(Host).where(seen_by(by))) or 0
    members = _members(session, by, names - {EVERY_HOST})
    return {
        some: every
        if EVERY_HOST in some
        else len(set().union(*[members.get(name, set()) for name in some]))
        for some in sets
    }


def _members(session: Session, by: Principal, names: Collection[str]) -> Mapping[str, set[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    if names:
        query = (
            select(Hostgroup.name, Membership.host_id)
            .join(Hostgroup, Hostgroup.id == Membership.hostgroup_id)
            .where(Hostgroup.name.in_(names))
        )
        if by.hostgroups is not None:
            query = query.join(Host, Host.id == Membership.host_id).where(seen_by(by))
        for name, host_id in session.execute(query):
            found[name].add(host_id)
    return found
