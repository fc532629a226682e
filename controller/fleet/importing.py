"""Importing many hosts at once: first what there is to do, then all of it or nothing.

Hosts that are not named stay as they are, memberships only grow, and importing the same again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from controller.audit.service import record_all
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.database import counters
from controller.database.base import now
from controller.database.chunks import chunks
from controller.errors import Conflict, Forbidden, Invalid, PlugfleetError
from controller.fleet import hostgroups, memberships
from controller.fleet.access import seen_by
from controller.fleet.importformats import Entry, Given, Place
from controller.fleet.members import join
from controller.fleet.models import AgentKind, Host, Hostgroup
from controller.fleet.names import (
    hostgroups_named,
    need_new_host_name,
    need_new_hostgroup_name,
)
from controller.fleet.schemas import HostgroupCreate, HostImport, ImportProblem
from controller.fleet.service import describe, need_entry, newest_release
from controller.fleet.variables import check_address, merged, settle

_MOST_SHOWN = 100


@dataclass(frozen=True)
class _Content:
    """What is configured of a host; named as the table's columns."""

    address: str = ""
    agent_kind: str = AgentKind.EXECUTOR.value
    variables: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    secrets: str = ""


@dataclass(frozen=True)
class _Known:
    """A host that is there already."""

    id: int
    version: int
    content: _Content


@dataclass
class Plan:
    """What an import would do.

    Attributes:
        created: contents of hosts to make, by name.
        updated: old and new contents of hosts to change, by name.
        unchanged: how many hosts of the import are just so already.
        joins: names of hosts to add, by hostgroup.
        new_hostgroups: names of hostgroups to make.
        problems: why it cannot be done.
        conflicts: how many of them are names that are taken.
    """

    created: dict[str, _Content] = field(default_factory=dict)
    updated: dict[str, tuple[_Known, _Content]] = field(default_factory=dict)
    unchanged: int = 0
    joined: set[str] = field(default_factory=set)
    joins: dict[str, list[str]] = field(default_factory=dict)
    new_hostgroups: list[str] = field(default_factory=list)
    changed_hostgroups: list[str] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)
    conflicts: int = 0
    ids: dict[str, int] = field(default_factory=dict)

    def refuse(self, error: PlugfleetError, problem: ImportProblem) -> None:
        """Keep why a part of it cannot be done."""
        self.problems.append(problem)
        self.conflicts += isinstance(error, Conflict)


def plan(
    session: Session, by: Principal, vault: Vault, given: Given, *, make_hostgroups: bool
) -> Plan:
    """What an import would do, and why it cannot be done, without changing anything."""
    result = Plan(problems=list(given.problems))
    known = _known(session, given.entries)
    seen = _seen(session, by, given.entries)
    groups = hostgroups_named(session, given.entries)
    result.ids = {name: host.id for name, host in known.items()}
    ruled = memberships.ruled(session) if by.hostgroups is not None else []
    for name, entry in given.entries.items():
        host = known.get(name)
        old = host.content if host else _Content()
        try:
            if host is None:
                need_entry(by, name)
                need_new_host_name(name, groups)
            elif name not in seen:
                raise Forbidden(f"there is a host {name!r} that token {by.name!r} is not for")
            by.need_hostgroups(entry.host.hostgroups)
            new = _content(by, vault, old, entry.host)
            by.need_hostgroups(memberships.names_that_differ(ruled, old.labels, new.labels))
        except (Conflict, Forbidden, Invalid) as error:
            result.refuse(error, entry.place.problem(error.message, name))
            continue
        if host is None:
            result.created[name] = new
        elif new != old:
            result.updated[name] = (host, new)
    _plan_hostgroups(session, by, vault, given, result, make_hostgroups=make_hostgroups)
    changed = result.created.keys() | result.updated.keys() | result.joined
    result.unchanged = len(given.entries.keys() - changed)
    return result


def store(session: Session, by: Principal, vault: Vault, given: Given, planned: Plan) -> None:
    """Do what was planned, in this transaction.

    Raises:
        Invalid: there are problems; each is named, up to a hundred.
        Conflict: names that are taken are all that is wrong.
    """
    if planned.problems:
        only_names = planned.conflicts == len(planned.problems)
        raise _refusal(planned.problems, Conflict if only_names else Invalid)
    for name in planned.new_hostgroups:
        hostgroups.create(session, by, vault, HostgroupCreate(name=name))
    for name in planned.changed_hostgroups:
        group = hostgroups.find(session, by, name)
        hostgroups.change(session, by, vault, group, given.hostgroups[name])
    ids = planned.ids | _insert(session, planned)
    _update(session, planned)
    _note(session, by, vault, planned)
    relabeled = {ids[name]: new.labels for name, new in planned.created.items()} | {
        host.id: new.labels
        for host, new in planned.updated.values()
        if new.labels != host.content.labels
    }
    memberships.fit_hosts(session, relabeled)
    found = {name: id for name, id in session.execute(select(Hostgroup.name, Hostgroup.id))}
    for name, hosts in planned.joins.items():
        join(session, by, name, found[name], {ids[host]: host for host in hosts})
    if planned.created or planned.updated or planned.joins:
        counters.advance(session, counters.PLANS)


def _refusal(problems: list[ImportProblem], kind: type[PlugfleetError]) -> PlugfleetError:
    fields = []
    for problem in problems[:_MOST_SHOWN]:
        message = f"{problem.host}: {problem.message}" if problem.host else problem.message
        fields.append({"field": str(Place(problem.line, problem.row)), "message": message})
    first = fields[0]
    more = f", and {len(problems) - 1} more problems" if len(problems) > 1 else ""
    return kind(
        f"nothing was imported: {first['field']}: {first['message']}{more}",
        hint="correct these and import it again; dry_run=true shows what would come of it",
        fields=fields,
    )


def _known(session: Session, names: Iterable[str]) -> dict[str, _Known]:
    columns = (
        Host.name,
        Host.id,
        Host.version,
        Host.address,
        Host.agent_kind,
        Host.variables,
        Host.labels,
        Host.secrets,
    )
    return {
        name: _Known(id, version, _Content(*content))
        for some in chunks(names)
        for name, id, version, *content in session.execute(
            select(*columns).where(Host.name.in_(some))
        )
    }


def _seen(session: Session, by: Principal, names: Iterable[str]) -> set[str]:
    return {
        name
        for some in chunks(names)
        for name in session.scalars(select(Host.name).where(Host.name.in_(some), seen_by(by)))
    }


def _content(by: Principal, vault: Vault, old: _Content, host: HostImport) -> _Content:
    variables = merged(old.variables, host.variables)
    given = host.model_fields_set
    check_address(by, old.address, host.address if "address" in given else old.address)
    return _Content(
        address=host.address if "address" in given else old.address,
        agent_kind=host.agent_kind.value if "agent_kind" in given else old.agent_kind,
        variables=variables,
        labels=merged(old.labels, host.labels),
        secrets=settle(by, vault, old.variables, old.secrets, variables, host.secrets),
    )


def _plan_hostgroups(
    session: Session,
    by: Principal,
    vault: Vault,
    given: Given,
    result: Plan,
    *,
    make_hostgroups: bool,
) -> None:
    """Which hostgroups are to be made, which get variables, and who joins which."""
    rows = session.execute(
        select(Hostgroup.name, Hostgroup.id, Hostgroup.variables, Hostgroup.secrets)
    )
    known = {name: (id, variables, sealed) for name, id, variables, sealed in rows}
    wanted: dict[str, list[Entry]] = {name: [] for name in given.hostgroups}
    for entry in given.entries.values():
        for name in dict.fromkeys(entry.host.hostgroups):
            wanted.setdefault(name, []).append(entry)
    for name, entries in wanted.items():
        place = entries[0].place if entries else Place()
        try:
            if name not in known:
                by.need_whole_fleet(f"making hostgroup {name!r}")
                if not make_hostgroups:
                    raise Invalid(f"there is no hostgroup {name!r}; make it first")
                HostgroupCreate(name=name)
                need_new_hostgroup_name(session, name, given.entries)
                result.new_hostgroups.append(name)
            id, variables, sealed = known.get(name, (None, {}, ""))
            if patch := given.hostgroups.get(name):
                new = merged(variables, patch.variables)
                resealed = settle(by, vault, variables, sealed, new, patch.secrets)
                if (new, resealed) != (variables, sealed):
                    by.need_hostgroups([name])
                    result.changed_hostgroups.append(name)
        except (Conflict, Forbidden, Invalid) as error:
            result.refuse(error, place.problem(f"hostgroup {name}: {error.message}"))
            continue
        except ValidationError as error:
            message = f"hostgroup {name}: {error.errors()[0]['msg']}"
            result.problems.append(place.problem(message))
            continue
        there = memberships.reasons(session, id) if id is not None else {}
        members = {host_id for host_id, why in there.items() if why.by_name}
        new_members = [
            entry.host.name for entry in entries if result.ids.get(entry.host.name) not in members
        ]
        if new_members:
            result.joins[name] = new_members
            result.joined.update(new_members)


def _insert(session: Session, planned: Plan) -> dict[str, int]:
    release = newest_release(session)
    rows = [
        {"name": name, "wanted_release": release, **vars(content)}
        for name, content in planned.created.items()
    ]
    if not rows:
        return {}
    # Without RETURNING, which would make one huge statement of thousands of rows.
    session.execute(insert(Host), rows)
    return {
        name: id
        for names in chunks(planned.created)
        for name, id in session.execute(select(Host.name, Host.id).where(Host.name.in_(names)))
    }


def _update(session: Session, planned: Plan) -> None:
    moment = now()
    # In the order of ids, as everybody who changes many hosts: no two wait for each other.
    rows = [
        {"id": host.id, "version": host.version + 1, "updated": moment, **vars(new)}
        for host, new in sorted(planned.updated.values(), key=lambda change: change[0].id)
    ]
    if rows:
        session.execute(update(Host), rows)


def _note(session: Session, by: Principal, vault: Vault, planned: Plan) -> None:
    def described(content: _Content) -> dict[str, Any]:
        return describe(content, list(vault.open(content.secrets)))

    created = [(name, None, described(content)) for name, content in planned.created.items()]
    updated = [
        (name, described(host.content), described(new))
        for name, (host, new) in planned.updated.items()
    ]
    record_all(session, by, "host.create", "host", created)
    record_all(session, by, "host.update", "host", updated)
