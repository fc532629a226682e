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
from controller.bindings.models import BindingRow
from controller.catalog.models import ReleaseRow
from controller.database.chunks import AT_ONCE
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Hostgroup, Membership


class Bound(NamedTuple):
    """A binding; `secrets` is encrypted."""

    id: int
    plugin: str
    config: dict[str, Any] | None
    secrets: str


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
        """Sorts groups as Ansible merges their variables: `all`, then priority, then name."""
        priority = self.variables.get("ansible_group_priority", 1)
        return (
            self.name != EVERY_HOST,
            priority if isinstance(priority, int) else 1,
            self.name,
        )


@dataclass(frozen=True)
class Shared:
    """What all hosts have that are in the same hostgroups; equal where their plans have it equal.

    Attributes:
        groups: in the order in which variables are merged.
        bound: a text for each binding, its secrets by their fingerprint.
        variables: merged.
        secrets: fingerprints of the groups' secrets.
    """

    groups: tuple[Group, ...] = field(compare=False)
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
        self._vault = vault
        self._shared: dict[tuple[int, ...], Shared] = {}
        ordered = sorted(groups.values(), key=lambda group: group.order)
        self._rank = {group.id: rank for rank, group in enumerate(ordered)}
        self._everyone = [group.id for group in ordered if group.name == EVERY_HOST]
        self._bound = {group.id: self._texts(group) for group in ordered}
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
    ) -> str:
        """The digest of one host's plan; `secrets` is encrypted."""
        commit = self.release[1] if self.release else ""
        merged = _json({**shared.variables, **variables}) if variables else shared.variables_text
        marks = [commit, shared.digest, address, agent_kind, self._vault.fingerprint(secrets)]
        text = "\0".join([*marks, merged])
        return hashlib.sha256(text.encode()).hexdigest()

    def _work_out(self, group_ids: Iterable[int]) -> Shared:
        ids = sorted([*group_ids, *self._everyone], key=self._rank.__getitem__)
        groups = tuple([self.groups[group_id] for group_id in ids])
        variables: dict[str, Any] = {}
        for group in groups:
            if group.variables:
                variables |= group.variables
        bound = frozenset().union(*[self._bound[group_id] for group_id in ids])
        marks = tuple([self._marks[group_id] for group_id in ids if group_id in self._marks])
        return Shared(groups, bound, variables, marks)

    def _texts(self, group: Group) -> frozenset[str]:
        return frozenset(
            _json([b.plugin, b.config, self._vault.fingerprint(b.secrets)]) for b in group.bindings
        )


def load(session: Session, vault: Vault, group_ids: Collection[int] | None = None) -> Facts:
    """Read the facts; only these hostgroups and `all` if `group_ids` is given."""
    columns = select(Hostgroup.id, Hostgroup.name, Hostgroup.variables, Hostgroup.secrets)
    bindings = select(
        BindingRow.hostgroup_id,
        BindingRow.id,
        BindingRow.plugin,
        BindingRow.config,
        BindingRow.secrets,
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
