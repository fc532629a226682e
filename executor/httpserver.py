"""A small HTTP/1.1 server inside the loop, built to be left alone with bad clients: at most 64 at
a time.
"""

from __future__ import annotations

import contextlib
import os
import socket

from executor.errors import ConfigError
from executor.httpconnection import Clients, HttpConnection, Request, answer_head
from executor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop

MAX_CONNECTIONS = 64


class HttpServer:
    """Listens on `address` and hands whole requests to `handle`."""

    __slots__ = ("_clients", "_loop", "_socket", "address")

    def __init__(
        self, loop: Loop, address: tuple[str, int], handle: Callable[[Request], None]
    ) -> None:
        self._loop = loop
        self._clients = Clients(handle)
        self._socket = _listen(address)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        loop.watch(self._socket.fileno(), READ, self._accept)

    def close(self) -> None:
        """Stop listening; answers on their way are cut."""
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        for connection in list(self._clients.open):
            connection.close()

    def stop_listening(self) -> None:
        """Take no more requests, but let those that are here be answered."""
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()

    def _accept(self, _events: int) -> None:
        try:
            client, peer = self._socket.accept()
        except OSError as error:
            # Out of descriptors: the level-triggered loop would spin, so look away for a moment.
            if not isinstance(error, (BlockingIOError, ConnectionAbortedError)):
                self._loop.unwatch(self._socket.fileno())
                self._loop.call_later(1.0, self._listen_again)
            return
        client.setblocking(False)
        if len(self._clients.open) >= MAX_CONNECTIONS:
            self._refuse(client)
            return
        HttpConnection(self._clients, self._loop, client, peer[0])

    def _listen_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.watch(self._socket.fileno(), READ, self._accept)

    @staticmethod
    def _refuse(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.send(answer_head(503, "text/plain; charset=utf-8", 0))
        client.close()


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        )
        raise ConfigError("cfg.json:", "http.listen", f"{host}:{port}: {reason}") from None
    listener.setblocking(False)
    return listener
