"""Bindings: which hostgroup runs which plugins, held against the newest release before they count.

The form of a binding is agentplugin.bindings'; what it names is looked up in the release's tree, so
that a misspelt plugin is refused at once and not skipped in silence on every host.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from agentplugin.agents import depends_on_agent
from agentplugin.bindings import BindingError, parse_binding
from agentplugin.plans import Tree, resolve
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import fitting
from controller.bindings.models import BindingRow
from controller.catalog import releaserows
from controller.catalog.tree import GitTree
from controller.database import counters
from controller.database.base import now
from controller.errors import Conflict, Invalid, NotFound
from controller.fleet.models import Hostgroup
from controller.web import etags


def describe(vault: Vault, binding: BindingRow) -> dict[str, object]:
    """A binding as the audit log keeps it: secret items by name only."""
    return {
        "hostgroup": binding.hostgroup.name,
        "plugin": binding.plugin,
        "config": binding.config,
        "config_secrets": sorted(vault.open(binding.secrets)),
    }


def entry(plugin: str, config: Mapping[str, Any] | None) -> Any:
    """A binding as `plugin_bindings` has it: a text, or a manifest plugin with its configuration."""
    return plugin if config is None else {"plugin": plugin, "config": dict(config)}


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
) -> BindingRow:
    """Bind a plugin to a hostgroup.

    Args:
        tree: the newest release's, or None where nothing was published yet.
        secrets: items of the configuration whose values are never shown.

    Raises:
        Conflict: it is bound there already.
        Invalid: the hostgroup or the plugin does not exist, the text is no binding, or an agent of the
            hostgroup would be harmed by it or skip it in silence.
    """
    found = find_hostgroup(session, by, hostgroup)
    plugin = normal(plugin, tree, config, secrets)
    _check_agents(session, tree, hostgroup, plugin)
    binding = BindingRow(
        hostgroup=found,
        plugin=plugin,
        config=_stored(config, secrets),
        secrets=vault.seal(secrets),
    )
    session.add(binding)
    _flush(session, hostgroup, binding.plugin)
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
) -> BindingRow:
    """Change a binding's plugin, configuration or secret items.

    Args:
        values: some of `plugin`, `config`, and `config_secrets`, in which null removes an item.

    Raises:
        NotFound, Conflict, Invalid: as in `create`.
        PreconditionFailed: somebody else changed it since it was read.
    """
    counters.lock(session, counters.PLANS)  # what two read at once, both would change
    binding = find(session, by, number)
    etags.check(if_match, binding.version)
    before, opened = describe(vault, binding), vault.open(binding.secrets)
    secrets = dict(opened)
    for name, value in (values.get("config_secrets") or {}).items():
        secrets.pop(name, None)
        if value is not None:
            secrets[name] = value
    config = values.get("config", binding.config)
    plugin = normal(values.get("plugin") or binding.plugin, tree, config, secrets)
    config = _stored(config, secrets)
    if (plugin, config, secrets) == (binding.plugin, binding.config, opened):
        return binding
    if plugin != binding.plugin:
        _check_agents(session, tree, binding.hostgroup.name, plugin)
    binding.plugin, binding.config = plugin, config
    if secrets != opened:
        binding.secrets = vault.seal(secrets)
    binding.updated = now()
    binding.version += 1
    _flush(session, binding.hostgroup.name, plugin)
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


def by_hostgroup(session: Session) -> dict[str, list[Any]]:
    """All bindings as `plugin_bindings` has them, without secret items."""
    rows = session.execute(
        select(Hostgroup.name, BindingRow.plugin, BindingRow.config)
        .join(BindingRow.hostgroup)
        .order_by(Hostgroup.name, BindingRow.plugin)
    )
    bound: dict[str, list[Any]] = {}
    for hostgroup, plugin, config in rows:
        bound.setdefault(hostgroup, []).append(entry(plugin, config))
    return bound


def check_all(bound: Mapping[str, list[Any]], tree: Tree) -> None:
    """Hold all bindings against the tree of a release that is to be; see fitting for what agents bear.

    Raises:
        Invalid: something bound would not be there, or could not run; every one is named.
    """
    fields = []
    for hostgroup, entries in bound.items():
        for problem in resolve(entries, tree).problems:
            if problem.severity == "error" and not depends_on_agent(problem.code):
                message = f"hostgroup {hostgroup}: {problem.message} [{problem.code}]"
                fields.append({"field": "bindings", "message": message})
    if fields:
        count = f"{len(fields)} binding{'s' if len(fields) > 1 else ''}"
        raise Invalid(
            f"{count} would not work with that tree; nothing was published: "
            + "; ".join(field["message"] for field in fields[:5]),
            hint="correct or remove these bindings, or put the plugins back into a source",
            fields=fields,
        )


def find_hostgroup(
    session: Session, by: Principal, name: str, field: str = "body.hostgroup"
) -> Hostgroup:
    """A hostgroup that a request's body names.

    Raises:
        Invalid: there is none of that name; says which one is close to it.
        Forbidden: the token is not for it.
    """
    by.need_hostgroups([name])
    hostgroup = session.scalar(select(Hostgroup).where(Hostgroup.name == name))
    if hostgroup is None:
        names = filter(by.sees_hostgroup, session.scalars(select(Hostgroup.name)))
        message = f"there is no hostgroup {name!r}{_did_you_mean(name, names)}"
        raise Invalid(message, fields=[{"field": field, "message": message}])
    return hostgroup


def normal(
    plugin: str,
    tree: GitTree | None,
    config: Mapping[str, Any] | None,
    secrets: Mapping[str, Any],
    field: str = "body.plugin",
) -> str:
    """The normal form of a binding's text, held against a tree.

    Raises:
        Invalid: no agent whatever could run it; says what to write instead.
    """
    try:
        text = parse_binding(plugin).text
    except BindingError as error:
        raise _refused(field, str(error), error.code) from None
    if tree is None:
        return text
    for problem in resolve([entry(text, _stored(config, secrets))], tree).problems:
        if problem.severity == "error" and not depends_on_agent(problem.code):
            close = ""
            if problem.code == "binding-not-found":
                close = _did_you_mean(parse_binding(text).path, tree.paths())
            raise _refused(field, f"{problem.message}{close} ({problem.hint})", problem.code)
    return text


def _check_agents(session: Session, tree: GitTree | None, hostgroup: str, plugin: str) -> None:
    """Refuse what harms the agents that the hostgroup's hosts run, by the newest release's findings."""
    newest = releaserows.newest(session)
    findings = (newest.problems if newest else None) or []
    fit = fitting.of_binding(session, hostgroup, plugin)
    found = fit.refused(findings, tree)
    fitting.need(found, "body.plugin", f"{plugin!r} in hostgroup {hostgroup!r}")


def _stored(config: Mapping[str, Any] | None, secrets: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration as it is kept: one with secret items alone is a configuration too."""
    if config is None:
        return {} if secrets else None
    return {name: value for name, value in config.items() if name not in secrets}


def _refused(field: str, message: str, code: str) -> Invalid:
    return Invalid(message, fields=[{"field": field, "message": f"{message} [{code}]"}])


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _flush(session: Session, hostgroup: str, plugin: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(
            f"{plugin!r} is bound to hostgroup {hostgroup!r} already",
            hint="change that binding instead",
        ) from None
