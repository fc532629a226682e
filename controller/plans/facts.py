"""What plans are made from, read as columns: objects of 10,000 rows would cost seconds.

Hosts that are in the same hostgroups share all that comes from those; it is worked out once.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings.merging import Form
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.sealing import Stored
from controller.catalog.models import ReleaseRow
from controller.database.chunks import AT_ONCE
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Hostgroup, Membership
from controller.fleet.variables import merge_order


class Bound(NamedTuple):
    """A binding; `secrets` is encrypted."""

    id: int
    plugin: str
    config: dict[str, Any] | None
    secrets: str
    key: str
    format: str = ""
    step: int = 0

    def form(self, vault: Vault) -> Form:
        """What is bound, with `Sealed` values."""
        config = Stored(self.config, vault.open(self.secrets)).tree()
        return Form(self.key, self.plugin, self.format, self.step, config)


class Override(NamedTuple):
    """What a host has otherwise of a plugin's configuration; `plugin` is a binding's key."""

    plugin: str
    config: dict[str, Any]
    secrets: str

    def tree(self, vault: Vault) -> dict[str, Any]:
        """The configuration with `Sealed` values."""
        return Stored(self.config, vault.open(self.secrets)).tree() or {}


@dataclass
class Group:
    """A hostgroup with what its hosts get from it; `secrets` is encrypted."""

    id: int
    name: str
    variables: dict[str, Any]
    secrets: str
    bindings: list[Bound] = field(default_factory=list)

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sorts groups as Ansible merges their variables."""
        return merge_order(self.name, self.variables)


@dataclass(frozen=True)
class Shared:
    """What all hosts have that are in the same hostgroups; equal where their plans have it equal.

    Attributes:
        groups: in the order in which variables are merged.
        bound: a text for each binding, its secrets by their fingerprint; of a plugin that several groups
            configure one text, as their order counts.
        keys: of what is bound.
        variables: merged.
        secrets: fingerprints of the groups' secrets.
    """

    groups: tuple[Group, ...] = field(compare=False)
    keys: frozenset[str] = field(compare=False)
    bound: frozenset[str]
    variables: dict[str, Any]
    secrets: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over bindings and secrets."""
        text = _json([sorted(self.bound), self.secrets])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def variables_text(self) -> str:
        """The variables as JSON, for the many hosts that have none of their own."""
        return _json(self.variables)


class Facts:
    """The release, the hostgroups, and what is bound to them.

    Args:
        groups: by id, `all` among them.
        release: number and commit of the newest release, or None.
    """

    def __init__(
        self, vault: Vault, groups: Mapping[int, Group], release: tuple[int, str] | None
    ) -> None:
        self.groups = groups
        self.release = release
        self.vault = vault
        self._shared: dict[tuple[int, ...], Shared] = {}
        ordered = sorted(groups.values(), key=lambda group: group.order)
        self._rank = {group.id: rank for rank, group in enumerate(ordered)}
        self._everyone = [group.id for group in ordered if group.name == EVERY_HOST]
        self._keys = {group.id: frozenset([b.key for b in group.bindings]) for group in ordered}
        self._texts = {group.id: self._texts_of(group) for group in ordered}
        self._marks = {g.id: vault.fingerprint(g.secrets) for g in ordered if g.secrets}

    def shared(self, group_ids: tuple[int, ...]) -> Shared:
        """What the hosts of these hostgroups, and of `all`, have in common."""
        known = self._shared.get(group_ids)
        if known is None:
            known = self._shared[group_ids] = self._work_out(group_ids)
        return known

    def host_digest(
        self,
        shared: Shared,
        *,
        address: str,
        agent_kind: str,
        variables: Mapping[str, Any],
        secrets: str,
        overrides: Iterable[Override] = (),
    ) -> str:
        """The digest of one host's plan.

        Args:
            secrets: encrypted.
            overrides: those that the host uses, see `used`.
        """
        commit = self.release[1] if self.release else ""
        merged = _json({**shared.variables, **variables}) if variables else shared.variables_text
        marks = [commit, shared.digest, address, agent_kind, self.vault.fingerprint(secrets)]
        for over in overrides:
            marks.append(_json([over.plugin, over.config, self.vault.fingerprint(over.secrets)]))
        text = "\0".join([*marks, merged])
        return hashlib.sha256(text.encode()).hexdigest()

    def _work_out(self, group_ids: Iterable[int]) -> Shared:
        ids = sorted([*group_ids, *self._everyone], key=self._rank.__getitem__)
        groups = tuple([self.groups[group_id] for group_id in ids])
        variables: dict[str, Any] = {}
        for group in groups:
            if group.variables:
                variables |= group.variables
        keys = frozenset().union(*[self._keys[group_id] for group_id in ids])
        marks = tuple([self._marks[group_id] for group_id in ids if group_id in self._marks])
        return Shared(groups, keys, self._bound(ids), variables, marks)

    def _bound(self, ids: list[int]) -> frozenset[str]:
        bound: set[str] = set()
        configured: dict[str, list[str]] = {}
        for group_id in ids:
            alone, merged = self._texts[group_id]
            bound |= alone
            for key, text in merged:
                texts = configured.setdefault(key, [])
                # What the one before says too changes nothing; what was said before that one may.
                if texts[-1:] != [text]:
                    texts.append(text)
        return frozenset(bound.union("\0".join(texts) for texts in configured.values()))

    def _texts_of(self, group: Group) -> tuple[frozenset[str], list[tuple[str, str]]]:
        """A text for each binding: of those without a configuration, and of the others by their keys."""
        alone, merged = [], []
        for b in group.bindings:
            if b.config is None and not b.secrets:
                alone.append(_json([b.plugin]))
                continue
            mark = self.vault.fingerprint(b.secrets)
            merged.append((b.key, _json([b.plugin, b.config, mark, b.format, b.step])))
        return frozenset(alone), merged


def load(session: Session, vault: Vault, group_ids: Collection[int] | None = None) -> Facts:
    """Read the facts; only these hostgroups and `all` if `group_ids` is given."""
    columns = select(Hostgroup.id, Hostgroup.name, Hostgroup.variables, Hostgroup.secrets)
    bindings = select(
        BindingRow.hostgroup_id,
        BindingRow.id,
        BindingRow.plugin,
        BindingRow.config,
        BindingRow.secrets,
        BindingRow.key,
        BindingRow.format,
        BindingRow.step,
    ).order_by(BindingRow.plugin, BindingRow.id)
    if group_ids is not None:
        wanted = Hostgroup.id.in_(group_ids) | (Hostgroup.name == EVERY_HOST)
        columns = columns.where(wanted)
        bindings = bindings.join(Hostgroup, Hostgroup.id == BindingRow.hostgroup_id).where(wanted)
    groups = {row[0]: Group(*row) for row in session.execute(columns)}
    for hostgroup_id, *binding in session.execute(bindings):
        groups[hostgroup_id].bindings.append(Bound(*binding))
    newest = session.execute(
        select(ReleaseRow.number, ReleaseRow.commit).order_by(ReleaseRow.number.desc()).limit(1)
    ).first()
    return Facts(vault, groups, (newest[0], newest[1]) if newest else None)


def used(shared: Shared, overrides: Iterable[Override]) -> tuple[Override, ...]:
    """Those of a host's overrides that lie over something bound to it."""
    return tuple([over for over in overrides if over.plugin in shared.keys])


def overrides(
    session: Session, host_ids: Collection[int] | None = None
) -> defaultdict[int, list[Override]]:
    """Each host's overrides, sorted by plugin; few hosts have any."""
    query = select(
        OverrideRow.host_id, OverrideRow.plugin, OverrideRow.config, OverrideRow.secrets
    ).order_by(OverrideRow.plugin)
    if host_ids is not None and few(host_ids):
        query = query.where(OverrideRow.host_id.in_(host_ids))
    found: defaultdict[int, list[Override]] = defaultdict(list)
    for host_id, *over in session.execute(query):
        found[host_id].append(Override(*over))
    return found


def memberships(
    session: Session, host_ids: Collection[int] | None = None
) -> defaultdict[int, tuple[int, ...]]:
    """The ids of each host's hostgroups, sorted, without `all`; hosts in none have ()."""
    query = select(Membership.host_id, Membership.hostgroup_id)
    if host_ids is not None and few(host_ids):
        query = query.where(Membership.host_id.in_(host_ids))
    found: defaultdict[int, list[int]] = defaultdict(list)
    for host_id, group_id in session.execute(query):
        found[host_id].append(group_id)
    return defaultdict(
        tuple, {host_id: tuple(sorted(group_ids)) for host_id, group_ids in found.items()}
    )


def few(ids: Collection[Any]) -> bool:
    """Whether rows are better asked for by their ids than all read and looked through."""
    return len(ids) <= AT_ONCE


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
