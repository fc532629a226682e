"""Unknown hosts: kept in bounds, adopted by a rule or by hand, and never deployed to before that."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.agents.calls import Sighting
from controller.agents.models import AdoptionRule, UnknownHost
from controller.audit.service import record
from controller.auth.models import Scope
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.database.chunks import chunks
from controller.errors import Invalid, NotFound, PlugfleetError
from controller.fleet import service as fleet
from controller.fleet.models import AgentKind, Host
from controller.fleet.schemas import HostCreate
from controller.web.fields import HostName

MOST = 10_000
"""Unknown hosts that are kept; the one that was silent for longest goes first."""
_MOST_ADOPTED = 200  # of one transaction; the others come with their next heartbeat
_EXECUTOR = "pf-"  # how our executor's AgentVersion begins
_NAME: TypeAdapter[str] = TypeAdapter(HostName)


def listing(by: Principal, q: str = "") -> Select[Any]:
    """The query of the unknown hosts.

    Raises:
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("unknown hosts")
    query = select(UnknownHost)
    if q:
        query = query.where(
            UnknownHost.name.icontains(q, autoescape=True)
            | UnknownHost.peer.icontains(q, autoescape=True)
        )
    return query


def find(session: Session, by: Principal, name: str) -> UnknownHost:
    """An unknown host by its name.

    Raises:
        NotFound: there is none.
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("unknown hosts")
    found = session.scalar(select(UnknownHost).where(UnknownHost.name == name))
    if found is None:
        raise NotFound(
            f"no unknown host {name!r} sends heartbeats",
            hint="is it a host already? `plugfleet host show` tells",
        )
    return found


def forget(session: Session, by: Principal, unknown: UnknownHost) -> None:
    """Take an unknown host off the list; its next heartbeat brings it back."""
    session.delete(unknown)
    record(session, by, "unknown.forget", "unknown host", unknown.name, describe(unknown), None)


def adopt(
    session: Session,
    by: Principal,
    vault: Vault,
    unknown: UnknownHost,
    *,
    hostgroups: Sequence[str],
    address: str = "",
    labels: Mapping[str, str] | None = None,
) -> Host:
    """Make an unknown host a host; its agent gets its plugins with the next question.

    Args:
        address: how SSH reaches it; empty is its name.

    Raises:
        Invalid: its name is none that a host may have, or a hostgroup does not exist.
        Conflict: there is a host of that name.
    """
    try:
        name = _NAME.validate_python(unknown.name)
    except ValidationError as error:
        problem = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise Invalid(
            f"{unknown.name[:100]!r} cannot be a host's name: {problem}",
            hint='give the agent another one: "hostname" in its cfg.json',
        ) from None
    kind = AgentKind.EXECUTOR if unknown.version.startswith(_EXECUTOR) else AgentKind.FALCON
    spec = HostCreate(
        name=name,
        address=address,
        agent_kind=kind,
        labels=dict(labels or {}),
        hostgroups=list(hostgroups),
    )
    host = fleet.create(session, by, vault, spec)
    record(
        session,
        by,
        "host.adopt",
        "host",
        name,
        describe(unknown),
        {"heartbeats_from": unknown.peer},
    )
    session.delete(unknown)
    return host


def describe(unknown: UnknownHost) -> dict[str, Any]:
    """An unknown host as the audit log keeps it."""
    return {"peer": unknown.peer, "version": unknown.version, "head": unknown.head}


def record_sightings(session: Session, sightings: Mapping[str, Sighting]) -> list[str]:
    """Write heartbeats of hosts that nobody made, and drop the oldest beyond the bound.

    Returns:
        The names that are still unknown.
    """
    names = sorted(sightings)
    known: set[str] = set()
    there: dict[str, int] = {}
    for part in chunks(names):
        known.update(session.scalars(select(Host.name).where(Host.name.in_(part))))
        rows = session.execute(
            select(UnknownHost.name, UnknownHost.id).where(UnknownHost.name.in_(part))
        )
        there |= {name: id for name, id in rows}
    rows_new, rows_old = [], []
    for name in names:
        if name in known:
            continue
        at, peer, ip, version, head = sightings[name]
        row = {"peer": peer, "ip": ip, "version": version, "head": head}
        row_at = datetime.fromtimestamp(at, UTC)
        if name in there:
            rows_old.append({"id": there[name], "last_seen": row_at, **row})
        else:
            rows_new.append({"name": name, "first_seen": row_at, "last_seen": row_at, **row})
    if rows_old:
        session.execute(update(UnknownHost), rows_old)
    if rows_new:
        # Two controllers may see one for the first time at once: then the next heartbeat counts.
        try:
            with session.begin_nested():
                session.execute(insert(UnknownHost), rows_new)
        except IntegrityError:
            pass
        _drop_oldest(session)
    return [name for name in names if name not in known]


def drop_known(session: Session) -> None:
    """Take off the list what is a host by now."""
    session.execute(delete(UnknownHost).where(UnknownHost.name.in_(select(Host.name))))


def _drop_oldest(session: Session) -> None:
    kept = select(UnknownHost.id).order_by(UnknownHost.last_seen.desc(), UnknownHost.id.desc())
    session.execute(delete(UnknownHost).where(UnknownHost.id.not_in(kept.limit(MOST))))


def apply_rules(session: Session, vault: Vault, names: Sequence[str]) -> int:
    """Adopt those of the unknown hosts that a rule fits; returns how many."""
    rules = session.scalars(select(AdoptionRule).order_by(AdoptionRule.id)).all()
    if not rules:
        return 0
    adopted = 0
    for part in chunks(names):
        for unknown in session.scalars(
            select(UnknownHost).where(UnknownHost.name.in_(part)).order_by(UnknownHost.id)
        ):
            rule = next((rule for rule in rules if fits(rule, unknown)), None)
            if rule is not None and adopted < _MOST_ADOPTED:
                adopted += _adopt_by(session, vault, rule, unknown)
    return adopted


def fits(rule: AdoptionRule, unknown: UnknownHost) -> bool:
    """Whether a rule is for an unknown host: by its name, and by where its heartbeats come from."""
    if rule.pattern and not fnmatch.fnmatchcase(unknown.name, rule.pattern):
        return False
    if not rule.network:
        return bool(rule.pattern)
    try:
        return ipaddress.ip_address(unknown.peer) in ipaddress.ip_network(rule.network)
    except ValueError:
        return False


def _adopt_by(session: Session, vault: Vault, rule: AdoptionRule, unknown: UnknownHost) -> bool:
    """Adopt by a rule; what stands in the way is written beside the unknown host."""
    by = Principal(f"adoption rule {rule.id}", Scope.ADMIN)
    address = unknown.peer if rule.use_address else ""
    try:
        with session.begin_nested():
            adopt(session, by, vault, unknown, hostgroups=rule.hostgroups, address=address)
    except (PlugfleetError, ValidationError) as error:
        unknown.problem = f"adoption rule {rule.id}: {error}"[:500]
        return False
    return True
