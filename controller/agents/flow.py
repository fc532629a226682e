"""The heartbeat server at work: a thread with an event loop that answers agents, and one between that and
the database (see follower). The first never waits for the second.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

from controller.agents.calls import Calls
from controller.agents.follower import Follower
from controller.agents.lists import Lists
from controller.agents.server import Limits, ListenError, Server, tls_context
from controller.agents.upstream import Upstream
from controller.agents.withholding import Guard
from controller.auth.vault import Vault
from controller.catalog.flow import Publisher
from controller.database.engine import Database
from controller.settings import Settings, split_address

PORT = 6030
"""hbs's own port."""

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
        self._follower: Follower | None = None
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

    def follow(self, database: Database, vault: Vault, publisher: Publisher) -> None:
        """Begin to write what agents tell, and to tell them what the database says.

        Args:
            publisher: knows what agents die of in releases.
        """
        guard = Guard(publisher)
        self._follower = Follower(
            database, vault, guard, self._file, self._calls, self._lists, self.call
        )
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
