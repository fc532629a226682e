"""Writing what heartbeats tell, many hosts in one transaction, and reading back what agents are to be told."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Update, bindparam, case, exists, insert, select, update
from sqlalchemy.orm import Session

from agentplugin.agents import reported_as
from controller.agents.calls import Seen
from controller.agents.judging import Standing, judge
from controller.agents.lists import Entry, fits_text, next_stamp
from controller.agents.models import AgentRow
from controller.agents.planned import Planned, Plans
from controller.audit.service import record_all
from controller.auth.principal import CONTROLLER
from controller.database import counters
from controller.database.chunks import chunks
from controller.deployments.models import HostLock
from controller.fleet.models import Host

_host, _agent = Host.__table__, AgentRow.__table__


class Told(NamedTuple):
    """What is on record of one host's list; see models.AgentRow."""

    listed: str
    withheld: str
    stamp: int
    landed: str
    delivered: str
    head: str
    peer: str
    claimed_by: str


_TOLD = tuple(_agent.c[name] for name in Told._fields)


def read_told(session: Session) -> dict[int, Told]:
    """The lists on record, by the host's id."""
    rows = session.execute(select(_agent.c.host_id, *_TOLD))
    return {host_id: Told(*told) for host_id, *told in rows}


def entries(plans: Plans, told: dict[int, Told]) -> Iterator[tuple[str, Entry]]:
    """The lists as agents are told them, of the hosts that both know."""
    for host_id, row in told.items():
        planned = plans.hosts.get(host_id)
        if planned is None:
            continue
        listed = planned.list.digest if row.listed or _is_told(planned) else ""
        entry = Entry(host_id, planned.list.plugins, listed, row.stamp)
        entry.landed, entry.head = row.landed, row.head
        entry.peer = entry.kept_peer = row.peer
        entry.address, entry.claimed = planned.address, bool(row.claimed_by)
        entry.fits = fits_text(planned.fits)
        yield planned.name, entry


def write_lists(session: Session, plans: Plans, told: dict[int, Told]) -> bool:
    """Write lists that changed, each with a new stamp; says whether there were any.

    Args:
        told: what is on record now, in a transaction that has locked the counter of plans.
    """
    highest = max((row.stamp for row in told.values()), default=0)
    # No host of a name that was there before may begin with a lesser stamp.
    first = next_stamp(highest)
    new, changed = [], []
    for host_id, planned in sorted(plans.hosts.items()):
        row = told.get(host_id)
        if row is None:
            listed = planned.list.digest if _is_told(planned) else ""
            new.append({"host_id": host_id, "listed": listed, "stamp": first})
        elif row.listed != planned.list.digest and (row.listed or _is_told(planned)):
            changed.append(
                {
                    "host": host_id,
                    "new_listed": planned.list.digest,
                    "new_stamp": next_stamp(row.stamp),
                }
            )
    if new:
        there = set(session.scalars(select(Host.id)))  # one may be gone since
        new = [row for row in new if row["host_id"] in there]
    if new:
        session.execute(insert(AgentRow), new)
    if changed:
        # A heartbeat that another controller heard meanwhile may have given a later stamp.
        stamp = bindparam("new_stamp", type_=_agent.c.stamp.type)
        later = case((_agent.c.stamp < stamp, stamp), else_=_agent.c.stamp + 1)
        of_agent = update(AgentRow).where(_agent.c.host_id == bindparam("host"))
        session.connection().execute(
            of_agent.values(listed=bindparam("new_listed"), stamp=later), changed
        )
    _write_withheld(session, plans, told)
    return bool(new or changed)


def _write_withheld(session: Session, plans: Plans, told: dict[int, Told]) -> None:
    """Note what hosts are not told because their agents would die of it."""
    changes, notes = [], []
    for host_id, row in sorted(told.items()):
        planned = plans.hosts.get(host_id)
        if planned is not None and planned.withheld != row.withheld:
            changes.append({"host": host_id, "withheld": planned.withheld})
            before, after = (
                {"withheld": text} if text else None for text in (row.withheld, planned.withheld)
            )
            notes.append((planned.name, before, after))
    if changes:
        of_agent = update(AgentRow).where(_agent.c.host_id == bindparam("host"))
        _set(session, of_agent, ("withheld",), changes)
        record_all(session, CONTROLLER, "agent.withheld", "host", notes)


def _is_told(planned: Planned) -> bool:
    """Whether a host that had no list yet begins with this one.

    A Falcon agent may have plugins from elsewhere until something is bound to its host; an executor
    has those of its own file.
    """
    return planned.list.plugins != b"[]" or not planned.takes_lists


def look_again(session: Session) -> bool:
    """Let all agents look again; says whether there are any."""
    present = int(time.time())
    stamp = case((_agent.c.stamp < present, present), else_=_agent.c.stamp + 1)
    found = session.connection().execute(update(AgentRow).values(stamp=stamp))
    if found.rowcount:
        counters.advance(session, counters.PLANS)
    return bool(found.rowcount)


def write_deliveries(session: Session) -> bool:
    """Let agents look again whose hosts a deployment has just brought a release to.

    Returns:
        Whether there were any.
    """
    rows = session.execute(
        select(_host.c.id, _host.c.reported_commit, _agent.c.landed, _agent.c.stamp)
        .join(_agent, _agent.c.host_id == _host.c.id)
        .where(_host.c.reported_commit != _agent.c.delivered)
        .order_by(_host.c.id)
        .with_for_update(of=AgentRow)
    ).all()
    changes = [
        {
            "host": host_id,
            "delivered": commit,
            "landed": commit,
            "stamp": stamp if commit == landed else next_stamp(stamp),
        }
        for host_id, commit, landed, stamp in rows
    ]
    if changes:
        of_agent = update(AgentRow).where(_agent.c.host_id == bindparam("host"))
        _set(session, of_agent, ("delivered", "landed", "stamp"), changes)
    return bool(changes)


def write_seen(session: Session, plans: Plans, batch: Iterable[Seen]) -> bool:
    """Write heartbeats, and what they say about the hosts' states.

    Returns:
        Whether lists must be worked out anew, by what agents there are now.
    """
    overtaken = False
    by_id = {seen.host_id: seen for seen in batch}
    beats: list[dict[str, Any]] = []
    agents: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    for part in chunks(sorted(by_id)):
        for host_id, last, agent, standing in _records(session, part):
            seen = by_id[host_id]
            moment = datetime.fromtimestamp(seen.at, UTC) if seen.at else None
            if moment is not None and moment != last:
                beats.append({"host": host_id, "last_heartbeat": moment})
            planned = plans.hosts.get(host_id)
            columns = _agent_columns(seen, agent)
            if planned is not None:
                overtaken = overtaken or _is_overtaken(planned, plans, seen)
                verdict = judge(standing, planned, plans, seen)
                columns |= verdict.agent
                if verdict.host:
                    guard = {"seen": standing.state, "seen_plan": standing.reported_plan}
                    moves.append({"host": host_id, **guard, **verdict.host})
            if any(columns[name] != getattr(agent, name) for name in columns):
                agents.append({"host": host_id, **agent._asdict(), **columns})
    if beats:
        of_host = update(Host).where(_host.c.id == bindparam("host"))
        _set(session, of_host, ("last_heartbeat",), beats)
    if agents:
        of_agent = update(AgentRow).where(_agent.c.host_id == bindparam("host"))
        _set(session, of_agent, _WRITTEN, agents)
    _write_moves(session, moves)
    return overtaken


def _is_overtaken(planned: Planned, plans: Plans, seen: Seen) -> bool:
    """Whether a host may have to be told something else, as its agent or its release is another one."""
    if seen.landed in plans.numbers and seen.landed not in plans.looked_at:
        return True
    another = seen.at != 0 and reported_as(seen.version) != reported_as(planned.version)
    return planned.risky and (another or seen.landed != planned.landed)


_WRITTEN = ("version", "head", "ip", "peer", "stamp", "landed", "config", "config_plan")
_STANDING = ("state", "state_since", "reported_plan", "reported_commit")


class _Agent(NamedTuple):
    """The columns of `agents` that a heartbeat may change."""

    version: str
    head: str
    ip: str
    peer: str
    stamp: int
    landed: str
    config: str
    config_plan: str


def _records(
    session: Session, ids: Collection[int]
) -> Iterator[tuple[int, datetime | None, _Agent, Standing]]:
    """What is on record of these hosts, held until the transaction ends.

    Whoever deletes a host has its row first and its agent's then; so must this.
    """
    rows = session.execute(
        select(
            _host.c.id,
            _host.c.last_heartbeat,
            *(_host.c[name] for name in _STANDING),
            *(_agent.c[name] for name in _WRITTEN),
        )
        .join(_agent, _agent.c.host_id == _host.c.id)
        .where(_host.c.id.in_(ids))
        .order_by(_host.c.id)
        .with_for_update(of=[Host, AgentRow], key_share=True)
    )
    for host_id, last, *values in rows:
        agent = _Agent(*values[len(_STANDING) :])
        state, since, plan, commit = values[: len(_STANDING)]
        yield (
            host_id,
            last,
            agent,
            Standing(state, since, plan, commit, agent.config, agent.config_plan),
        )


def _agent_columns(seen: Seen, agent: _Agent) -> dict[str, Any]:
    """What a host that was heard changes; another controller may have given a later stamp."""
    columns: dict[str, Any] = {"stamp": max(seen.stamp, agent.stamp)}
    if seen.stamp >= agent.stamp:
        columns["landed"] = seen.landed
    if seen.at:
        columns |= {"version": seen.version, "head": seen.head, "ip": seen.ip}
        if agent.peer == seen.kept_peer:
            columns["peer"] = seen.peer
    return columns


def _write_moves(session: Session, moves: list[dict[str, Any]]) -> None:
    """Change hosts, unless a deployment holds them or they are no longer what was judged."""
    free = ~exists().where(HostLock.host_id == _host.c.id)
    by_columns: dict[frozenset[str], list[dict[str, Any]]] = {}
    for move in moves:
        by_columns.setdefault(frozenset(move), []).append(move)
    for names, rows in by_columns.items():
        statement = update(Host).where(
            _host.c.id == bindparam("host"),
            _host.c.state == bindparam("seen"),
            _host.c.reported_plan == bindparam("seen_plan"),
            free,
        )
        _set(session, statement, names - {"host", "seen", "seen_plan"}, rows)
    if moves:
        counters.advance(session, counters.STATES)


def _set(
    session: Session, statement: Update, columns: Iterable[str], rows: list[dict[str, Any]]
) -> None:
    """Run an update for each row, which holds these columns and the parameters of the condition."""
    # SQLAlchemy keeps a column's own name for itself.
    named = {name: f"new_{name}" for name in columns}
    session.connection().execute(
        statement.values({name: bindparam(parameter) for name, parameter in named.items()}),
        [{named.get(key, key): value for key, value in row.items()} for row in rows],
    )
