"""A way to PostgreSQL that a test can let fall silent, or end."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from sqlalchemy import make_url


class Network:
    """The way to a server that listens on a Unix socket, which can fall silent: nothing is refused,
    nothing is ended, nothing arrives.

    Args:
        database_url: of a database of that server.

    Attributes:
        port: where it is reached, on loopback.
    """

    def __init__(self, database_url: str) -> None:
        self._server = f"{make_url(database_url).query['host']}/.s.PGSQL.5432"
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._over = False
        self._threads = [threading.Thread(target=self._take)]
        self._threads[0].start()

    def url(self, database_url: str) -> str:
        """The URL of a database of the server by this way."""
        direct = make_url(database_url)
        return f"{direct.drivername}://{direct.username}@127.0.0.1:{self.port}/{direct.database}"

    def fall_silent(self) -> None:
        self._open.clear()

    def refuse(self) -> None:
        """End what is open, at both ends, and take nothing new, as a proxy that ends."""
        self._over = True
        for thread in self._threads:
            thread.join(5)
        self._listening.close()

    def come_back(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._over = True
        self._open.set()
        for thread in self._threads:
            thread.join(5)
        self._listening.close()

    def _take(self) -> None:
        while not self._over:
            if _ready(self._listening):
                client = self._listening.accept()[0]
                thread = threading.Thread(target=self._pass_on, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        self._open.wait()
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            other = {client: server, server: client}
            while not self._over:
                for ready in _ready(client, server):
                    data = ready.recv(65536)
                    self._open.wait()
                    if not data:
                        return
                    other[ready].sendall(data)


def _ready(*sockets: socket.socket) -> list[socket.socket]:
    """Those that something has come to, or that have ended."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ, each)
        return [key.data for key, _ in selector.select(0.1)]
