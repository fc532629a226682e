"""Keeping hosts' stored states in step with their plans, beside whatever changes the plans.

A binding may change the plans of 10,000 hosts. Working all of them out takes most of a second, in which
SQLite would have no other writer; so it is done after the change, by a thread of its own, and each host
is written only if it still is what was looked at.
"""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy import bindparam, select, update

from controller.auth.vault import Vault
from controller.catalog import releaserows
from controller.database import counters
from controller.database.base import now
from controller.database.engine import Database
from controller.errors import PlugfleetError
from controller.fleet.models import Host
from controller.plans.service import digests, effective_state

log = structlog.get_logger(__name__)

_LOOK_EVERY = 1.0  # seconds
# Deployments and heartbeats change states all the time; seldom so that a plan's state changes by it.
_LOOK_AT_STATES_EVERY = 30.0  # seconds


def follow_plans(database: Database, vault: Vault) -> int:
    """Set the state of every host whose plan is not what its state says; returns how many."""
    with database.read() as session:
        newest = releaserows.newest(session)
        wanted = newest.number if newest else None
        plans = digests(session, vault)
        rows = session.execute(select(Host.id, Host.state, Host.reported_plan, Host.wanted_release))
        changes = []
        for host_id, state, reported, release in rows:
            # A host that was added a moment ago is looked at the next time.
            fitting = effective_state(state, reported, plans.get(host_id, reported))
            if fitting != state or release != wanted:
                changes.append(
                    {
                        "host": host_id,
                        "seen": state,
                        "seen_plan": reported,
                        "fitting": fitting.value,
                        "wanted": wanted,
                        "moment": now(),
                    }
                )
    if not changes:
        return 0
    table = Host.__table__
    guarded = (
        update(Host)
        .where(
            table.c.id == bindparam("host"),
            table.c.state == bindparam("seen"),
            table.c.reported_plan == bindparam("seen_plan"),
        )
        .values(wanted_release=bindparam("wanted"))
    )
    moved = [change for change in changes if change["fitting"] != change["seen"]]
    with database.write() as session:
        connection = session.connection()
        connection.execute(guarded, changes)
        if moved:
            connection.execute(
                guarded.values(state=bindparam("fitting"), state_since=bindparam("moment")), moved
            )
            counters.advance(session, counters.STATES)
    return len(changes)


class PlanWatch:
    """The thread that lets states follow plans, from `start` to `stop`."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plan-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End watching, and wait for it."""
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        plans, states, looked_at = -1, -1, 0.0
        while True:
            try:
                with self._database.read() as session:
                    seen_plans = counters.count(session, counters.PLANS)
                    seen_states = counters.count(session, counters.STATES)
                late = time.monotonic() - looked_at > _LOOK_AT_STATES_EVERY
                if seen_plans != plans or (seen_states != states and late):
                    follow_plans(self._database, self._vault)
                    plans, states, looked_at = seen_plans, seen_states, time.monotonic()
            except PlugfleetError as error:
                log.warning("states do not follow plans", error=str(error))
            except Exception:
                # The thread must outlive a surprise: without it states would stand still in silence.
                log.exception("states do not follow plans")
            if self._stopping.wait(_LOOK_EVERY):
                return
