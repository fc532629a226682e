"""A real controller for tests: uvicorn on a loopback port, and a client with a token."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from controller.app import create_app
from controller.auth import service as auth
from controller.auth.models import Scope
from controller.auth.principal import CONTROLLER
from controller.web.deps import Context

# Nobody speaks TLS here; reading the machine's authorities for each client takes longer than a test.
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Seconds that requests may take to end when the controller stops.
_GRACE = 2.0
# Applications that serve no controller at the moment. FastAPI builds an application's routes when
# they are first asked for, which takes longer than most tests; what a controller has open is
# opened and closed with every start.
_idle: list[FastAPI] = []


@dataclass
class Api:
    """A controller that answers at `url`.

    Attributes:
        client: sends requests with the admin token, relative to /api/v1.
        token: the admin token.
    """

    url: str
    token: str
    context: Context
    client: httpx2.Client = field(init=False)
    _clients: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.client = self.connect(self.token)

    def close(self) -> None:
        """Close every client's connections."""
        self._clients.close()

    def connect(self, token: str | None) -> httpx2.Client:
        """A client with another token, or none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx2.Client(
            base_url=f"{self.url}/api/v1/", headers=headers, timeout=30, verify=_TLS
        )
        return self._clients.enter_context(client)

    def token_of(self, scope: Scope, hostgroups: list[str] | None = None) -> str:
        """A new token of a scope."""
        with self.context.database.write() as session:
            name = f"{scope}-{time.monotonic_ns()}"
            return auth.create(session, CONTROLLER, name=name, scope=scope, hostgroups=hostgroups)[
                1
            ]

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON of a GET, which must be answered with `status`."""
        return self.send("GET", path, status, **options)

    def send(self, method: str, path: str, status: int, **options: Any) -> Any:
        """The JSON of a request, which must be answered with `status`; None where there is none."""
        response = self.client.request(method, path, **options)
        assert response.status_code == status, (
            f"{method} {path}: {response.status_code} {response.text}"
        )
        return response.json() if response.content else None


@contextmanager
def serving(
    context: Context, token: str | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Api]:
    """Serve a controller until the block ends.

    Args:
        token: the admin's, where it has one already.
        host: address to listen on; the tests use it by loopback whatever that is.
        port: 0 is any.
    """
    app = _idle.pop() if _idle else create_app(context)
    app.state.context = context
    server = _Server(uvicorn.Config(app, host=host, port=port, lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run, name="controller", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the controller did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    with context.database.write() as session:
        token = auth.first_token(session) or token
    assert token
    api = Api(f"http://127.0.0.1:{port}", token, context)
    try:
        yield api
    finally:
        api.close()
        server.end()
        thread.join(30)
        assert not thread.is_alive(), "the controller did not stop"
        _idle.append(app)


class _Server(uvicorn.Server):
    """Starts and stops as uvicorn does, but at once: that looks every tenth of a second whether to.

    It also leaves the signal handlers of the tests' own process alone: it runs in a thread.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Let it stop."""
        self._loop.result(30).call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop.set_result(asyncio.get_running_loop())
        await self._ending.wait()

    async def shutdown(self, sockets: Any = None) -> None:
        state = self.server_state
        for server in self.servers:
            server.close()
        for connection in list(state.connections):
            connection.shutdown()
        deadline = time.monotonic() + _GRACE
        while (state.connections or state.tasks) and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()
