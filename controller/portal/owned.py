"""What syncs have made on either side: found, noted and forgotten, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from controller.database.chunks import chunks
from controller.portal.models import Kind, PortalOwned, Side


class Thing(NamedTuple):
    """A hostgroup, or something in one.

    Attributes:
        name: of the plugin or host; empty for the hostgroup itself.
    """

    hostgroup: str
    kind: Kind
    name: str = ""


def read(session: Session, portal: str, side: Side, only: Collection[str] = ()) -> set[Thing]:
    """What syncs with a portal made on a side.

    Args:
        only: names of hostgroups; empty is all.
    """
    query = select(PortalOwned.hostgroup, PortalOwned.kind, PortalOwned.name).where(
        PortalOwned.portal == portal, PortalOwned.side == side.value
    )
    some = (query.where(PortalOwned.hostgroup.in_(names)) for names in chunks(only))
    return {
        Thing(hostgroup, Kind(kind), name)
        for one in (some if only else [query])
        for hostgroup, kind, name in session.execute(one)
    }


def note(session: Session, portal: str, side: Side, things: Collection[Thing]) -> None:
    """Keep that a sync made things; those that are noted already stay so."""
    known = read(session, portal, side, {thing.hostgroup for thing in things}) if things else set()
    rows = [
        {"portal": portal, "side": side.value, **thing._asdict(), "kind": thing.kind.value}
        for thing in sorted(set(things) - known)
    ]
    if rows:
        session.execute(insert(PortalOwned), rows)


def forget(session: Session, portal: str, side: Side, things: Collection[Thing]) -> None:
    """Things are gone, or were not made after all."""
    names: dict[tuple[str, Kind], list[str]] = {}
    for hostgroup, kind, name in things:
        names.setdefault((hostgroup, kind), []).append(name)
    for (hostgroup, kind), gone in names.items():
        for some in chunks(gone):
            session.execute(
                delete(PortalOwned).where(
                    PortalOwned.portal == portal,
                    PortalOwned.side == side.value,
                    PortalOwned.hostgroup == hostgroup,
                    PortalOwned.kind == kind.value,
                    PortalOwned.name.in_(some),
                )
            )
