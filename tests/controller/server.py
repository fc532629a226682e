"""A real controller for tests: uvicorn on a loopback port, and a client with a token."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn

from controller.app import create_app
from controller.auth import service as auth
from controller.auth.models import Scope
from controller.auth.principal import CONTROLLER
from controller.web.deps import Context


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
        client = httpx2.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=30)
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
def serving(context: Context, token: str | None = None) -> Iterator[Api]:
    """Serve a controller until the block ends; `token` is the admin's, where it has one already."""
    config = uvicorn.Config(
        create_app(context), host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    # uvicorn would replace the signal handlers of the test's own process.
    server.capture_signals = _no_signals  # type: ignore[method-assign]
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
        server.should_exit = True
        thread.join(30)


@contextmanager
def _no_signals() -> Iterator[None]:
    yield
