"""Live events of deployments: one reader of the database for all who follow a deployment.

Bytes are made once and handed to every follower; followers never hold a thread. One that comes late,
or cannot keep up, reads what it lacks from the database in pages of its own, so memory stays bounded
and nothing is lost.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from sqlalchemy import func, select

from controller.auth.principal import Principal
from controller.auth.service import still_valid
from controller.database.engine import Database
from controller.deployments import events
from controller.deployments.models import Deployment, RunEvent, Status
from controller.errors import Unavailable
from controller.fleet.access import EVERY_HOST

_POLL = 0.1  # seconds between looks for new events
_PAGE = 2_000  # events in one look
_KEPT = 64  # chunks that followers find without asking the database
_KEEP_ALIVE = 15.0  # seconds; proxies end what is silent for longer
_TOKENS_EVERY = 2.0  # seconds between looks whether the followers' tokens are still valid
_AFTER_TROUBLE = 1.0  # seconds before a database that did not answer is asked again

log = structlog.get_logger(__name__)


class Chunk(NamedTuple):
    """Events that follow event `after`, up to `last`, as they are sent."""

    after: int
    last: int
    data: bytes


def frame(deployment_id: int, row: Any) -> bytes:
    """One event in the form of Server-Sent Events (html.spec.whatwg.org, "Event stream format")."""
    # The data is JSON text already; JSON has no raw line breaks, so it is one line.
    text = (
        f'{{"id":{row.id},"deployment":{deployment_id},"wave":{row.wave},"counter":{row.counter},'
        f'"at":"{_moment(row.at)}","kind":{json.dumps(row.kind)},"host":{json.dumps(row.host)},'
        f'"data":{row.data}}}'
    )
    return f"id: {row.id}\nevent: {row.kind}\ndata: {text}\n\n".encode()


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")  # as the other answers have it


class Streams:
    """Everybody who follows deployments of this controller's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Threads of its own: followers must not take those that answer requests.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="follow")
        self._tails: dict[tuple[int, frozenset[str] | None], _Tail] = {}
        self._admitted = _Admitted(database, self._threads)

    async def close(self) -> None:
        """Let every follower's stream end."""
        await self._admitted.close()
        for tail in list(self._tails.values()):
            await tail.stop()
        self._threads.shutdown(wait=True)

    async def follow(self, by: Principal, deployment_id: int, after: int) -> AsyncIterator[bytes]:
        """Send the events after one, and those that come, until the deployment has ended.

        A stream whose token is revoked or expires ends within a few seconds.
        """
        limited = by.hostgroups
        key = (deployment_id, None if limited is None or EVERY_HOST in limited else limited)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = _Tail(self._database, self._threads, by, deployment_id)
        tail.followers += 1
        try:
            yield b": following\n\n"
            with self._admitted.enter(by) as leaving:
                async for data in tail.read(after, leaving):
                    yield data
        finally:
            tail.followers -= 1
            if not tail.followers:
                self._tails.pop(key, None)
                await tail.stop()


class _Admitted:
    """Whom streams are sent to: one question for all of their tokens, every other second."""

    def __init__(self, database: Database, threads: ThreadPoolExecutor) -> None:
        self._database = database
        self._threads = threads
        self._followers: dict[asyncio.Event, int | None] = {}
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Let everybody leave, now and from now on."""
        self._closing = True
        for leaving in self._followers:
            leaving.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def enter(self, by: Principal) -> Iterator[asyncio.Event]:
        """Give what is set when this follower has to leave."""
        leaving = asyncio.Event()
        self._followers[leaving] = by.token_id
        if self._closing:
            leaving.set()
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield leaving
        finally:
            del self._followers[leaving]

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._followers:
            await asyncio.sleep(_TOKENS_EVERY)
            asked = {id for id in self._followers.values() if id is not None}
            try:
                valid = await loop.run_in_executor(self._threads, self._valid, asked)
            except Unavailable as error:
                log.warning("cannot check the followers' tokens", error=str(error))
                continue
            for leaving, token_id in self._followers.items():
                if token_id in asked - valid:
                    leaving.set()

    def _valid(self, token_ids: set[int]) -> set[int]:
        with self._database.read() as session:
            return still_valid(session, token_ids)


class _Tail:
    """The end of one deployment's events, as those see it who may see the same hosts."""

    def __init__(
        self, database: Database, threads: ThreadPoolExecutor, by: Principal, deployment_id: int
    ) -> None:
        self.followers = 0
        self._database = database
        self._threads = threads
        self._by = by
        self._deployment_id = deployment_id
        self._chunks: deque[Chunk] = deque(maxlen=_KEPT)
        self._position: int | None = None  # of the newest event that was read
        self._end: bytes | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self, after: int, leaving: asyncio.Event) -> AsyncIterator[bytes]:
        """What follows an event, chunk by chunk, with a comment where nothing comes for long."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(after))
        while not leaving.is_set():
            news, end = self._news, self._end
            following = [chunk for chunk in self._chunks if chunk.after >= after]
            if following and following[0].after == after:
                for chunk in following:
                    yield chunk.data
                    after = chunk.last
                    if leaving.is_set():
                        return
            elif self._position is not None and after < self._position:
                chunk = await self._page(after, self._position)
                yield chunk.data
                after = chunk.last
            elif end is not None:
                yield end
                return
            elif not await _happens(news, leaving):
                yield b": nothing new\n\n"

    async def _watch(self, after: int) -> None:
        while self._end is None:
            try:
                if self._position is None:
                    # A reader may ask for what follows an event that there is not: the others count.
                    loop = asyncio.get_running_loop()
                    newest = await loop.run_in_executor(self._threads, self._newest)
                    self._position = min(after, newest)
                if not await self._look():
                    await asyncio.sleep(_POLL)
            except Unavailable as error:
                log.warning("cannot follow", deployment=self._deployment_id, error=str(error))
                await asyncio.sleep(_AFTER_TROUBLE)

    async def _look(self) -> bool:
        assert self._position is not None
        loop = asyncio.get_running_loop()
        ended, rows, data = await loop.run_in_executor(self._threads, self._fetch, self._position)
        if rows:
            self._chunks.append(Chunk(self._position, rows[-1].id, data))
            self._position = rows[-1].id
        # It had ended before these were read, so nothing follows what did not fill the page.
        if len(rows) < _PAGE:
            self._end = ended
        if not rows and self._end is None:
            return False
        news, self._news = self._news, asyncio.Event()
        news.set()
        return len(rows) == _PAGE or self._end is not None

    def _newest(self) -> int:
        with self._database.read() as session:
            return session.scalar(select(func.max(RunEvent.id))) or 0

    def _fetch(self, after: int) -> tuple[bytes | None, Sequence[Any], bytes]:
        with self._database.read() as session:
            # Whether it ended is read before the events: what was written last is not missed.
            deployment = session.get(Deployment, self._deployment_id)
            rows = events.read(session, self._deployment_id, after, _PAGE, by=self._by)
        return _end(deployment), rows, b"".join(frame(self._deployment_id, row) for row in rows)

    async def _page(self, after: int, until: int) -> Chunk:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._fetch_page, after, until)

    def _fetch_page(self, after: int, until: int) -> Chunk:
        with self._database.read() as session:
            rows = events.read(session, self._deployment_id, after, _PAGE, by=self._by, until=until)
        last = rows[-1].id if len(rows) == _PAGE else until
        return Chunk(after, last, b"".join(frame(self._deployment_id, row) for row in rows))


async def _happens(news: asyncio.Event, leaving: asyncio.Event) -> bool:
    """Wait for news or the end; False where neither came for a while."""
    waits = [asyncio.ensure_future(event.wait()) for event in (news, leaving)]
    try:
        done, _ = await asyncio.wait(
            waits, timeout=_KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)


def _end(deployment: Deployment | None) -> bytes | None:
    """The last thing that is sent of a deployment that has ended; None of one that has not."""
    if deployment is None:
        told = {"status": "deleted", "reason": ""}
    elif not Status(deployment.status).ended:
        return None
    else:
        told = {"status": deployment.status, "reason": deployment.reason}
    return f"event: end\ndata: {json.dumps(told)}\n\n".encode()
