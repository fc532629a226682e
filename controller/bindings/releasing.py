"""Bindings and overrides as a release meets them: held against its tree before it is published, and what
its manifests call a password sealed when it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from agentplugin.agents import depends_on_agent
from agentplugin.plans import Tree, resolve
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings.configs import Manifests, check_filled, check_form, manifests_of
from controller.bindings.merging import Form, Layer, merge
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.sealing import Stored, names, plain, seal_passwords, store
from controller.database.base import now
from controller.errors import Invalid
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership
from controller.fleet.variables import merge_order

_COLUMNS = (
    BindingRow.plugin,
    BindingRow.key,
    BindingRow.config,
    BindingRow.secrets,
    BindingRow.format,
    BindingRow.step,
)


@dataclass(frozen=True)
class InUse:
    """A binding of the fleet.

    Attributes:
        form: with `Sealed` values.
    """

    hostgroup_id: int
    hostgroup: str
    form: Form


def in_use(session: Session, vault: Vault) -> list[InUse]:
    """All bindings of the fleet."""
    rows = session.execute(
        select(Hostgroup.id, Hostgroup.name, *_COLUMNS)
        .join(BindingRow.hostgroup)
        .order_by(Hostgroup.name, BindingRow.key)
    ).all()
    return [
        InUse(group_id, name, _form(vault, plugin, *columns))
        for group_id, name, plugin, *columns in rows
    ]


def _form(
    vault: Vault,
    plugin: str,
    key: str,
    config: dict[str, Any] | None,
    sealed: str,
    format: str,
    step: int,
) -> Form:
    return Form(key, plugin, format, step, Stored(config, vault.open(sealed)).tree())


def hosts_of(session: Session, group_id: int, name: str) -> set[int]:
    """The ids of a hostgroup's hosts."""
    if name == EVERY_HOST:
        return set(session.scalars(select(Host.id)))
    query = select(Membership.host_id).where(Membership.hostgroup_id == group_id)
    return set(session.scalars(query))


def on_hosts(
    session: Session, vault: Vault, hostgroup_id: int, hostgroup: str, form: Form
) -> list[Form]:
    """What a binding comes to on the hosts of its hostgroup, with what their other hostgroups and their
    overrides say of the plugin; once where it is the same.

    Args:
        form: of the binding, which need not be kept yet.
    """
    rows = session.execute(
        select(Hostgroup.id, Hostgroup.name, Hostgroup.variables, *_COLUMNS)
        .join(BindingRow.hostgroup)
        .where(BindingRow.key == form.key, Hostgroup.id != hostgroup_id)
    ).all()
    own = session.scalars(select(Hostgroup.variables).where(Hostgroup.id == hostgroup_id)).one()
    layers = {hostgroup_id: (merge_order(hostgroup, own), form)}
    for group_id, name, variables, plugin, *columns in rows:
        layers[group_id] = (merge_order(name, variables), _form(vault, plugin, *columns))
    everywhere = {hostgroup_id, *(row[0] for row in rows if row[1] == EVERY_HOST)}
    hosts = hosts_of(session, hostgroup_id, hostgroup)
    groups = {host: set(everywhere) for host in hosts}
    members = select(Membership.host_id, Membership.hostgroup_id)
    for host, group_id in session.execute(members.where(Membership.hostgroup_id.in_(layers))):
        if host in groups:
            groups[host].add(group_id)
    patches = overrides_of(session, vault, form.key)
    found: dict[tuple[frozenset[int], int], Form] = {}
    for host, ids in groups.items():
        # Most hosts have no override: what they have is the same by their hostgroups.
        which = frozenset(ids), host if host in patches else 0
        if which not in found:
            ordered = sorted((layers[group_id] for group_id in ids), key=lambda layer: layer[0])
            override = {form.key: patches[host]} if host in patches else {}
            found[which] = merge([Layer(f.entry, None) for _, f in ordered], override)[0].form
    return list(found.values())


def overrides_of(session: Session, vault: Vault, key: str) -> dict[int, Mapping[str, Any]]:
    """The hosts' overrides of one plugin, by the host's id."""
    query = select(OverrideRow.host_id, OverrideRow.config, OverrideRow.secrets)
    return {
        host_id: Stored(config, vault.open(sealed)).tree() or {}
        for host_id, config, sealed in session.execute(query.where(OverrideRow.plugin == key))
    }


def check_all(
    session: Session, vault: Vault, bound: Sequence[InUse], tree: Tree, newest: Tree | None
) -> None:
    """Hold all bindings against the tree of a release that is to be; see fitting for what agents bear.

    What a binding lacks already is its hosts' matter (their plans say it): it stops no release. What it
    would lack from this release on does, where a host does not have it from elsewhere.

    Args:
        newest: the tree of the newest release, or None.

    Raises:
        Invalid: something bound would not be there, or could not run; every one is named.
    """
    said = [f"hostgroup {where}: {what}" for where, what in _unfit(bound, tree)]
    manifests, known = manifests_of(tree), manifests_of(newest)
    for use in bound if newest is not None else ():
        lacking = {finding.place for finding in check_form(known, use.form) if finding.is_gap}
        forms = partial(on_hosts, session, vault, use.hostgroup_id, use.hostgroup, use.form)
        for finding in check_filled(use.form, forms, manifests):
            if finding.is_gap and finding.place not in lacking:
                said.append(f"hostgroup {use.hostgroup}: {use.form.key}: {finding}")
    if said:
        count = f"{len(said)} binding{'s' if len(said) > 1 else ''}"
        raise Invalid(
            f"{count} would not work with that tree; nothing was published: " + "; ".join(said[:5]),
            hint="correct or remove these bindings, or put the plugins back into a source",
            fields=[{"field": "bindings", "message": message} for message in said],
        )


def _unfit(bound: Iterable[InUse], tree: Tree) -> Iterator[tuple[str, str]]:
    by_group: dict[str, list[Any]] = {}
    manifests = manifests_of(tree)
    for use in bound:
        by_group.setdefault(use.hostgroup, []).append(plain(use.form.entry))
        for finding in check_form(manifests, use.form):
            if finding.is_error and not finding.is_gap:
                yield use.hostgroup, f"{use.form.key}: {finding}"
    for hostgroup, entries in by_group.items():
        for problem in resolve(entries, tree).problems:
            if problem.severity == "error" and not depends_on_agent(problem.code):
                yield hostgroup, f"{problem.message} [{problem.code}]"


def look_at(bound: Iterable[InUse], manifests: Manifests) -> None:
    """Read the manifests of what is bound, so that `move_passwords` need not."""
    for use in bound:
        manifests.of(use.form.plugin)


def move_passwords(session: Session, by: Principal, vault: Vault, manifests: Manifests) -> None:
    """Seal what a release's manifests call a password and was stored as a text so far.

    What the audit log has of it from when everybody could read it stays there.
    """
    rows = session.scalars(
        select(BindingRow)
        .options(joinedload(BindingRow.hostgroup))
        .where(BindingRow.config.is_not(None))
    )
    for row in rows:
        if sealed := _move(vault, row, row.plugin, manifests):
            after = {"hostgroup": row.hostgroup.name, "plugin": row.plugin, "sealed": sealed}
            record(session, by, "binding.seal", "binding", str(row.id), None, after)
    for over in session.scalars(select(OverrideRow).options(joinedload(OverrideRow.host))):
        if sealed := _move(vault, over, over.plugin, manifests):
            after = {"plugin": over.plugin, "sealed": sealed}
            record(session, by, "override.seal", "host", over.host.name, None, after)


def _move(
    vault: Vault, row: BindingRow | OverrideRow, plugin: str, manifests: Manifests
) -> list[str]:
    """Seal the passwords of one row; returns their paths."""
    manifest = manifests.of(plugin)
    if manifest is None:
        return []
    before = vault.open(row.secrets)
    tree = Stored(row.config, before).tree() or {}
    sealed = names(tree)
    if not seal_passwords(tree, manifest):
        return []
    stored = store(tree)
    row.config, row.secrets = stored.config or {}, vault.seal(stored.secrets)
    row.version += 1
    row.updated = now()
    return sorted(set(names(tree)) - set(sealed))
