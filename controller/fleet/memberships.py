"""Who is in which hostgroup: rows by name and by rule, changed as sets.

All of this happens while the counter of plans is locked, so that no rule is held against labels
that another transaction is just changing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Text, cast, delete, func, insert, select, update
from sqlalchemy.orm import Session

from controller.database.chunks import chunks
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership
from controller.fleet.rules import Rule, parse


class Why(NamedTuple):
    """Why a host is in a hostgroup; neither means that it is not."""

    by_name: bool = False
    by_rule: bool = False


class Ruled(NamedTuple):
    """A hostgroup that has a rule."""

    id: int
    name: str
    rule: Rule


_NOT = Why()


def ruled(session: Session) -> list[Ruled]:
    """Every hostgroup that has a rule."""
    rows = session.execute(
        select(Hostgroup.id, Hostgroup.name, Hostgroup.rule).where(Hostgroup.rule != "")
    )
    return [Ruled(id, name, parse(rule)) for id, name, rule in rows]


def names_that_differ(
    groups: Iterable[Ruled], before: Mapping[str, str], after: Mapping[str, str]
) -> set[str]:
    """Names of hostgroups that a host joins or leaves by rule when its labels change."""
    return {group.name for group in groups if group.rule.fits(before) != group.rule.fits(after)}


def fit_hostgroup(session: Session, hostgroup_id: int, rule: Rule) -> None:
    """Write a hostgroup's members by rule anew, after its rule changed."""
    present = reasons(session, hostgroup_id)
    # Thousands of hosts share a few sets of labels: each is read and looked at once.
    alike: dict[str, bool] = {}
    fitting = set()
    for host_id, text in session.execute(select(Host.id, cast(Host.labels, Text))):
        if text not in alike:
            alike[text] = rule.fits(json.loads(text))
        if alike[text]:
            fitting.add(host_id)
    _store(session, _differences(hostgroup_id, present, _by_rule(present, fitting)))


def fit_hosts(session: Session, labels: Mapping[int, Mapping[str, str]]) -> None:
    """Write hosts' memberships by rule anew, after their labels changed.

    Args:
        labels: of each host, by its id.
    """
    groups = ruled(session)
    if not groups or not labels:
        return
    rows = [
        row
        for ids in chunks(labels)
        for row in session.execute(
            select(
                Membership.hostgroup_id, Membership.host_id, Membership.by_name, Membership.by_rule
            ).where(Membership.host_id.in_(ids))
        )
    ]
    present: dict[int, dict[int, Why]] = {group.id: {} for group in groups}
    for hostgroup_id, host_id, by_name, by_rule in rows:
        if hostgroup_id in present:
            present[hostgroup_id][host_id] = Why(by_name, by_rule)
    # Thousands of hosts share a few sets of labels.
    alike: dict[frozenset[tuple[str, str]], list[int]] = {}
    for host_id, own in labels.items():
        alike.setdefault(frozenset(own.items()), []).append(host_id)
    changes = []
    for group in groups:
        fitting = {
            host_id
            for shared, host_ids in alike.items()
            if group.rule.fits(dict(shared))
            for host_id in host_ids
        }
        wanted = _by_rule(present[group.id], fitting)
        changes += _differences(group.id, present[group.id], wanted)
    _store(session, changes)


def set_by_name(
    session: Session, hostgroup_id: int, host_ids: Collection[int], *, member: bool
) -> set[int]:
    """Make hosts members by name, or no longer so; all others stay as they are.

    Returns:
        The hosts that this changed.
    """
    present = reasons(session, hostgroup_id, host_ids)
    wanted = {
        host_id: Why(member, present[host_id].by_rule)
        for host_id in host_ids
        if present[host_id].by_name != member
    }
    _store(session, _differences(hostgroup_id, present, wanted))
    return set(wanted)


def size(session: Session, hostgroup: Hostgroup) -> int:
    """How many hosts are in a hostgroup."""
    return sizes(session, [hostgroup])[hostgroup.id]


def sizes(session: Session, hostgroups: Collection[Hostgroup]) -> dict[int, int]:
    """How many hosts are in each hostgroup."""
    ids = [hostgroup.id for hostgroup in hostgroups]
    counted = select(Membership.hostgroup_id, func.count()).group_by(Membership.hostgroup_id)
    found = {
        id: number
        for id, number in session.execute(counted.where(Membership.hostgroup_id.in_(ids)))
    }
    for hostgroup in hostgroups:
        if hostgroup.name == EVERY_HOST:
            found[hostgroup.id] = session.scalar(select(func.count(Host.id))) or 0
    return {id: found.get(id, 0) for id in ids}


def names_of(session: Session, host_ids: Collection[int]) -> dict[int, list[str]]:
    """The names of each host's hostgroups besides `all`, sorted."""
    names: dict[int, list[str]] = {host_id: [] for host_id in host_ids}
    for ids in chunks(host_ids):
        rows = session.execute(
            select(Membership.host_id, Hostgroup.name)
            .join(Hostgroup, Hostgroup.id == Membership.hostgroup_id)
            .where(Membership.host_id.in_(ids))
            .order_by(Hostgroup.name)
        )
        for host_id, name in rows:
            names[host_id].append(name)
    return names


class _Change(NamedTuple):
    hostgroup_id: int
    why: Why
    is_new: bool
    host_id: int


def reasons(
    session: Session, hostgroup_id: int, host_ids: Collection[int] | None = None
) -> dict[int, Why]:
    """Why hosts are in a hostgroup.

    Args:
        host_ids: those to ask for, each of which is then in the answer; None for all members.
    """
    query = select(Membership.host_id, Membership.by_name, Membership.by_rule).where(
        Membership.hostgroup_id == hostgroup_id
    )
    if host_ids is None:
        rows = list(session.execute(query))
    else:
        rows = [
            row
            for ids in chunks(host_ids)
            for row in session.execute(query.where(Membership.host_id.in_(ids)))
        ]
    found = {host_id: Why(by_name, by_rule) for host_id, by_name, by_rule in rows}
    return found if host_ids is None else {id: found.get(id, _NOT) for id in host_ids}


def _by_rule(present: Mapping[int, Why], fitting: set[int]) -> dict[int, Why]:
    """Why hosts are to be in a hostgroup whose rule fits these now."""
    return {
        host_id: Why(present.get(host_id, _NOT).by_name, host_id in fitting)
        for host_id in fitting | present.keys()
    }


def _differences(
    hostgroup_id: int, present: Mapping[int, Why], wanted: Mapping[int, Why]
) -> list[_Change]:
    return [
        _Change(hostgroup_id, why, was == _NOT, host_id)
        for host_id, why in wanted.items()
        if (was := present.get(host_id, _NOT)) != why
    ]


def _store(session: Session, changes: Iterable[_Change]) -> None:
    changes = sorted(changes)
    new = [
        {
            "hostgroup_id": change.hostgroup_id,
            "host_id": change.host_id,
            "by_name": change.why.by_name,
            "by_rule": change.why.by_rule,
        }
        for change in changes
        if change.is_new
    ]
    if new:
        session.execute(insert(Membership), new)
    known = [change for change in changes if not change.is_new]
    for (hostgroup_id, why), alike in groupby(known, key=itemgetter(0, 1)):
        for ids in chunks(change.host_id for change in alike):
            rows = (Membership.hostgroup_id == hostgroup_id, Membership.host_id.in_(ids))
            if why == _NOT:
                session.execute(delete(Membership).where(*rows), execution_options=_NO_OBJECTS)
            else:
                session.execute(
                    update(Membership)
                    .where(*rows)
                    .values(by_name=why.by_name, by_rule=why.by_rule),
                    execution_options=_NO_OBJECTS,
                )


# No session holds Membership objects that would have to follow.
_NO_OBJECTS = {"synchronize_session": False}
