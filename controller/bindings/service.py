"""Bindings: which hostgroup runs which plugins, held against the newest release before they count.

The form of a binding is agentplugin.bindings', what a format is agentplugin.formats'; what it names is
looked up in the release's tree, so that a misspelt plugin is refused at once and not skipped in silence
on every host, and its configuration is held against the plugin's manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import configs, fitting
from controller.bindings.configs import Manifests, manifests_of
from controller.bindings.merging import Form, identity
from controller.bindings.models import BindingRow
from controller.bindings.sealing import Stored, store
from controller.bindings.wanted import (
    Wanted,
    find_hostgroup,
    need_fit,
    need_newest,
    need_one_format,
    need_reach,
    wanted,
)
from controller.catalog import releaserows
from controller.catalog.tree import GitTree
from controller.database import counters
from controller.database.base import now
from controller.errors import Conflict, NotFound
from controller.web import etags


def describe(vault: Vault, binding: BindingRow) -> dict[str, object]:
    """A binding as the audit log keeps it: secret items by their paths only."""
    return {
        "hostgroup": binding.hostgroup.name,
        "plugin": binding.plugin,
        "format": binding.format,
        "step": binding.step,
        "config": binding.config,
        "config_secrets": Stored(binding.config, vault.open(binding.secrets)).paths(),
    }


def warnings(vault: Vault, binding: BindingRow, tree: GitTree) -> list[str]:
    """What of a binding's configuration its manifest does not know, and why no host would start the plugin."""
    config = Stored(binding.config, vault.open(binding.secrets)).tree()
    form = Form(binding.key, binding.plugin, binding.format, binding.step, config)
    known = configs.manifests_of(tree)
    never = configs.not_started(known, binding.plugin)
    return never + configs.warnings(configs.check_form(known, form))


def find(session: Session, by: Principal, number: int) -> BindingRow:
    """A binding by its id.

    Raises:
        NotFound: there is none, or it is of a hostgroup that the token does not reach.
    """
    binding = session.scalar(
        select(BindingRow).options(joinedload(BindingRow.hostgroup)).where(BindingRow.id == number)
    )
    if binding is None or not by.sees_hostgroup(binding.hostgroup.name):
        raise NotFound(f"there is no binding {number}")
    return binding


def create(
    session: Session,
    by: Principal,
    vault: Vault,
    tree: GitTree | None,
    *,
    hostgroup: str,
    plugin: str,
    config: Mapping[str, Any] | None,
    secrets: Mapping[str, Any],
    format: str = "",
    step: int = 0,
    manifests: Manifests | None = None,
    lenient: bool = False,
) -> BindingRow:
    """Bind a plugin to a hostgroup.

    Args:
        tree: the newest release's, or None where nothing was published yet.
        secrets: items of the configuration whose values are never shown, by their paths.
        format: what the plugin prints, see agentplugin.formats; empty is what its kind does.
        step: seconds between two starts of what has a format; 0 is the format's own.
        manifests: of the plugins; None is those of the tree.
        lenient: as in `sealing.settle`.

    Raises:
        Conflict: it is bound there already.
        Forbidden: the token is not for the hostgroup, or the plugin has secrets of another one there.
        Invalid: the hostgroup or the plugin does not exist, the text is no binding, the configuration does
            not fit the manifest, or an agent of the hostgroup would be harmed by it or not run it.
    """
    counters.lock(session, counters.PLANS)
    need_newest(session, tree)
    found = find_hostgroup(session, by, hostgroup)
    made = wanted(
        tree,
        manifests or manifests_of(tree),
        plugin=plugin,
        config=config,
        secrets=secrets,
        format=format,
        step=step,
        lenient=lenient,
    )
    need_reach(session, by, found, made.form)
    if tree is not None:
        need_fit(session, vault, found, made)
    _check_agents(session, tree, hostgroup, made)
    need_one_format(session, found, made.form)
    stored = store(made.form.config)
    binding = BindingRow(
        hostgroup=found,
        **_columns(made.form, stored),
        secrets=vault.seal(stored.secrets),
    )
    session.add(binding)
    _flush(session, hostgroup, binding.key)
    counters.advance(session, counters.PLANS)
    record(
        session, by, "binding.create", "binding", str(binding.id), None, describe(vault, binding)
    )
    return binding


def change(
    session: Session,
    by: Principal,
    vault: Vault,
    tree: GitTree | None,
    number: int,
    values: Mapping[str, Any],
    if_match: str | None,
    *,
    manifests: Manifests | None = None,
    lenient: bool = False,
) -> BindingRow:
    """Change a binding's plugin, format, configuration or secret items.

    Args:
        values: some of `plugin`, `format`, `step`, `config`, in which a secret is referred to by its name,
            and `config_secrets`, in which null removes an item.
        manifests, lenient: as in `create`.

    Raises:
        NotFound, Conflict, Invalid: as in `create`.
        PreconditionFailed: somebody else changed it since it was read.
    """
    counters.lock(session, counters.PLANS)  # what two read at once, both would change
    need_newest(session, tree)
    binding = find(session, by, number)
    etags.check(if_match, binding.version)
    before, opened = describe(vault, binding), vault.open(binding.secrets)
    format = values.get("format")
    format = binding.format if format is None else format
    step = values.get("step")
    made = wanted(
        tree,
        manifests or manifests_of(tree),
        plugin=values.get("plugin") or binding.plugin,
        config=values.get("config", binding.config),
        secrets=values.get("config_secrets") or {},
        format=format,
        step=(binding.step if format == binding.format else 0) if step is None else step,
        old=Stored(binding.config, opened),
        lenient=lenient,
    )
    stored = store(made.form.config)
    columns = _columns(made.form, stored)
    there = {name: getattr(binding, name) for name in columns}
    if identity([columns, stored.secrets]) == identity([there, opened]):
        return binding
    need_reach(session, by, binding.hostgroup, made.form)
    if tree is not None:
        need_fit(session, vault, binding.hostgroup, made)
    if (made.form.plugin, made.form.format) != (binding.plugin, binding.format):
        _check_agents(session, tree, binding.hostgroup.name, made)
    need_one_format(session, binding.hostgroup, made.form)
    for name, value in columns.items():
        setattr(binding, name, value)
    if identity(stored.secrets) != identity(opened):
        binding.secrets = vault.seal(stored.secrets)
    binding.updated = now()
    binding.version += 1
    _flush(session, binding.hostgroup.name, binding.key)
    counters.advance(session, counters.PLANS)
    after = describe(vault, binding)
    record(session, by, "binding.update", "binding", str(number), before, after)
    return binding


def delete(
    session: Session, by: Principal, vault: Vault, number: int, if_match: str | None
) -> None:
    """Remove a binding.

    Raises:
        NotFound: there is none.
        PreconditionFailed: somebody else changed it since it was read.
    """
    counters.lock(session, counters.PLANS)
    binding = find(session, by, number)
    etags.check(if_match, binding.version)
    session.delete(binding)
    counters.advance(session, counters.PLANS)
    before = describe(vault, binding)
    record(session, by, "binding.delete", "binding", str(number), before, None)


def _columns(form: Form, stored: Stored) -> dict[str, Any]:
    return {
        "plugin": form.plugin,
        "key": form.key,
        "format": form.format,
        "step": form.step,
        "config": stored.config,
    }


def _check_agents(session: Session, tree: GitTree | None, hostgroup: str, made: Wanted) -> None:
    """Refuse what harms the agents that the hostgroup's hosts run, by the newest release's findings, and
    what they do not run at all."""
    plugin = made.form.plugin
    newest = releaserows.newest(session)
    findings = (newest.problems if newest else None) or []
    fit = fitting.of_binding(session, hostgroup, plugin)
    what = f"{plugin!r} in hostgroup {hostgroup!r}"
    fitting.need(fit.refused(findings, tree), "body.plugin", what)
    if made.needs_executor:
        fitting.need_executors(session, hostgroup, plugin)


def _flush(session: Session, hostgroup: str, key: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(
            f"{key!r} is bound to hostgroup {hostgroup!r} already",
            hint="change that binding instead",
        ) from None
