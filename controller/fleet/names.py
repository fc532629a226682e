"""Names of hosts and hostgroups: one name is one thing, as Ansible's inventory can hold no host and group
of the same name (docs.ansible.com, "How to build your inventory").

Every caller holds the counter of plans, so no two give a name away at once.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.database.chunks import chunks
from controller.errors import Conflict
from controller.fleet.models import Host, Hostgroup


def hostgroups_named(session: Session, names: Collection[str]) -> set[str]:
    """Those of these names that hostgroups have."""
    return {
        name
        for some in chunks(names)
        for name in session.scalars(select(Hostgroup.name).where(Hostgroup.name.in_(some)))
    }


def need_new_host_name(name: str, hostgroups: Collection[str]) -> None:
    """Refuse a new host the name of a hostgroup.

    Args:
        hostgroups: names of hostgroups that there are, or are to be.

    Raises:
        Conflict: one of them has it.
    """
    if name in hostgroups:
        raise Conflict(f"there is a hostgroup {name!r}; a host cannot have its name", hint=_HINT)


def need_new_hostgroup_name(session: Session, name: str, hosts: Collection[str] = ()) -> None:
    """Refuse a new hostgroup the name of a host.

    Args:
        hosts: names of hosts that are to be, besides those that there are.

    Raises:
        Conflict: a host has it.
    """
    if name in hosts or session.scalar(select(Host.id).where(Host.name == name)):
        raise Conflict(f"there is a host {name!r}; a hostgroup cannot have its name", hint=_HINT)


_HINT = "take another name: Ansible's inventory cannot hold both"
