"""Which hosts a token sees: all, or those of the hostgroups that it is limited to."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select, true

from controller.auth.principal import Principal
from controller.fleet.models import Host, Hostgroup, Membership

EVERY_HOST = "all"
"""The hostgroup that every host is in; it has a row, its members have none."""


def seen_by(by: Principal) -> ColumnElement[bool]:
    """The condition that leaves the hosts that a token sees."""
    if by.hostgroups is None or EVERY_HOST in by.hostgroups:
        return true()
    return Host.id.in_(
        select(Membership.host_id)
        .join(Hostgroup, Hostgroup.id == Membership.hostgroup_id)
        .where(Hostgroup.name.in_(by.hostgroups))
    )
