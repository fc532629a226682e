"""Writing sources, hostgroups, bindings and schedules out as the document that applying would not change."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings.models import BindingRow, OverrideRow
from controller.catalog.models import SourceRow
from controller.fleet.access import EVERY_HOST
from controller.fleet.models import Host, Hostgroup, Membership
from controller.gitops import schedules
from controller.gitops.schemas import (
    BindingSpec,
    Configuration,
    HostgroupSpec,
    OverrideSpec,
    SourceSpec,
)
from controller.schedules.models import Schedule


def export(session: Session, by: Principal, vault: Vault) -> Configuration:
    """The document that describes what there is; applying it changes nothing."""
    by.need_whole_fleet("the configuration")
    named: dict[str, list[str]] = {}
    query = (
        select(Hostgroup.name, Host.name)
        .join(Membership, Membership.hostgroup_id == Hostgroup.id)
        .join(Host, Host.id == Membership.host_id)
        .where(Membership.by_name)
        .order_by(Host.name)
    )
    for group, host in session.execute(query):
        named.setdefault(group, []).append(host)
    bound: dict[int, list[str | BindingSpec]] = {}
    for row in session.scalars(select(BindingRow).order_by(BindingRow.key)):
        bound.setdefault(row.hostgroup_id, []).append(_binding_spec(vault, row))
    groups = {
        row.name: HostgroupSpec(
            description=row.description,
            rule=row.rule,
            variables=row.variables,
            secrets=sorted(vault.open(row.secrets)),
            members=None if row.name == EVERY_HOST else named.get(row.name, []),
            bindings=bound.get(row.id, []),
        )
        for row in session.scalars(select(Hostgroup).order_by(Hostgroup.name))
    }
    every = groups.get(EVERY_HOST)
    if every and not (every.variables or every.secrets or every.bindings):
        del groups[EVERY_HOST]
    return Configuration(
        sources={
            row.name: SourceSpec(url=row.url, path=row.path, ref=row.ref, subdir=row.subdir)
            for row in session.scalars(select(SourceRow).order_by(SourceRow.name))
        },
        hostgroups=groups,
        overrides=_overrides(session, vault),
        schedules={
            row.name: schedules.spec_of(row)
            for row in session.scalars(
                select(Schedule).where(Schedule.removing.is_(False)).order_by(Schedule.name)
            )
        },
    )


def _overrides(session: Session, vault: Vault) -> dict[str, dict[str, OverrideSpec]]:
    found: dict[str, dict[str, OverrideSpec]] = {}
    query = select(Host.name, OverrideRow).join(OverrideRow.host)
    for host, row in session.execute(query.order_by(Host.name, OverrideRow.plugin)):
        secrets = named(vault, row.secrets)
        found.setdefault(host, {})[row.plugin] = OverrideSpec(config=row.config, secrets=secrets)
    return found


def named(vault: Vault, sealed: str) -> list[str]:
    """The secrets at the top of a configuration; those further down are referred to where they stand."""
    return sorted(path for path in vault.open(sealed) if "/" not in path)


def _binding_spec(vault: Vault, row: BindingRow) -> str | BindingSpec:
    secrets = named(vault, row.secrets)
    if row.config is None and not secrets:
        return row.plugin
    known = {"config": row.config, "secrets": secrets, "format": row.format, "step": row.step}
    return BindingSpec.model_validate({"plugin": row.plugin, **known})
