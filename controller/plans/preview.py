"""What changes would come to, before anybody makes them: plans are worked out twice and compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import configs
from controller.bindings.sealing import store
from controller.bindings.wanted import find_hostgroup, need_fit, wanted
from controller.catalog.models import ReleaseRow
from controller.catalog.tree import GitTree
from controller.errors import Invalid
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Membership
from controller.fleet.rules import parse
from controller.plans.facts import Bound, Facts, Group, load, memberships
from controller.plans.keys import Keys, problems
from controller.plans.schemas import (
    HostEffect,
    HostgroupChange,
    HostgroupEffect,
    PreviewRequest,
    PreviewView,
)

_Ids = tuple[int, ...]  # of a host's hostgroups

_EXAMPLES = 20
_NAMED = 20  # unknown names that an error lists


@dataclass(frozen=True)
class Trees:
    """The plugin trees before and after; None where nothing was published yet."""

    before: GitTree | None
    after: GitTree | None


@dataclass
class _Moves:
    """Who joins and leaves which hostgroup."""

    joined: Mapping[int, set[int]]
    left: Mapping[int, set[int]]

    def apply(self, host_id: int, group_ids: _Ids) -> _Ids:
        """The host's hostgroups afterwards."""
        joined, left = self.joined.get(host_id), self.left.get(host_id)
        if not joined and not left:
            return group_ids
        return tuple(sorted((set(group_ids) - (left or set())) | (joined or set())))


def preview(
    session: Session,
    by: Principal,
    vault: Vault,
    trees: Trees,
    release: ReleaseRow | None,
    request: PreviewRequest,
) -> PreviewView:
    """Work out which hosts get another plan by these changes; writes nothing.

    A limited token is told of its own hostgroups and their hosts only.

    Args:
        trees: of the newest release, and of the one that is asked for.
        release: the one that is asked for, or None to stay with the newest.

    Raises:
        Invalid: a hostgroup, host, binding or plugin does not exist; names each.
        Forbidden: the token is limited, and the changes reach further.
    """
    before = load(session, vault)
    after, warnings = _with_bindings(session, by, vault, before, trees.after, request)
    if release is not None:
        after.release = (release.number, release.commit)
    members = memberships(session)
    moves = _moves(session, by, before, members, request.hostgroups)
    comparison = _Comparison(before, after, Keys(trees.before), Keys(trees.after))
    rows = session.execute(select(Host.id, Host.name).where(seen_by(by)).order_by(Host.name))
    for host_id, name in rows:
        comparison.add(name, members[host_id], moves.apply(host_id, members[host_id]))
    return comparison.result(by, trees.after, warnings)


class _Comparison:
    """Holds hosts' plans before and after the changes against each other."""

    def __init__(self, before: Facts, after: Facts, old: Keys, new: Keys) -> None:
        self._before, self._after = before, after
        self._old, self._new = old, new
        self._other_release = before.release != after.release
        # Most hosts are in no hostgroup that changes: their plans need not be worked out.
        self._touched = {
            group_id
            for group_id, group in after.groups.items()
            if group is not before.groups[group_id]
        }
        self._everyone_touched = any(before.groups[g].name == EVERY_HOST for g in self._touched)
        self._changed: dict[tuple[_Ids, _Ids], bool] = {}
        self._effects: dict[tuple[_Ids, _Ids], tuple[frozenset[str], frozenset[str]]] = {}
        self._hosts = 0
        self._examples: list[HostEffect] = []
        self._added: set[str] = set()
        self._removed: set[str] = set()
        self._groups: Counter[int] = Counter()
        self._joined: Counter[int] = Counter()
        self._left: Counter[int] = Counter()

    def add(self, name: str, old: _Ids, new: _Ids) -> None:
        """Take one host with its hostgroups before and after."""
        if old != new:
            self._joined.update(set(new) - set(old))
            self._left.update(set(old) - set(new))
        if not self._differs(old, new):
            return
        added, removed = self._effect(old, new)
        self._hosts += 1
        self._groups.update({*old, *new})
        if len(self._examples) < _EXAMPLES:
            effect = HostEffect(host=name, added=sorted(added), removed=sorted(removed))
            self._examples.append(effect)

    def _differs(self, old: _Ids, new: _Ids) -> bool:
        if self._other_release:
            return True
        if old == new and not self._everyone_touched and self._touched.isdisjoint(new):
            return False
        known = self._changed.get((old, new))
        if known is None:
            known = self._before.shared(old) != self._after.shared(new)
            self._changed[old, new] = known
        return known

    def _effect(self, old: _Ids, new: _Ids) -> tuple[frozenset[str], frozenset[str]]:
        """The keys that are added and removed."""
        known = self._effects.get((old, new))
        if known is None:
            before = self._old.of(self._before.shared(old).groups)
            after = self._new.of(self._after.shared(new).groups)
            known = self._effects[old, new] = (after - before, before - after)
            self._added |= known[0]
            self._removed |= known[1]
        return known

    def result(self, by: Principal, tree: GitTree | None, warnings: list[str]) -> PreviewView:
        """What all of it comes to."""
        groups = [g for g in self._after.groups.values() if by.sees_hostgroup(g.name)]
        names = {group.id: group.name for group in groups}
        touched = names.keys() & {*self._groups, *self._joined, *self._left}
        effects = [
            HostgroupEffect(
                hostgroup=names[group_id],
                hosts=self._groups[group_id],
                joined=self._joined[group_id],
                left=self._left[group_id],
            )
            for group_id in sorted(touched, key=lambda group_id: names[group_id])
        ]
        added, removed = len(self._added), len(self._removed)
        return PreviewView(
            hosts=self._hosts,
            plugins_added=added,
            plugins_removed=removed,
            by_hostgroup=effects,
            examples=self._examples,
            problems=_problems(self._after.vault, groups, tree) if self._other_release else [],
            warnings=warnings,
            text=_text(self._hosts, added, removed),
        )


def _problems(vault: Vault, groups: Iterable[Group], tree: GitTree | None) -> list[str]:
    if tree is None:
        return []
    return [
        f"hostgroup {group.name}: {problem}"
        for group in sorted(groups, key=lambda group: group.name)
        for problem in problems(vault, group.bindings, tree)
    ]


def _text(hosts: int, added: int, removed: int) -> str:
    if not hosts:
        return "no host gets another plan"
    who = "this 1 host" if hosts == 1 else f"these {hosts} hosts"
    what = [f"+{added} plugin{'' if added == 1 else 's'}"] if added else []
    what += [f"-{removed}" if added else f"-{removed} plugin{'' if removed == 1 else 's'}"] * bool(
        removed
    )
    return ", ".join([who, *(what or ["the same plugins"])])


def _with_bindings(
    session: Session,
    by: Principal,
    vault: Vault,
    facts: Facts,
    tree: GitTree | None,
    request: PreviewRequest,
) -> tuple[Facts, list[str]]:
    """The facts with bindings added and removed, and what is told of those that are added."""
    changes = request.bindings
    warnings: list[str] = []
    manifests = configs.manifests_of(tree)
    added: dict[int, list[Bound]] = defaultdict(list)
    for number, new in enumerate(changes.add):
        field = f"body.bindings.add.{number}"
        group = find_hostgroup(session, by, new.hostgroup, f"{field}.hostgroup")
        made = wanted(
            tree,
            manifests,
            plugin=new.plugin,
            config=new.config,
            secrets=new.config_secrets,
            format=new.format,
            step=new.step,
            field=field,
        )
        if tree is not None:
            need_fit(session, vault, group, made, field)
        form = made.form
        told = configs.not_started(manifests, form.plugin)
        told += configs.warnings(made.findings)
        warnings += [f"hostgroup {group.name}: {warning}" for warning in told]
        if all(bound.key != form.key for bound in facts.groups[group.id].bindings):
            stored = store(form.config)
            sealed = vault.seal(stored.secrets)
            added[group.id].append(
                Bound(0, form.plugin, stored.config, sealed, form.key, form.format, form.step)
            )
    removed = set(changes.remove)
    seen = [group for group in facts.groups.values() if by.sees_hostgroup(group.name)]
    unknown = sorted(removed - {bound.id for group in seen for bound in group.bindings})
    if unknown:
        raise _unknown("bindings.remove", "binding", [str(number) for number in unknown])
    groups = {
        group_id: _changed(group, removed, added.get(group_id, []))
        for group_id, group in facts.groups.items()
    }
    return Facts(vault, groups, facts.release), warnings


def _changed(group: Group, removed: set[int], added: list[Bound]) -> Group:
    if not added and not any(bound.id in removed for bound in group.bindings):
        return group
    kept = [bound for bound in group.bindings if bound.id not in removed]
    return replace(group, bindings=kept + added)


def _moves(
    session: Session,
    by: Principal,
    facts: Facts,
    members: Mapping[int, _Ids],
    changes: list[HostgroupChange],
) -> _Moves:
    """Who joins and leaves which hostgroup by a change of members or of its rule."""
    joined: dict[int, set[int]] = defaultdict(set)
    left: dict[int, set[int]] = defaultdict(set)
    if not changes:
        return _Moves(joined, left)
    labels: dict[int, dict[str, str]] = {}
    ids: dict[str, int] = {}
    hosts = select(Host.id, Host.name, Host.labels).where(seen_by(by))
    for host_id, name, host_labels in session.execute(hosts):
        ids[name], labels[host_id] = host_id, host_labels
    for number, change in enumerate(changes):
        group = find_hostgroup(session, by, change.name, f"body.hostgroups.{number}.name")
        if group.name == EVERY_HOST:
            raise Invalid("every host is in the hostgroup 'all': its members cannot be changed")
        unknown = sorted({*change.add, *change.remove} - ids.keys())
        if unknown:
            raise _unknown(f"hostgroups.{number}", "host", unknown)
        before = _reasons(session, group.id)
        by_name = {host_id for host_id, (named, _) in before.items() if named}
        by_name = (by_name | {ids[name] for name in change.add}) - {ids[n] for n in change.remove}
        if change.rule is None:
            by_rule = {host_id for host_id, (_, ruled) in before.items() if ruled}
        else:
            rule = parse(change.rule)
            if rule.text != group.rule:
                by.need_whole_fleet("a label rule")
            by_rule = {host_id for host_id, found in labels.items() if rule.fits(found)}
        for host_id in (by_name | by_rule) - before.keys():
            joined[host_id].add(group.id)
        for host_id in before.keys() - by_name - by_rule:
            left[host_id].add(group.id)
    return _Moves(joined, left)


def _reasons(session: Session, hostgroup_id: int) -> dict[int, tuple[bool, bool]]:
    rows = session.execute(
        select(Membership.host_id, Membership.by_name, Membership.by_rule).where(
            Membership.hostgroup_id == hostgroup_id
        )
    )
    return {host_id: (by_name, by_rule) for host_id, by_name, by_rule in rows}


def _unknown(field: str, kind: str, names: list[str]) -> Invalid:
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    fields: list[dict[str, Any]] = [
        {"field": f"body.{field}", "message": f"there is no {kind} {name}"}
        for name in names[:_NAMED]
    ]
    return Invalid(f"there is no {kind} {shown}{more}", fields=fields)
