"""What agents say of their plugins, host by host: kept when a visit looked, and read for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.orm import Session, joinedload

from agentplugin import names
from controller.auth.principal import Principal
from controller.database.base import now
from controller.database.chunks import chunks
from controller.fleet.access import seen_by
from controller.fleet.models import Host
from controller.plugins.models import MOST_KEY, MOST_REASON, MOST_STATE, HostPlugin

MOST_PLUGINS = 1000
"""Plugins of one host that are kept."""


class PluginState(NamedTuple):
    """What an agent says of one plugin: its key in `/plugins`, a word, and why."""

    plugin: str
    state: str
    reason: str


def states_of(told: Any) -> list[PluginState] | None:
    """The states in what a visit told, `[[plugin, state, reason], ...]`; None where it saw none."""
    if not isinstance(told, list | tuple):
        return None
    found: dict[str, PluginState] = {}
    for entry in told[:MOST_PLUGINS]:
        if isinstance(entry, list | tuple) and len(entry) == 3:
            key, state, reason = (str(part) for part in entry)
            state, reason = state[:MOST_STATE], reason[:MOST_REASON]
            found[key[:MOST_KEY]] = PluginState(key[:MOST_KEY], state, reason)
    return list(found.values())


def keep(session: Session, told: Mapping[int, Sequence[PluginState]]) -> None:
    """Replace what is known of some hosts' plugins, by the hosts' ids.

    Args:
        told: for each host every plugin of it; those that are not named are forgotten.
    """
    moment = now()
    for part in chunks(sorted(told)):
        # Two that tell of one host come one after the other, and a host that is gone stays gone.
        held = select(Host.id).where(Host.id.in_(part)).order_by(Host.id).with_for_update()
        hosts = list(session.scalars(held))
        known = _known(session, hosts)
        made, moved, reworded = [], [], []
        for host_id in hosts:
            for state in told[host_id]:
                before = known.pop((host_id, state.plugin), None)
                if before is None:
                    made.append(_row(host_id, state, moment))
                elif before[1] != state.state:
                    changes = {"state": state.state, "reason": state.reason, "since": moment}
                    moved.append({"id": before[0], **changes})
                elif before[2] != state.reason:
                    reworded.append({"id": before[0], "reason": state.reason})
        for gone in chunks(number for number, *_ in known.values()):
            session.execute(delete(HostPlugin).where(HostPlugin.id.in_(gone)))
        for rows in (moved, reworded):
            if rows:
                session.execute(update(HostPlugin), rows)
        if made:
            session.execute(insert(HostPlugin), made)
        # Last, for all at once: most visits find what the one before found.
        session.execute(update(HostPlugin).where(HostPlugin.host_id.in_(hosts)).values(seen=moment))


def on_hosts(by: Principal, folder: str, states: Sequence[str]) -> Select[Any]:
    """The rows of one plugin on the hosts that a token sees, each with its host's name."""
    query = select(HostPlugin).join(Host, Host.id == HostPlugin.host_id)
    query = query.where(HostPlugin.folder == folder, seen_by(by))
    query = query.options(joinedload(HostPlugin.host))
    return query.where(HostPlugin.state.in_(states)) if states else query


def counts(session: Session, by: Principal, folder: str) -> dict[str, int]:
    """How many rows of one plugin are in each state, on the hosts that a token sees."""
    query = (
        select(HostPlugin.state, func.count())
        .join(Host, Host.id == HostPlugin.host_id)
        .where(HostPlugin.folder == folder, seen_by(by))
        .group_by(HostPlugin.state)
        .order_by(HostPlugin.state)
    )
    return {state: number for state, number in session.execute(query)}


def folder_of(key: str) -> str:
    """The folder that a key of `/plugins` is of: a script's directory, or a manifest plugin's own."""
    path, bracket, _ = key.partition("(")
    above, _, name = path.rpartition("/")
    return (above or ".") if bracket or names.parse_step(name) is not None else path


def _known(session: Session, hosts: Sequence[int]) -> dict[tuple[int, str], tuple[int, str, str]]:
    query = select(
        HostPlugin.host_id, HostPlugin.plugin, HostPlugin.id, HostPlugin.state, HostPlugin.reason
    ).where(HostPlugin.host_id.in_(hosts))
    return {
        (host_id, plugin): (number, state, reason)
        for host_id, plugin, number, state, reason in session.execute(query)
    }


def _row(host_id: int, state: PluginState, moment: Any) -> dict[str, Any]:
    return {
        "host_id": host_id,
        "plugin": state.plugin,
        "folder": folder_of(state.plugin),
        "state": state.state,
        "reason": state.reason,
        "since": moment,
        "seen": moment,
    }
