"""Making sources, hostgroups, bindings and schedules what a document says: all of it in one transaction, or none.

The changes go through the services of each domain, so that they are checked, limited and audited as
if each had been made by itself; a plan is the same work, taken back at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.models import Scope
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import service as bindings
from controller.bindings.configs import Manifests
from controller.bindings.models import BindingRow
from controller.bindings.sealing import Stored
from controller.catalog import service as sources
from controller.catalog.models import SourceRow
from controller.database import counters
from controller.errors import Invalid
from controller.fleet import hostgroups, members
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership
from controller.fleet.schemas import HostgroupCreate, HostgroupPut
from controller.gitops import configured, overrides, schedules
from controller.gitops.outcome import Outcome, at
from controller.gitops.schemas import (
    BindingSpec,
    Configuration,
    HostgroupSpec,
    SourceSpec,
)
from controller.settings import Settings


def make_so(
    session: Session,
    by: Principal,
    settings: Settings,
    vault: Vault,
    wanted: Configuration,
    manifests: Manifests,
    *,
    prune: bool,
) -> Outcome:
    """Change what differs from a document, in the given transaction.

    Bindings are not held against a release's tree here: that takes git, and a transaction does not
    wait for git.

    Args:
        manifests: those of all plugins of the document were read already.
        prune: delete what the document's sections do not name.

    Raises:
        PlugfleetError: something cannot be so; `fields` name its place in the document.
    """
    by.need_whole_fleet("applying a configuration")
    counters.lock(session, counters.PLANS)  # before anything is read that may be changed
    if wanted.schedules is not None:
        schedules.hold(session)
    outcome = Outcome()
    if wanted.sources is not None:
        _sources(session, by, vault, wanted.sources, outcome, prune=prune)
    if wanted.hostgroups is not None:
        _hostgroups(session, by, vault, wanted.hostgroups, manifests, outcome, prune=prune)
    if wanted.overrides is not None:
        overrides.apply(session, by, vault, wanted.overrides, manifests, outcome, prune=prune)
    if wanted.schedules is not None:  # after the hostgroups that they may name
        schedules.apply(session, by, settings, wanted.schedules, outcome, prune=prune)
    return outcome


def bindings_of(document: Configuration) -> Iterator[tuple[str, BindingSpec]]:
    """The bindings of a document, each with its place there."""
    for name, group in (document.hostgroups or {}).items():
        yield from _bindings_of(name, group)


def _sources(
    session: Session,
    by: Principal,
    vault: Vault,
    wanted: Mapping[str, SourceSpec],
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    there = {row.name: row for row in session.scalars(select(SourceRow).order_by(SourceRow.name))}
    before = len(outcome.changes)
    for name, row in there.items():
        if name in wanted:
            continue
        if prune:
            outcome.note("delete", "source", name, sources.describe(row), {})
            sources.delete(session, by, name, None)
        else:
            outcome.not_named.append(f"source {name}")
    session.flush()
    for name, spec in wanted.items():
        with at(f"sources.{name}", f"source {name}"):
            found = there.get(name)
            if found is None:
                made = sources.create(session, by, vault, name, spec.model_dump())
                outcome.note("create", "source", name, {}, sources.describe(made))
                continue
            was = sources.describe(found)
            changed = sources.change(session, by, vault, name, spec.model_dump(), None)
            outcome.note("change", "source", name, was, sources.describe(changed))
    if len(outcome.changes) > before:
        by.need(Scope.ADMIN)


def _hostgroups(
    session: Session,
    by: Principal,
    vault: Vault,
    wanted: Mapping[str, HostgroupSpec],
    manifests: Manifests,
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    there = list(session.scalars(select(Hostgroup.name).order_by(Hostgroup.name)))
    bound: dict[str, list[BindingRow]] = {}
    for row in session.scalars(select(BindingRow).order_by(BindingRow.key)):
        bound.setdefault(row.hostgroup.name, []).append(row)
    for name, spec in wanted.items():
        place = f"hostgroups.{name}"
        with at(place, f"hostgroup {name}"):
            hostgroup = _hostgroup(session, by, vault, name, spec, outcome, new=name not in there)
        with at(place, f"hostgroup {name}"):
            _members(session, by, hostgroup, spec, outcome, prune=prune)
        there_already = bound.get(name, [])
        _bindings(session, by, vault, name, spec, there_already, manifests, outcome, prune=prune)
    for name in there:
        if name in wanted or name == EVERY_HOST:
            continue
        if not prune:
            outcome.not_named.append(f"hostgroup {name}")
            continue
        hostgroup = hostgroups.hold(session, by, name)
        for row in bound.get(name, []):
            outcome.note("delete", "binding", f"{name}: {row.key}", _shown(vault, row), {})
        outcome.note("delete", "hostgroup", name, _described(vault, hostgroup), {})
        hostgroups.delete(session, by, vault, hostgroup, force=True)


def _hostgroup(
    session: Session,
    by: Principal,
    vault: Vault,
    name: str,
    spec: HostgroupSpec,
    outcome: Outcome,
    *,
    new: bool,
) -> Hostgroup:
    values: dict[str, Any] = {
        "description": spec.description,
        "rule": spec.rule,
        "variables": spec.variables,
    }
    if new:
        hostgroup = hostgroups.create(session, by, vault, HostgroupCreate(name=name, **values))
        outcome.note("create", "hostgroup", name, {}, _described(vault, hostgroup))
    else:
        hostgroup = hostgroups.hold(session, by, name)
        before = _described(vault, hostgroup)
        if name == EVERY_HOST and not spec.description:
            values["description"] = hostgroup.description  # it comes with the controller
        hostgroups.replace(session, by, vault, hostgroup, HostgroupPut(**values))
        outcome.note("change", "hostgroup", name, before, _described(vault, hostgroup))
    missing = sorted(set(spec.secrets) - set(vault.open(hostgroup.secrets)))
    if missing:
        outcome.notes.append(f"hostgroup {name} has no value for its secrets {', '.join(missing)}")
    return hostgroup


def _members(
    session: Session,
    by: Principal,
    hostgroup: Hostgroup,
    spec: HostgroupSpec,
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    if spec.members is None:
        return
    query = (
        select(Host.name)
        .join(Membership, Membership.host_id == Host.id)
        .where(Membership.hostgroup_id == hostgroup.id, Membership.by_name)
    )
    extra = sorted(set(session.scalars(query)) - set(spec.members))
    if extra and not prune:
        outcome.not_named += [f"host {name} in hostgroup {hostgroup.name}" for name in extra]
    # All of them are given, also those that are members: so an error's place is the document's.
    changed = members.change(session, by, hostgroup, spec.members, extra if prune else [])
    if changed.added or changed.removed:
        before, after = {"members": changed.removed}, {"members": changed.added}
        outcome.note("change", "members", hostgroup.name, before, after)


def _bindings(
    session: Session,
    by: Principal,
    vault: Vault,
    group: str,
    spec: HostgroupSpec,
    there: Sequence[BindingRow],
    manifests: Manifests,
    outcome: Outcome,
    *,
    prune: bool,
) -> None:
    left = {row.key: row for row in there}
    seen: set[str] = set()
    for place, wanted in _bindings_of(group, spec):
        with at(place, f"hostgroup {group}"):
            key = configured.key_of(wanted)
            if key in seen:
                raise Invalid(f"{key!r} stands there twice")
            seen.add(key)
            row = left.pop(key, None)
            before = {} if row is None else _shown(vault, row)
            old = None if row is None else _stored(vault, row)
            values: dict[str, Any] = {
                "plugin": wanted.plugin,
                "config": configured.with_named(
                    wanted.config, wanted.secrets, old, manifests.of(wanted.plugin)
                ),
                "format": wanted.format,
                "step": wanted.step,
            }
            how: dict[str, Any] = {"manifests": manifests, "lenient": True}
            if row is None:
                row = bindings.create(
                    session, by, vault, None, hostgroup=group, secrets={}, **values, **how
                )
            else:
                row = bindings.change(session, by, vault, None, row.id, values, None, **how)
            action = "change" if before else "create"
            given = () if old is None else _stored(vault, row).given_since(old)
            after = _shown(vault, row)
            if outcome.note(action, "binding", f"{group}: {key}", before, after, given):
                outcome.bound.append((place, row))
            if missing := configured.missing(vault, row, wanted.secrets):
                outcome.notes.append(
                    f"{key} of hostgroup {group} has no value for its secrets {', '.join(missing)}"
                )
    for key, row in left.items():
        if prune:
            outcome.note("delete", "binding", f"{group}: {key}", _shown(vault, row), {})
            bindings.delete(session, by, vault, row.id, None)
        else:
            outcome.not_named.append(f"binding {key} of hostgroup {group}")


def _bindings_of(group: str, spec: HostgroupSpec) -> Iterator[tuple[str, BindingSpec]]:
    for number, entry in enumerate(spec.bindings):
        wanted = BindingSpec(plugin=entry) if isinstance(entry, str) else entry
        yield f"hostgroups.{group}.bindings.{number}", wanted


def _shown(vault: Vault, row: BindingRow) -> dict[str, Any]:
    """A binding's fields that a plan shows; its hostgroup and plugin are its name."""
    return {
        "plugin": row.plugin,
        "format": row.format,
        "step": row.step,
        "config": row.config,
        "secrets": _stored(vault, row).paths(),
    }


def _stored(vault: Vault, row: BindingRow) -> Stored:
    return Stored(row.config, vault.open(row.secrets))


def _described(vault: Vault, hostgroup: Hostgroup) -> dict[str, Any]:
    return hostgroups.describe(hostgroup, list(vault.open(hostgroup.secrets)))
