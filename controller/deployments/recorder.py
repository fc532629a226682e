"""The one thread of a run that writes to the database: events and results, in batches.

Nothing that feeds it ever waits. While the database is away everything stays in memory and is
written afterwards, in the same order.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from controller.database.base import now
from controller.database.engine import Database
from controller.deployments import events
from controller.deployments.events import Event
from controller.deployments.models import Deployment, Status, Wave
from controller.deployments.results import Delivered, HostOutcome, record_results
from controller.errors import Unavailable

BATCH = 200  # entries
INTERVAL = 0.25  # seconds
_RETRY = 0.5  # seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WaveEnd:
    """How a wave ended."""

    status: Status
    reason: str
    exit_status: int | None


@dataclass(frozen=True)
class Waiting:
    """What a wave waits for, outside of its hosts; empty when it goes on."""

    reason: str


Entry = Event | HostOutcome | WaveEnd | Waiting


class Recorder:
    """Writes what one wave's run tells.

    Args:
        read: turns what is put in into entries; called in this thread, so that whoever puts
            something in is held up by nothing.
        give_up: asked while the database is away; once it says True, what is left is lost.
    """

    def __init__(
        self,
        database: Database,
        *,
        deployment_id: int,
        wave_id: int,
        wave: int,
        release: Delivered | None,
        read: Callable[[Any], Sequence[Entry]],
        give_up: Callable[[], bool],
    ) -> None:
        self._database = database
        self._deployment_id = deployment_id
        self._wave_id = wave_id
        self._wave = wave
        self._release = release
        self._read = read
        self._give_up = give_up
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="recorder")
        self._thread.start()

    def put(self, told: Any) -> None:
        """Take something that happened; never waits."""
        self._queue.put_nowait(told)

    def finish(self) -> bool:
        """Write everything that is left; returns whether all of it was written."""
        self._queue.put_nowait(None)
        self._thread.join()
        return not self._lost

    def _work(self) -> None:
        more = True
        while more:
            told, more = self._collect()
            entries: list[Entry] = []
            for entry in told:
                try:
                    entries += self._read(entry)
                except Exception:
                    # What cannot be understood must not stop what comes after it.
                    log.exception("an event could not be read")
            if entries:
                self._write(entries)

    def _collect(self) -> tuple[list[Any], bool]:
        told = [self._queue.get()]
        deadline = time.monotonic() + INTERVAL
        while told[-1] is not None and len(told) < BATCH:
            try:
                told.append(self._queue.get(timeout=max(0, deadline - time.monotonic())))
            except queue.Empty:
                return told, True
        if told[-1] is None:
            return told[:-1], False
        return told, True

    def _write(self, entries: Sequence[Entry]) -> None:
        while True:
            try:
                with self._database.write() as session:
                    self._store(session, entries)
                return
            except Unavailable as error:
                log.warning("events wait for the database", waiting=len(entries), error=str(error))
                if self._give_up():
                    self._lost += len(entries)
                    return
                time.sleep(_RETRY)
            except Exception:
                if len(entries) == 1:
                    log.exception("an event could not be written")
                    self._lost += 1
                    return
                for entry in entries:
                    self._write([entry])
                return

    def _store(self, session: Session, entries: Sequence[Entry]) -> None:
        outcomes = [entry for entry in entries if isinstance(entry, HostOutcome)]
        ends = [entry for entry in entries if isinstance(entry, WaveEnd)]
        told = [_as_event(entry) for entry in entries if not isinstance(entry, WaveEnd)]
        events.append(session, self._deployment_id, self._wave, told)
        if outcomes:
            deployment = session.get_one(Deployment, self._deployment_id)
            record_results(session, deployment, outcomes, self._release)
        if waits := [entry for entry in entries if isinstance(entry, Waiting)]:
            # As events.append locks it: to ask for more than one has may wait for each other.
            locked = {"key_share": True}
            deployment = session.get_one(Deployment, self._deployment_id, with_for_update=locked)
            if not Status(deployment.status).ended:
                deployment.reason = waits[-1].reason
        for end in ends:
            end_wave(session, session.get_one(Wave, self._wave_id), end, now())


def end_wave(session: Session, wave: Wave, end: WaveEnd, moment: datetime) -> None:
    """Write how a wave ended, unless that was written already."""
    if Status(wave.status).ended:
        return
    wave.status = end.status.value
    wave.reason = end.reason
    wave.exit_status = end.exit_status
    wave.ended = moment
    told = {"status": end.status.value, "reason": end.reason, "exit_status": end.exit_status}
    events.append(session, wave.deployment_id, wave.number, [Event("wave.ended", told)])


def _as_event(entry: Event | HostOutcome | Waiting) -> Event:
    if isinstance(entry, Event):
        return entry
    if isinstance(entry, Waiting):
        return Event("wave.waiting" if entry.reason else "wave.resumed", {"reason": entry.reason})
    told = {"status": entry.status.value, "message": entry.message}
    return Event("host.ended", told, host=entry.host)
