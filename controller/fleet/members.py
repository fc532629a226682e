"""Changing who is a member of a hostgroup by name: what is not named stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.database import counters
from controller.database.chunks import chunks
from controller.errors import Conflict, Invalid
from controller.fleet import memberships
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Hostgroup, Membership


class Changed(NamedTuple):
    """What became of a change of members.

    Attributes:
        added: names of hosts that were not members by name before.
        removed: names of hosts that were.
        stay_by_rule: those of the removed that the rule keeps.
    """

    added: list[str]
    removed: list[str]
    stay_by_rule: list[str]


def listing(hostgroup: Hostgroup) -> Select[Any]:
    """The query of a hostgroup's hosts."""
    if hostgroup.name == EVERY_HOST:
        return select(Host)
    members = select(Membership.host_id).where(Membership.hostgroup_id == hostgroup.id)
    return select(Host).where(Host.id.in_(members))


def change(
    session: Session,
    by: Principal,
    hostgroup: Hostgroup,
    add: Collection[str],
    remove: Collection[str],
) -> Changed:
    """Add hosts to a hostgroup by name, and take others out.

    Args:
        hostgroup: as `hostgroups.hold` gave it.

    Raises:
        Invalid: hosts that there are not, or none that the token sees, each named; or one that is
            both to be added and removed.
        Conflict: the hostgroup is `all`.
    """
    if hostgroup.name == EVERY_HOST:
        raise Conflict(f"every host is in {EVERY_HOST!r}, always", hint="take another hostgroup")
    if both := sorted(set(add) & set(remove)):
        raise Invalid(
            f"to be added and removed: {', '.join(both)}",
            fields=[{"field": "body.remove", "message": f"{name} is in add too"} for name in both],
        )
    known = _known(session, by, {"add": add, "remove": remove})
    adding = {known[name]: name for name in add}
    removing = {known[name]: name for name in remove}
    added = memberships.set_by_name(session, hostgroup.id, adding, member=True)
    removed = memberships.set_by_name(session, hostgroup.id, removing, member=False)
    changed = Changed(
        sorted(adding[id] for id in added),
        sorted(removing[id] for id in removed),
        _still_there(session, hostgroup.id, removed),
    )
    if added or removed:
        _note(session, by, hostgroup.name, changed.removed, changed.added)
        counters.advance(session, counters.PLANS)
    return changed


def join(
    session: Session, by: Principal, name: str, hostgroup_id: int, hosts: Mapping[int, str]
) -> bool:
    """Add hosts to a hostgroup by name, where the caller has checked both already.

    Args:
        name: the hostgroup's name.
        hosts: names by id.

    Returns:
        Whether one of them was not a member by name before.
    """
    added = memberships.set_by_name(session, hostgroup_id, hosts, member=True)
    if added:
        _note(session, by, name, [], sorted(hosts[id] for id in added))
    return bool(added)


def _known(session: Session, by: Principal, named: Mapping[str, Collection[str]]) -> dict[str, int]:
    known: dict[str, int] = {}
    for names in chunks({name for group in named.values() for name in group}):
        rows = session.execute(select(Host.name, Host.id).where(Host.name.in_(names), seen_by(by)))
        known |= {name: id for name, id in rows}
    fields = [
        {"field": f"body.{field}.{place}", "message": f"there is no host {name!r}"}
        for field, names in named.items()
        for place, name in enumerate(names)
        if name not in known
    ]
    if fields:
        raise Invalid(
            f"{len(fields)} of the hosts are not known; nothing was changed",
            hint="make or import them first",
            fields=fields,
        )
    return known


def _still_there(session: Session, hostgroup_id: int, host_ids: Collection[int]) -> list[str]:
    names: list[str] = []
    for ids in chunks(host_ids):
        names += session.scalars(
            select(Host.name)
            .join(Membership, Membership.host_id == Host.id)
            .where(Membership.hostgroup_id == hostgroup_id, Host.id.in_(ids))
        )
    return sorted(names)


def _note(session: Session, by: Principal, name: str, before: list[str], after: list[str]) -> None:
    """In the audit log: of the hosts that changed, those that were members and those that are."""
    record(
        session,
        by,
        "hostgroup.members",
        "hostgroup",
        name,
        {"members": before},
        {"members": after},
    )
