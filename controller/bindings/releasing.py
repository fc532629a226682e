"""Bindings and overrides as a release meets them: held against its tree before it is published, and what
its manifests call a password sealed when it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from agentplugin.agents import depends_on_agent
from agentplugin.plans import Tree, resolve
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings.configs import Manifests, check_filled, manifests_of
from controller.bindings.merging import Form
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.sealing import Stored, plain, seal_passwords, store
from controller.database.base import now
from controller.errors import Invalid
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership


@dataclass(frozen=True)
class InUse:
    """A binding of the fleet.

    Attributes:
        form: with `Sealed` values.
        overrides: of every host of the hostgroup; empty where one of them, or every one, has none.
    """

    hostgroup: str
    form: Form
    overrides: tuple[Mapping[str, Any], ...] = ()


def in_use(session: Session, vault: Vault) -> list[InUse]:
    """All bindings of the fleet."""
    rows = session.execute(
        select(
            Hostgroup.id,
            Hostgroup.name,
            BindingRow.plugin,
            BindingRow.key,
            BindingRow.config,
            BindingRow.secrets,
            BindingRow.format,
            BindingRow.step,
        )
        .join(BindingRow.hostgroup)
        .order_by(Hostgroup.name, BindingRow.key)
    ).all()
    laid_over = overrides_by_key(session, vault)
    members: dict[int, set[int]] = {}
    found = []
    for group_id, name, plugin, key, config, sealed, format, step in rows:
        over: tuple[Mapping[str, Any], ...] = ()
        if theirs := laid_over.get(key):
            if group_id not in members:
                members[group_id] = hosts_of(session, group_id, name)
            over = of_every_host(members[group_id], theirs)
        tree = Stored(config, vault.open(sealed)).tree()
        found.append(InUse(name, Form(key, plugin, format, step, tree), over))
    return found


def overrides_by_key(
    session: Session, vault: Vault, key: str | None = None
) -> dict[str, dict[int, Mapping[str, Any]]]:
    """The hosts' overrides, by the plugin's key and the host's id; only of one key if it is given."""
    query = select(OverrideRow.plugin, OverrideRow.host_id, OverrideRow.config, OverrideRow.secrets)
    if key is not None:
        query = query.where(OverrideRow.plugin == key)
    found: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for plugin, host_id, config, sealed in session.execute(query):
        found[plugin][host_id] = Stored(config, vault.open(sealed)).tree() or {}
    return found


def hosts_of(session: Session, group_id: int, name: str) -> set[int]:
    """The ids of a hostgroup's hosts."""
    if name == EVERY_HOST:
        return set(session.scalars(select(Host.id)))
    query = select(Membership.host_id).where(Membership.hostgroup_id == group_id)
    return set(session.scalars(query))


def of_every_host(
    hosts: Collection[int], overrides: Mapping[int, Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """The overrides of these hosts, if each of them has one."""
    if not hosts or not overrides.keys() >= set(hosts):
        return ()
    return tuple(overrides[host] for host in sorted(hosts))


def check_all(bound: Iterable[InUse], tree: Tree) -> None:
    """Hold all bindings against the tree of a release that is to be; see fitting for what agents bear.

    Raises:
        Invalid: something bound would not be there, or could not run; every one is named.
    """
    said = [f"hostgroup {where}: {what}" for where, what in _problems(bound, tree)]
    if said:
        count = f"{len(said)} binding{'s' if len(said) > 1 else ''}"
        raise Invalid(
            f"{count} would not work with that tree; nothing was published: " + "; ".join(said[:5]),
            hint="correct or remove these bindings, or put the plugins back into a source",
            fields=[{"field": "bindings", "message": message} for message in said],
        )


def _problems(bound: Iterable[InUse], tree: Tree) -> Iterator[tuple[str, str]]:
    by_group: dict[str, list[Any]] = {}
    manifests = manifests_of(tree)
    for use in bound:
        by_group.setdefault(use.hostgroup, []).append(plain(use.form.entry))
        found = check_filled(use.form, use.overrides, manifests)
        yield from ((use.hostgroup, f"{use.form.key}: {f}") for f in found if f.is_error)
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
        if names := _move(vault, row, row.plugin, manifests):
            after = {"hostgroup": row.hostgroup.name, "plugin": row.plugin, "sealed": names}
            record(session, by, "binding.seal", "binding", str(row.id), None, after)
    for over in session.scalars(select(OverrideRow).options(joinedload(OverrideRow.host))):
        if names := _move(vault, over, over.plugin, manifests):
            after = {"plugin": over.plugin, "sealed": names}
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
    if not seal_passwords(tree, manifest):
        return []
    stored = store(tree)
    row.config, row.secrets = stored.config or {}, vault.seal(stored.secrets)
    row.version += 1
    row.updated = now()
    return sorted(stored.secrets.keys() - before.keys())
