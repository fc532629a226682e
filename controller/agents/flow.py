"""The heartbeat server at work: a thread with an event loop that answers agents, and one that writes what
they tell and follows what changes. The first never waits for the second, nor for the database.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session

from controller.agents import planned, recorder, unknown
from controller.agents.calls import Batch, Calls
from controller.agents.lists import Entry, Lists, save
from controller.agents.server import Limits, ListenError, Server, tls_context
from controller.agents.upstream import Upstream
from controller.auth.vault import Vault
from controller.database import counters
from controller.database.engine import Database
from controller.errors import PlugfleetError
from controller.operations.metrics import AGENT_UNWRITTEN_SECONDS
from controller.settings import Settings, split_address

log = structlog.get_logger(__name__)

PORT = 6030
"""hbs's own port."""
_EVERY = 1.0  # seconds between two looks for what is new, and two writes
_SAVE_EVERY = 15.0  # seconds between two copies of the lists on disk, while they change
_LOOK_AT_STATES_EVERY = 2.0  # seconds
_LOG_EVERY = 30.0  # seconds between log lines about a database that is away

Result = TypeVar("Result")


class Agents:
    """The heartbeat server of one controller.

    Between `start` and `follow` it answers out of the lists that were kept on disk.

    Attributes:
        port: where it listens, without TLS; 0 where it does not.
        tls_port: where it listens with TLS; 0 where it does not.
        kept: how many hosts' lists were on disk at the start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.data_dir / "agents.json"
        self._lists = Lists(self._file)
        self._upstream = _upstream(settings)
        self._calls = Calls(
            self._lists,
            settings.agents_trustable,
            self._upstream.forward if self._upstream else None,
        )
        self._server: Server | None = None
        self._follower: _Follower | None = None
        self.port = self.tls_port = self.kept = 0

    def start(self) -> None:
        """Take the lists that were kept, and begin to answer.

        Raises:
            ListenError: it cannot listen.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agents", daemon=True)
        self._thread.start()
        try:
            self._lists.load()
            self.kept = len(self._lists)
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except BaseException:
            self._end_loop()
            raise

    def follow(self, database: Database, vault: Vault) -> None:
        """Begin to write what agents tell, and to tell them what the database says."""
        self._follower = _Follower(database, vault, self._file, self._calls, self._lists, self.call)
        self._follower.start()

    def stop(self) -> None:
        """Close all connections, and write what is not written yet."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        if self._follower is not None:
            self._follower.stop()
        self._end_loop()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function in the event loop's thread."""

        async def run() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    async def _listen(self) -> None:
        settings = self._settings
        self._server = Server(self._calls, _limits(settings))
        if settings.agents_listen:
            self.port = await self._server.listen(*split_address(settings.agents_listen, PORT))
        if settings.agents_tls_listen:
            tls = _tls(settings)
            host, port = split_address(settings.agents_tls_listen, PORT + 1)
            self.tls_port = await self._server.listen(host, port, tls)
        if self._upstream is not None:
            self._upstream.start()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._upstream is not None:
            await self._upstream.stop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


def begin(settings: Settings) -> Agents | None:
    """Start the heartbeat server where the settings want one.

    Raises:
        ListenError: it cannot listen.
    """
    if not settings.agents_listen and not settings.agents_tls_listen:
        return None
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    agents = Agents(settings)
    agents.start()
    return agents


def _upstream(settings: Settings) -> Upstream | None:
    if not settings.agents_upstream:
        return None
    return Upstream(*split_address(settings.agents_upstream, PORT))


def _limits(settings: Settings) -> Limits:
    return Limits(
        networks=settings.agent_networks,
        connections=settings.agents_connections,
        of_one_address=settings.agents_connections_per_address,
        idle=settings.agents_idle,
    )


def _tls(settings: Settings) -> ssl.SSLContext:
    files = {
        "agents_tls_certificate": settings.agents_tls_certificate,
        "agents_tls_key": settings.agents_tls_key,
        "agents_tls_authority": settings.agents_tls_authority,
    }
    given = [file for file in files.values() if file is not None]
    if len(given) < len(files):
        missing = [name for name, file in files.items() if file is None]
        raise ListenError(f"agents_tls_listen needs {', '.join(missing)} too")
    return tls_context(*given)


class OnLoop(Protocol):
    """Runs a function in the event loop's thread, and waits for it."""

    def __call__(self, function: Callable[[], Result]) -> Result: ...


@dataclass
class _Place:
    """How far the database was followed."""

    plans: int = -1
    states: int = -1
    states_at: float = 0.0


class _Follower:
    """The thread between database and event loop."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        file: Path,
        calls: Calls,
        lists: Lists,
        on_loop: OnLoop,
    ) -> None:
        self._database = database
        self._vault = vault
        self._file = file
        self._calls = calls
        self._lists = lists
        self._on_loop = on_loop
        self._place = _Place()
        self._plans: planned.Plans | None = None
        self._put: dict[int, tuple[object, ...]] = {}
        self._behind_since = 0.0
        self._logged = 0.0
        self._changed, self._saved_at = False, 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agents-follower", daemon=True)

    def start(self) -> None:
        """Look once, and then go on looking."""
        self._try()
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
        try:
            self._follow_plans()
            self._write()
            self._follow_deliveries()
        except PlugfleetError as error:
            self._say("heartbeats wait for the database", error=str(error))
        except Exception:
            # The thread must outlive a surprise: without it agents would be told old lists in silence.
            log.exception("heartbeats are not written")

    def _say(self, words: str, **more: str) -> None:
        if time.monotonic() - self._logged > _LOG_EVERY:
            self._logged = time.monotonic()
            log.warning(words, **more)

    def _follow_plans(self) -> None:
        """Read what is planned, if that changed, and tell the agents."""
        with self._database.read() as session:
            number = counters.count(session, counters.PLANS)
            if number == self._place.plans:
                return
            plans = planned.read(session, self._vault)
            told = recorder.read_told(session)
        with self._database.write() as session:
            if recorder.write_lists(session, plans, told):
                session.flush()
                told = recorder.read_told(session)
            unknown.drop_known(session)
        self._plans = plans
        self._tell(told)
        self._place.plans = number

    def _follow_deliveries(self) -> None:
        """Let agents look again where a deployment brought a release."""
        moment = time.monotonic()
        if moment - self._place.states_at < _LOOK_AT_STATES_EVERY:
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
        assert self._plans is not None
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
        plans = self._plans
        if plans is None or not (batch.seen or batch.claims or batch.unknown):
            self._on_loop(lambda: self._calls.put_back(batch))
            AGENT_UNWRITTEN_SECONDS.set(0)
            return
        try:
            with self._database.write() as session:
                self._write_batch(session, plans, batch)
        except BaseException:
            self._on_loop(lambda: self._calls.put_back(batch))
            self._behind_since = self._behind_since or time.monotonic()
            AGENT_UNWRITTEN_SECONDS.set(time.monotonic() - self._behind_since)
            raise
        self._behind_since = 0.0
        AGENT_UNWRITTEN_SECONDS.set(0)

    def _write_batch(self, session: Session, plans: planned.Plans, batch: Batch) -> None:
        recorder.write_seen(session, plans, batch.seen)
        names = (
            {host_id: host.name for host_id, host in plans.hosts.items()} if batch.claims else {}
        )
        recorder.write_claims(session, names, batch.claims)
        for host_id in batch.claims:
            self._put.pop(host_id, None)  # what the event loop has by now is not what was put
        left = unknown.record_sightings(session, batch.unknown)
        unknown.apply_rules(session, self._vault, left)

    def _save(self) -> None:
        try:
            save(self._file, self._on_loop(self._lists.export))
        except OSError as error:
            log.warning("the lists are not kept on disk", file=str(self._file), error=str(error))
            return
        self._changed, self._saved_at = False, time.monotonic()
