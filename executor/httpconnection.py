"""One HTTP client: 10 s for its request to come in, 64 KiB of header, 8 MiB of body, one request a
connection.
"""

from __future__ import annotations

import socket

from executor.loop import HANGUP, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop, Timer

REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 30.0
MAX_HEAD = 64 * 1024
MAX_BODY = 8 << 20
ALL_BODIES = 16 << 20
LINGER_SECONDS = 2.0

# The stages of a connection.
_READING = 0
_WAITING = 1
_WRITING = 2
_CUTTING = 3
_LINGERING = 4

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Payload Too Large",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Request:
    """What a handler gets; it answers with `respond`, now or later, and once."""

    __slots__ = ("_connection", "body", "method", "path", "peer", "query")

    def __init__(self, connection: HttpConnection, method: str, target: str, body: bytes) -> None:
        self._connection = connection
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.body = body
        self.peer = connection.peer

    @property
    def from_loopback(self) -> bool:
        peer = self.peer[7:] if self.peer.startswith("::ffff:") else self.peer
        return peer == "::1" or peer.startswith("127.")

    def respond(
        self, body: str, status: int = 200, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        """Answer; no harm is done when the client has gone away meanwhile."""
        self._connection.answer(status, body.encode("utf-8", "replace"), content_type)


class Clients:
    """What the connections of one server share.

    open      those that are not closed
    buffered  bytes of their requests that are held
    handle    takes a whole request
    """

    __slots__ = ("buffered", "handle", "open")

    def __init__(self, handle: Callable[[Request], None]) -> None:
        self.open: set[HttpConnection] = set()
        self.buffered = 0
        self.handle = handle


class HttpConnection:
    """One client: read a request, wait for its answer, write it, close."""

    __slots__ = (
        "_clients",
        "_input",
        "_loop",
        "_out",
        "_refuse_bytes",
        "_socket",
        "_stage",
        "_timer",
        "_told_to_continue",
        "peer",
    )

    def __init__(self, clients: Clients, loop: Loop, client: socket.socket, peer: str) -> None:
        self._clients = clients
        self._loop = loop
        self._socket: socket.socket | None = client
        self.peer = peer
        self._input = bytearray()
        self._out = b""
        self._stage = _READING
        self._told_to_continue = False
        self._refuse_bytes = MAX_BODY * 2
        self._timer: Timer | None = loop.call_later(
            REQUEST_SECONDS, self.answer, 408, b"request took too long\n"
        )
        loop.watch(client.fileno(), READ, self._ready)
        clients.open.add(self)

    def close(self) -> None:
        if self._socket is None:
            return
        self._cancel_timer()
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._drop_input()
        self._clients.open.discard(self)

    def answer(
        self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        if self._socket is None or self._stage not in (_READING, _WAITING):
            return
        # A request that was refused half-way still comes in: see _finish.
        self._stage = _CUTTING if self._stage == _READING else _WRITING
        self._set_timer(ANSWER_SECONDS, self.close)
        self._out = answer_head(status, content_type, len(body)) + body
        self._drop_input()
        self._write()

    def _ready(self, events: int) -> None:
        if self._socket is None:
            return
        if self._out and events & WRITE:
            self._write()
        elif self._stage == _READING or self._stage == _LINGERING:
            self._read()
        elif events & HANGUP:
            self.close()

    def _read(self) -> None:
        assert self._socket is not None  # _ready looked
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._stage == _LINGERING:
            self._refuse_bytes -= len(data)
            if self._refuse_bytes <= 0:
                self.close()
        else:
            self._input += data
            self._clients.buffered += len(data)
            self._parse()

    def _parse(self) -> None:
        end = self._input.find(b"\r\n\r\n")
        if end < 0:
            if len(self._input) > MAX_HEAD:
                self.answer(431, b"header larger than 64 KiB\n")
            return
        if end > MAX_HEAD:
            self.answer(431, b"header larger than 64 KiB\n")
            return
        head = bytes(self._input[:end]).decode("latin-1").split("\r\n")
        words = head[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            self.answer(400, b"not an HTTP/1.1 request\n")
            return
        headers = _headers(head[1:])
        if "transfer-encoding" in headers:
            self.answer(411, b"send a Content-Length\n")
            return
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            self.answer(400, b"Content-Length is not a number\n")
            return
        if int(length[:12]) > MAX_BODY or self._clients.buffered > ALL_BODIES:
            self.answer(413, b"body larger than 8 MiB\n")
            return
        if len(self._input) - end - 4 < int(length):
            if headers.get("expect", "").lower() == "100-continue" and not self._told_to_continue:
                self._told_to_continue = True
                self._continue()
            return
        body = bytes(self._input[end + 4 : end + 4 + int(length)])
        self._stage = _WAITING
        self._cancel_timer()
        self._drop_input()
        assert self._socket is not None  # it was just read from
        self._loop.watch(self._socket.fileno(), 0, self._ready)
        self._clients.handle(Request(self, words[0], words[1], body))

    def _continue(self) -> None:
        assert self._socket is not None  # a request is being read
        try:
            self._socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        except OSError:
            self.close()

    def _drop_input(self) -> None:
        self._clients.buffered -= len(self._input)
        self._input = bytearray()

    def _write(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            self._loop.watch(self._socket.fileno(), WRITE, self._ready)
            return
        except OSError:
            self.close()
            return
        self._finish()

    def _finish(self) -> None:
        """The answer is out. Closing with unread input would reset the connection, and could take
        the answer with it: what is left of a request that was refused half-way is read first, for
        2 s and 16 MiB at most.
        """
        assert self._socket is not None  # _write looked
        if self._stage != _CUTTING:
            self.close()
            return
        self._stage = _LINGERING
        self._set_timer(LINGER_SECONDS, self.close)
        self._loop.watch(self._socket.fileno(), READ, self._ready)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def _set_timer(self, seconds: float, callback: Callable[..., None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, callback)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def answer_head(status: int, content_type: str, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
