"""Between agents and the database: a thread that writes what agents tell, many at once, and tells them what
changed. While the database is away it keeps what is to be written, and agents keep being told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session

from controller.agents import claims, planned, recorder, unknown
from controller.agents.calls import Batch, Calls
from controller.agents.lists import Entry, Lists, save
from controller.agents.withholding import Guard
from controller.auth.vault import Vault
from controller.database import counters
from controller.database.engine import Database
from controller.errors import PlugfleetError
from controller.operations.metrics import AGENT_UNWRITTEN_SECONDS

log = structlog.get_logger(__name__)

_EVERY = 1.0  # seconds between two looks for what is new, and two writes
_SAVE_EVERY = 15.0  # seconds between two copies of the lists on disk, while they change
_LOOK_AT_STATES_EVERY = 2.0  # seconds
# Times that plans which changed while they were read are read again before they are told all the same.
_MOST_OVERTAKEN = 3
_LOOK_AGAIN = 10.0  # seconds before a release that could not be read is tried again
_LOG_EVERY = 30.0  # seconds between log lines about a database that is away

Result = TypeVar("Result")


class OnLoop(Protocol):
    """Runs a function in the event loop's thread, and waits for it."""

    def __call__(self, function: Callable[[], Result]) -> Result: ...


@dataclass
class _Place:
    """How far the database was followed."""

    plans: int = -1
    plans_at: float = 0.0
    states: int = -1
    states_at: float = 0.0
    overtaken: int = 0


class Follower:
    """The thread between database and event loop."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        guard: Guard,
        file: Path,
        calls: Calls,
        lists: Lists,
        on_loop: OnLoop,
    ) -> None:
        self._database = database
        self._vault = vault
        self._guard = guard
        self._file = file
        self._calls = calls
        self._lists = lists
        self._on_loop = on_loop
        self._remembers = lists.remembers
        self._place = _Place()
        self._overtaken = False  # agents, or their releases, are others than when plans were read
        # Without plans a heartbeat is written, and says nothing of its host's state.
        self._plans = planned.Plans({}, {}, "")
        self._put: dict[int, tuple[object, ...]] = {}
        self._behind_since = 0.0
        self._logged = 0.0
        self._changed, self._saved_at = False, 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agents-follower", daemon=True)

    def start(self) -> None:
        """Look once, and then go on looking."""
        self._try()
        if self._changed:
            self._save()
        self._thread.start()

    def stop(self) -> None:
        """Write what is left."""
        self._stopping.set()
        self._thread.join(60)
        self._try()
        self._save()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._try()
            if self._changed and time.monotonic() - self._saved_at > _SAVE_EVERY:
                self._save()

    def _try(self) -> None:
        """Take each step, whatever became of the ones before: a plan that cannot be read costs no heartbeat."""
        for step in (
            self._follow_plans,
            self._write,
            self._follow_agents,
            self._follow_deliveries,
        ):
            try:
                step()
            except PlugfleetError as error:
                self._say("heartbeats and lists wait for the database", error=str(error))
            except Exception as error:
                # The thread must outlive a surprise: without it agents would be told old lists in silence.
                self._say("heartbeats or lists are not followed", error=str(error), exc_info=True)

    def _say(self, words: str, **more: str | bool) -> None:
        if time.monotonic() - self._logged > _LOG_EVERY:
            self._logged = time.monotonic()
            log.warning(words, **more)

    def _follow_plans(self) -> None:
        """Read what is planned, if that changed, and tell the agents."""
        with self._database.read() as session:
            number = counters.count(session, counters.PLANS)
            if number == self._place.plans and not self._is_to_look_again():
                return
            plans = planned.read(session, self._vault)
        plans = self._guard.apply(plans)
        with self._database.write() as session:
            # Nobody else writes lists, or makes or deletes hosts, until this transaction ends.
            counters.lock(session, counters.PLANS)
            overtaken = counters.count(session, counters.PLANS) != number
            if overtaken and self._place.overtaken < _MOST_OVERTAKEN:
                # What is out of date must not be written over what another controller knows better.
                self._place.overtaken += 1
                return
            if not self._remembers and recorder.look_again(session):
                # After a restore of the database, agents have had later stamps than it knows of.
                number += 1
            told = recorder.read_told(session)
            if recorder.write_lists(session, plans, told):
                told = recorder.read_told(session)
            unknown.drop_known(session)
        self._place.overtaken = 0
        self._remembers = True
        self._plans = plans
        self._tell(told)
        self._place.plans, self._place.plans_at = number, time.monotonic()

    def _is_to_look_again(self) -> bool:
        """Whether lists were made while a release could not be read, some time ago."""
        return self._guard.unsure and time.monotonic() > self._place.plans_at + _LOOK_AGAIN

    def _follow_deliveries(self) -> None:
        """Let agents look again where a deployment brought a release."""
        moment = time.monotonic()
        early = moment - self._place.states_at < _LOOK_AT_STATES_EVERY
        if early or self._place.plans < 0:  # what is told is not known before the plans
            return
        with self._database.read() as session:
            number = counters.count(session, counters.STATES)
        if number == self._place.states:
            return
        with self._database.write() as session:
            told = None
            if recorder.write_deliveries(session):
                told = recorder.read_told(session)
        if told is not None:
            self._tell(told)
        self._place.states, self._place.states_at = number, moment

    def _tell(self, told: dict[int, recorder.Told]) -> None:
        """Hand what differs from what was handed over before to the event loop."""
        changed: list[tuple[str, Entry]] = []
        there: dict[int, tuple[object, ...]] = {}
        for name, entry in recorder.entries(self._plans, told):
            mark = (
                entry.listed,
                entry.stamp,
                entry.landed,
                entry.peer,
                entry.claimed,
                entry.address,
                entry.fits,
            )
            there[entry.host_id] = mark
            if self._put.get(entry.host_id) != mark:
                changed.append((name, entry))
        gone = [host_id for host_id in self._put if host_id not in there]
        gone += [] if self._put else self._kept_but_gone(there)
        self._on_loop(lambda: self._lists.put(changed, gone))
        self._put = there
        self._changed = self._changed or bool(changed or gone)

    def _kept_but_gone(self, there: Iterable[int]) -> list[int]:
        """Hosts of the file that the database has no more, at the first look."""
        kept = self._on_loop(lambda: {entry.host_id for entry in self._lists.entries()})
        return sorted(kept.difference(there))

    def _write(self) -> None:
        """Write what agents told; it is kept for the next time where that fails."""
        batch = self._on_loop(self._calls.take)
        try:
            # In two transactions: an adoption waits for whoever writes lists, who waits for the first.
            if batch.seen or batch.claims:
                with self._database.write() as session:
                    self._write_known(session, batch)
                batch = batch._replace(seen=[], claims={})
            if batch.unknown:
                with self._database.write() as session:
                    left = unknown.record_sightings(session, batch.unknown)
                    unknown.apply_rules(session, self._vault, left)
        except BaseException:
            self._on_loop(lambda: self._calls.put_back(batch))
            self._behind_since = self._behind_since or time.monotonic()
            AGENT_UNWRITTEN_SECONDS.set(time.monotonic() - self._behind_since)
            raise
        self._behind_since = 0.0
        AGENT_UNWRITTEN_SECONDS.set(0)

    def _follow_agents(self) -> None:
        """Let lists be worked out anew, by every controller, for agents that are others now."""
        if not self._overtaken:
            return
        # By itself: whoever changes plans locks their counter before any host.
        with self._database.write() as session:
            counters.advance(session, counters.PLANS)
        self._overtaken = False

    def _write_known(self, session: Session, batch: Batch) -> None:
        if recorder.write_seen(session, self._plans, batch.seen):
            self._overtaken = True
        claims.flag(session, batch.claims)
        for host_id in batch.claims:
            self._put.pop(host_id, None)  # what the event loop has by now is not what was put

    def _save(self) -> None:
        try:
            save(self._file, self._on_loop(self._lists.export))
        except OSError as error:
            log.warning("the lists are not kept on disk", file=str(self._file), error=str(error))
            return
        self._changed, self._saved_at = False, time.monotonic()
