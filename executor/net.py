"""One outgoing TCP connection that never blocks: looked up, dialled, written and read by the loop."""

from __future__ import annotations

import errno
import os
import socket

from executor.loop import HANGUP, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.loop import Loop, Timer

CALL_TIMEOUT = 10.0
"""Seconds for one call and its answer, as in the agent (g/rpc.go)."""

MAX_ANSWER = 4 << 20


class Connection:
    """A client connection. `on_closed(reason)` comes once, when it could not be opened or ended;
    not after close(). `tls` wraps the connected socket, see executor.tls.
    """

    __slots__ = (
        "_addresses",
        "_dial",
        "_dial_timeout",
        "_loop",
        "_on_closed",
        "_on_data",
        "_out",
        "_socket",
        "_tls",
        "_where",
        "local_ip",
        "opened",
    )

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        dial_timeout: float,
        on_data: Callable[[bytes], None],
        on_closed: Callable[[str], None],
        tls: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._where = "{}:{}".format(*address)
        self._dial_timeout = dial_timeout
        self._on_data = on_data
        self._on_closed: Callable[[str], None] | None = on_closed
        self._socket: socket.socket | None = None
        self._addresses: list[Any] = []
        self._out = b""
        self.opened = False
        self.local_ip = ""
        self._dial: Timer | None = loop.call_later(
            max(dial_timeout, CALL_TIMEOUT),
            self._fail,
            f"no answer from the resolver for {self._where}",
        )
        loop.resolve(address[0], address[1], self._resolved)

    def send(self, data: bytes) -> None:
        """Queue bytes; they go out when the connection is open."""
        self._out += data
        if self.opened:
            self._flush()

    def close(self) -> None:
        self._on_closed = None
        self._drop()

    def _resolved(self, addresses: list[Any], error: str) -> None:
        if self._on_closed is None:
            return
        self._addresses = addresses
        if error:
            # Never from inside the constructor: its caller does not hold the connection yet.
            self._loop.call_later(0, self._fail, error)
        else:
            self._connect_next()

    def _connect_next(self) -> None:
        family, address = self._addresses.pop(0)
        if self._dial is not None:
            self._dial.cancel()
        self._dial = self._loop.call_later(
            self._dial_timeout, self._refused, f"no answer within {self._dial_timeout:g} s"
        )
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            code = self._socket.connect_ex(address)
        except OSError as failure:
            code = failure.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS) or self._socket is None:
            self._loop.call_later(0, self._refused, os.strerror(code))
            return
        self._loop.watch(self._socket.fileno(), WRITE, self._connected)

    def _refused(self, reason: str) -> None:
        if self._addresses and self._on_closed is not None:
            self._close_socket()
            self._connect_next()
        else:
            self._fail(f"cannot connect to {self._where}: {reason}")

    def _connected(self, _events: int) -> None:
        assert self._socket is not None  # watched only while it is there
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refused(os.strerror(code))
            return
        if self._tls is None:
            self._open()
            return
        # TLS takes the descriptor over, and where it fails, closes it.
        self._loop.unwatch(self._socket.fileno())
        try:
            self._socket = self._tls(self._socket)
        except (OSError, ValueError) as failure:  # ValueError: a host that no certificate can name
            self._fail(f"{self._where}: {failure}")
            return
        self._shake_hands(0)

    def _shake_hands(self, _events: int) -> None:
        connection: Any = self._socket
        try:
            connection.do_handshake()
        except OSError as failure:
            wanted = _wanted(failure)
            if wanted:
                self._loop.watch(connection.fileno(), wanted, self._shake_hands)
            else:
                self._fail(f"{self._where}: TLS: {failure}")
            return
        self._open()

    def _open(self) -> None:
        assert self._socket is not None
        if self._dial is not None:
            self._dial.cancel()
        self.opened = True
        self.local_ip = self._socket.getsockname()[0]
        self._loop.watch(self._socket.fileno(), READ, self._ready)
        self._flush()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._socket is None or not events & (READ | HANGUP):
            return
        try:
            data = self._received(self._socket)
        except BlockingIOError:
            return
        except OSError as failure:
            if not _wanted(failure):
                self._fail(f"{self._where}: {failure.strerror}")
            return
        if data:
            self._on_data(data)
        else:
            self._fail(f"{self._where} closed the connection")

    def _received(self, connection: Any) -> bytes:
        data: bytes = connection.recv(65536)
        # What TLS has read ahead wakes no poll.
        while data and self._tls is not None and connection.pending():
            data += connection.recv(65536)
        return data

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError as failure:
            if not _wanted(failure):
                self._fail(f"{self._where}: {failure.strerror}")
                return
        events = READ | WRITE if self._out else READ
        self._loop.watch(self._socket.fileno(), events, self._ready)

    def _fail(self, reason: str) -> None:
        on_closed, self._on_closed = self._on_closed, None
        self._drop()
        if on_closed is not None:
            on_closed(reason)

    def _drop(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self.opened = False


def _wanted(failure: OSError) -> int:
    """What TLS waits for before it can go on; 0 where that is not the trouble."""
    kind = type(failure).__name__  # importing ssl costs memory that few need
    return {"SSLWantReadError": READ, "SSLWantWriteError": WRITE}.get(kind, 0)
