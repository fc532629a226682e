"""Hostgroups: finding, making, changing and deleting them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, true
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings.models import BindingRow
from controller.database import counters
from controller.database.base import now
from controller.errors import Conflict, NotFound
from controller.fleet import memberships
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Hostgroup
from controller.fleet.names import need_new_hostgroup_name
from controller.fleet.rules import parse
from controller.fleet.schemas import HostgroupCreate, HostgroupPatch, HostgroupPut
from controller.fleet.variables import merged, settle
from controller.web import etags


def describe(hostgroup: Hostgroup, secret_names: Sequence[str]) -> dict[str, Any]:
    """What is configured of a hostgroup, as the audit log keeps it: secrets by name only."""
    return {
        "description": hostgroup.description,
        "rule": hostgroup.rule,
        "variables": hostgroup.variables,
        "secrets": sorted(secret_names),
    }


def find(session: Session, by: Principal, name: str) -> Hostgroup:
    """A hostgroup by its name.

    Raises:
        NotFound: there is none.
        Forbidden: the token is not for it.
    """
    by.need_hostgroups([name])
    hostgroup = session.scalar(select(Hostgroup).where(Hostgroup.name == name))
    if hostgroup is None:
        raise NotFound(f"there is no hostgroup {name!r}")
    return hostgroup


def hold(session: Session, by: Principal, name: str, if_match: str | None = None) -> Hostgroup:
    """A hostgroup that is going to be changed, as it is now and stays until this transaction ends.

    Raises:
        PreconditionFailed: it is not what the caller read.
        NotFound: there is none.
        Forbidden: the token is not for it.
    """
    by.need_hostgroups([name])
    counters.lock(session, counters.PLANS)
    hostgroup = find(session, by, name)
    etags.check(if_match, hostgroup.version)
    return hostgroup


def listing(by: Principal, q: str = "") -> Select[Any]:
    """The query of the hostgroups that a token sees."""
    seen = true() if by.hostgroups is None else Hostgroup.name.in_(by.hostgroups)
    query = select(Hostgroup).where(seen)
    if q:
        query = query.where(
            Hostgroup.name.icontains(q, autoescape=True)
            | Hostgroup.description.icontains(q, autoescape=True)
        )
    return query


def create(session: Session, by: Principal, vault: Vault, spec: HostgroupCreate) -> Hostgroup:
    """Make a hostgroup; hosts that its rule fits are members at once.

    Raises:
        Conflict: there is a hostgroup or a host of that name.
        Invalid: variables that may not be.
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("making a hostgroup")
    counters.lock(session, counters.PLANS)
    if session.scalar(select(Hostgroup.id).where(Hostgroup.name == spec.name)):
        raise Conflict(
            f"there is a hostgroup {spec.name!r} already", hint="change it by PATCH or PUT"
        )
    need_new_hostgroup_name(session, spec.name)
    hostgroup = Hostgroup(name=spec.name, description="", rule="", variables={}, secrets="")
    session.add(hostgroup)
    session.flush()
    _configure(session, by, vault, hostgroup, spec.model_dump(exclude={"name"}))
    record(
        session,
        by,
        "hostgroup.create",
        "hostgroup",
        hostgroup.name,
        None,
        _described(hostgroup, vault),
    )
    counters.advance(session, counters.PLANS)
    return hostgroup


def replace(
    session: Session, by: Principal, vault: Vault, hostgroup: Hostgroup, spec: HostgroupPut
) -> Hostgroup:
    """Let a hostgroup be as it is described; members by name and secrets not named stay.

    Args:
        hostgroup: as `hold` gave it.
    """
    return _update(session, by, vault, hostgroup, spec.model_dump())


def change(
    session: Session, by: Principal, vault: Vault, hostgroup: Hostgroup, patch: HostgroupPatch
) -> Hostgroup:
    """Change what is named of a hostgroup.

    Args:
        hostgroup: as `hold` gave it.
    """
    given = patch.model_dump(exclude_unset=True)
    if "variables" in given:
        given["variables"] = merged(hostgroup.variables, patch.variables)
    return _update(session, by, vault, hostgroup, given)


def delete(
    session: Session, by: Principal, vault: Vault, hostgroup: Hostgroup, *, force: bool
) -> None:
    """Delete a hostgroup; its hosts stay.

    Args:
        hostgroup: as `hold` gave it.
        force: delete its bindings with it.

    Raises:
        Conflict: it has bindings, or it is `all`.
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("deleting a hostgroup")
    if hostgroup.name == EVERY_HOST:
        raise Conflict(f"{EVERY_HOST!r} is the hostgroup of every host and stays")
    bindings = session.scalars(
        select(BindingRow.plugin)
        .where(BindingRow.hostgroup_id == hostgroup.id)
        .order_by(BindingRow.plugin)
    ).all()
    if bindings and not force:
        raise Conflict(
            f"hostgroup {hostgroup.name!r} has {len(bindings)} bindings, e.g. {bindings[0]}",
            hint="remove them first, or delete it with force=true",
        )
    before = _described(hostgroup, vault) | {
        "bindings": list(bindings),
        "hosts": memberships.size(session, hostgroup),
    }
    session.delete(hostgroup)
    record(session, by, "hostgroup.delete", "hostgroup", hostgroup.name, before, None)
    counters.advance(session, counters.PLANS)


def _update(
    session: Session,
    by: Principal,
    vault: Vault,
    hostgroup: Hostgroup,
    given: Mapping[str, Any],
) -> Hostgroup:
    before = _described(hostgroup, vault)
    if _configure(session, by, vault, hostgroup, given):
        hostgroup.version += 1
        hostgroup.updated = now()
        secrets = {"secrets_set": sorted(given.get("secrets", ()))}
        after = _described(hostgroup, vault) | secrets
        record(session, by, "hostgroup.update", "hostgroup", hostgroup.name, before, after)
        counters.advance(session, counters.PLANS)
    return hostgroup


def _configure(
    session: Session,
    by: Principal,
    vault: Vault,
    hostgroup: Hostgroup,
    given: Mapping[str, Any],
) -> bool:
    """Put what is given into a hostgroup's row; says whether that changed anything."""
    was = _content(hostgroup)
    variables = given.get("variables", hostgroup.variables)
    secrets = given.get("secrets", {})
    hostgroup.secrets = settle(
        by, vault, hostgroup.variables, hostgroup.secrets, variables, secrets
    )
    hostgroup.variables = variables
    hostgroup.description = given.get("description", hostgroup.description)
    rule = parse(given.get("rule", hostgroup.rule))
    if rule.text != hostgroup.rule:
        by.need_whole_fleet("a label rule")
        if hostgroup.name == EVERY_HOST:
            raise Conflict(f"every host is in {EVERY_HOST!r}, so it has no rule")
        hostgroup.rule = rule.text
        session.flush()
        memberships.fit_hostgroup(session, hostgroup.id, rule)
    return was != _content(hostgroup)


def _content(hostgroup: Hostgroup) -> tuple[Any, ...]:
    return (hostgroup.description, hostgroup.rule, hostgroup.variables, hostgroup.secrets)


def _described(hostgroup: Hostgroup, vault: Vault) -> dict[str, Any]:
    return describe(hostgroup, list(vault.open(hostgroup.secrets)))
