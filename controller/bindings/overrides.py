"""Overrides: what one host has otherwise of a plugin's configuration than its hostgroups say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from agentplugin.bindings import BindingError, parse_binding
from agentplugin.problems import ERROR
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import configs
from controller.bindings.configs import Finding, Manifests, check_form, manifests_of
from controller.bindings.merging import ARGS, CONFLICT, Form, Layer, Merged, identity, merge
from controller.bindings.models import LONGEST_KEY, BindingRow, OverrideRow
from controller.bindings.sealing import Stored, settle, store
from controller.bindings.wanted import need_newest, need_secrets_of
from controller.catalog.tree import GitTree
from controller.database import counters
from controller.database.base import now
from controller.errors import Invalid, NotFound
from controller.fleet import service as hosts
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership
from controller.fleet.variables import merge_order
from controller.web import etags

_NO_MANIFEST = "binding-not-a-manifest"


def describe(vault: Vault, row: OverrideRow) -> dict[str, object]:
    """An override as the audit log keeps it: secret items by their paths only."""
    return {
        "plugin": row.plugin,
        "config": row.config,
        "config_secrets": Stored(row.config, vault.open(row.secrets)).paths(),
    }


def normal(plugin: str) -> str:
    """A plugin as `/plugins` lists it.

    Raises:
        Invalid: no binding has that form.
    """
    try:
        text = parse_binding(plugin).text.removesuffix("()")
    except BindingError as error:
        raise Invalid(
            str(error), fields=[{"field": "query.plugin", "message": f"{error} [{error.code}]"}]
        ) from None
    if len(text) > LONGEST_KEY:
        raise Invalid(f"a plugin's name has at most {LONGEST_KEY} characters")
    return text


def find(session: Session, host: Host, plugin: str) -> OverrideRow | None:
    """A host's override of a plugin, if it has one."""
    return session.scalar(
        select(OverrideRow).where(OverrideRow.host_id == host.id, OverrideRow.plugin == plugin)
    )


def put(
    session: Session,
    by: Principal,
    vault: Vault,
    tree: GitTree | None,
    host_name: str,
    plugin: str,
    *,
    config: Mapping[str, Any],
    secrets: Mapping[str, Any],
    if_match: str | None = None,
    manifests: Manifests | None = None,
    lenient: bool = False,
) -> OverrideRow:
    """Let a host have something otherwise; the configuration replaces that of an override that is there.

    Args:
        tree: the newest release's, or None: then it is not held against what the host is bound to.
        config: a merge patch (RFC 7396).
        secrets: by their paths; null takes one away, those of the top that are not named stay.
        manifests, lenient: as in `bindings.service.create`.

    Raises:
        NotFound: there is no such host, or none that this token sees.
        Forbidden: the plugin has secrets on the host that are not for this token.
        Invalid: what the host would have does not fit the plugin's manifest.
        PreconditionFailed: somebody else changed it since it was read.
    """
    key = normal(plugin)
    host = hosts.hold(session, by, host_name)
    need_newest(session, tree)
    _need_reach(session, by, host, key)
    row = find(session, host, key)
    etags.check(if_match, row.version if row else 0)
    opened = vault.open(row.secrets) if row else {}
    sought = manifests or manifests_of(tree)
    patch = settle(
        config,
        secrets,
        sought.of(key),
        old=Stored(row.config, opened) if row else None,
        lenient=lenient,
    )
    patch = patch or {}
    if tree is not None:
        _check(session, vault, sought, host, key, patch)
    stored = store(patch)
    if row and identity([stored.config, stored.secrets]) == identity([row.config, opened]):
        return row
    before = describe(vault, row) if row else None
    if row is None:
        row = OverrideRow(host=host, plugin=key, secrets="", version=0)
        session.add(row)
    row.config, row.updated = stored.config or {}, now()
    if identity(stored.secrets) != identity(opened):
        row.secrets = vault.seal(stored.secrets)
    row.version += 1
    session.flush()
    counters.advance(session, counters.PLANS)
    record(session, by, "override.set", "host", host.name, before, describe(vault, row))
    return row


def remove(
    session: Session,
    by: Principal,
    vault: Vault,
    host_name: str,
    plugin: str,
    if_match: str | None = None,
) -> None:
    """Let a host have of a plugin what its hostgroups say.

    Raises:
        NotFound: there is no such host or override.
        PreconditionFailed: somebody else changed it since it was read.
    """
    key = normal(plugin)
    host = hosts.hold(session, by, host_name)
    row = find(session, host, key)
    if row is None:
        raise NotFound(f"host {host.name!r} has no override of {key!r}")
    etags.check(if_match, row.version)
    before = describe(vault, row)
    session.delete(row)
    session.flush()
    counters.advance(session, counters.PLANS)
    record(session, by, "override.remove", "host", host.name, before, None)


def used_of(session: Session, numbers: Sequence[int]) -> frozenset[int]:
    """Those of these overrides, by their ids, whose plugin a hostgroup of their host binds."""
    is_member = exists().where(
        Membership.host_id == OverrideRow.host_id, Membership.hostgroup_id == Hostgroup.id
    )
    query = (
        select(OverrideRow.id)
        .join(BindingRow, BindingRow.key == OverrideRow.plugin)
        .join(Hostgroup, Hostgroup.id == BindingRow.hostgroup_id)
        .where(OverrideRow.id.in_(numbers), (Hostgroup.name == EVERY_HOST) | is_member)
    )
    return frozenset(session.scalars(query))


def findings(
    session: Session, vault: Vault, manifests: Manifests, host: Host, row: OverrideRow
) -> list[Finding]:
    """What the manifest says of a plugin's configuration on a host with its override."""
    patch = Stored(row.config, vault.open(row.secrets)).tree() or {}
    return _findings(_merged(session, vault, host, row.plugin, patch), manifests, row.plugin, patch)


def _need_reach(session: Session, by: Principal, host: Host, key: str) -> None:
    of_host = select(Membership.hostgroup_id).where(Membership.host_id == host.id)
    sealed = (
        select(Hostgroup.name)
        .join(BindingRow, BindingRow.hostgroup_id == Hostgroup.id)
        .where(BindingRow.key == key, BindingRow.secrets != "")
        .where((Hostgroup.name == EVERY_HOST) | Hostgroup.id.in_(of_host))
    )
    need_secrets_of(by, key, session.scalars(sealed))


def _check(
    session: Session,
    vault: Vault,
    manifests: Manifests,
    host: Host,
    key: str,
    patch: Mapping[str, Any],
) -> None:
    merged = _merged(session, vault, host, key, patch)
    found = _findings(merged, manifests, key, patch)
    for finding in found:
        if finding.code == _NO_MANIFEST:
            fields = [{"field": "query.plugin", "message": str(finding)}]
            raise Invalid(finding.message, hint=finding.hint, fields=fields)
    configs.need_fit(found)


def _findings(
    merged: Merged[str] | None, manifests: Manifests, key: str, patch: Mapping[str, Any]
) -> list[Finding]:
    if merged is not None and merged.form.format and ARGS in patch:
        hint = "bind it to a hostgroup of this host with these arguments instead"
        return [Finding(f"config.{ARGS}", CONFLICT, ERROR, merged.conflict, hint)]
    if merged is not None and not merged.form.format and _has_none(manifests, merged.form.plugin):
        message = f"{key!r} is no manifest plugin, so there is no configuration to override"
        return [Finding("config", _NO_MANIFEST, ERROR, message, "take the override out")]
    if merged is not None:
        return check_form(manifests, merged.form)
    # Of a plugin that the host does not have only what is given can be wrong.
    found = check_form(manifests, Form(key, key, "", 0, patch))
    return [finding for finding in found if not finding.is_gap]


def _has_none(manifests: Manifests, plugin: str) -> bool:
    return manifests.are_known and manifests.of(plugin) is None


def _merged(
    session: Session, vault: Vault, host: Host, key: str, patch: Mapping[str, Any]
) -> Merged[str] | None:
    layers = _layers(session, vault, host, key)
    return merge(layers, {key: patch})[0] if layers else None


def _layers(session: Session, vault: Vault, host: Host, key: str) -> list[Layer[str]]:
    """What the host's hostgroups bind of a plugin, in the order in which it is merged."""
    of_host = select(Membership.hostgroup_id).where(Membership.host_id == host.id)
    rows = session.execute(
        select(Hostgroup.name, Hostgroup.variables, BindingRow)
        .join(BindingRow.hostgroup)
        .where(BindingRow.key == key, (Hostgroup.name == EVERY_HOST) | Hostgroup.id.in_(of_host))
    ).all()
    rows = sorted(rows, key=lambda row: merge_order(row[0], row[1]))
    layers = []
    for name, _, row in rows:
        secrets = vault.open(row.secrets)
        form = Form(row.key, row.plugin, row.format, row.step, Stored(row.config, secrets).tree())
        layers.append(Layer(form.entry, name))
    return layers
