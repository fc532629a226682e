"""Outgoing TCP without blocking: one connection, a JSON-RPC client (Go's net/rpc/jsonrpc) and an
HTTP POST on it.
"""

from __future__ import annotations

import errno
import json
import os
import socket

from executor.loop import HANGUP, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.loop import Loop, Timer

RPC_TIMEOUT = 10.0
"""Seconds for one call, as in the agent (g/rpc.go)."""

_MAX_ANSWER = 4 << 20


class Connection:
    """A client connection. `on_closed(reason)` comes once, when it could not be opened or ended;
    not after close().
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
    ) -> None:
        self._loop = loop
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
            max(dial_timeout, RPC_TIMEOUT),
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
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as failure:
            self._fail(f"{self._where}: {failure.strerror}")
            return
        if data:
            self._on_data(data)
        else:
            self._fail(f"{self._where} closed the connection")

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError as failure:
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


class RpcError(Exception):
    """Why a call gave no result; `answered`: the server itself refused it (so the connection is
    sound).
    """

    def __init__(self, reason: str, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class JsonRpcClient:
    """One call at a time over a connection that stays open, as the agent does to hbs and transfer."""

    __slots__ = (
        "_connection",
        "_dial_timeout",
        "_done",
        "_input",
        "_loop",
        "_next_id",
        "_timer",
        "address",
    )

    def __init__(self, loop: Loop, address: tuple[str, int], dial_timeout: float) -> None:
        self._loop = loop
        self.address = address
        self._dial_timeout = dial_timeout
        self._connection: Connection | None = None
        self._done: Callable[[Any, RpcError | None], None] | None = None
        self._timer: Timer | None = None
        self._input = b""
        self._next_id = 0

    @property
    def busy(self) -> bool:
        return self._done is not None

    @property
    def local_ip(self) -> str:
        """This host's address on the way to the server; "" while not connected."""
        return self._connection.local_ip if self._connection is not None else ""

    def call(self, method: str, param: bytes, done: Callable[[Any, RpcError | None], None]) -> None:
        """Call `method` with `param` (JSON text). `done(result, error)` comes later, once."""
        assert self._done is None, "one call at a time"
        self._done = done
        self._timer = self._loop.call_later(
            RPC_TIMEOUT, self._lost, f"{self.address[0]}:{self.address[1]}: no answer within 10 s"
        )
        if self._connection is None:
            self._input = b""
            self._next_id = 0
            self._connection = Connection(
                self._loop, self.address, self._dial_timeout, self._received, self._lost
            )
        head = b'{"method":%s,"params":[' % json.dumps(method).encode("ascii")
        self._connection.send(head + param + b'],"id":%d}\n' % self._next_id)

    def close(self) -> None:
        """Forget the connection and any call."""
        self._done = None
        self._hang_up()

    def _hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lost(self, reason: str) -> None:
        self._hang_up()
        done, self._done = self._done, None
        if done is not None:
            done(None, RpcError(reason, answered=False))

    def _received(self, data: bytes) -> None:
        self._input += data
        line, end, rest = self._input.partition(b"\n")
        if not end:
            if len(self._input) > _MAX_ANSWER:
                self._lost("the answer is larger than 4 MiB")
            return
        self._input = rest
        try:
            answer = json.loads(line)
            number, result, error = answer["id"], answer["result"], answer["error"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._lost("the answer is not JSON-RPC")
            return
        if self._done is None or number != self._next_id:
            self._lost("an answer to no call")
            return
        self._next_id += 1
        if self._timer is not None:
            self._timer.cancel()
        done, self._done = self._done, None
        if error is None:
            done(result, None)
        else:
            done(None, RpcError(str(error), answered=True))


class HttpPost:
    """One POST of a JSON body. `done(status, body, error)` comes once; status 0 means that no
    answer came.
    """

    __slots__ = ("_connection", "_done", "_input", "_timer")

    def __init__(
        self,
        loop: Loop,
        target: tuple[str, int, str],
        body: bytes,
        dial_timeout: float,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        host, port, path = target
        self._done: Callable[[int, bytes, str], None] | None = done
        self._input = b""
        self._timer = loop.call_later(
            RPC_TIMEOUT, self._ended, f"{host}:{port}: no answer within 10 s"
        )
        self._connection = Connection(loop, (host, port), dial_timeout, self._received, self._ended)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._connection.send(head.encode("utf-8") + body)

    def cancel(self) -> None:
        self._done = None
        self._timer.cancel()
        self._connection.close()

    def _received(self, data: bytes) -> None:
        self._input += data
        head, end, body = self._input.partition(b"\r\n\r\n")
        if len(self._input) > _MAX_ANSWER:
            self._finish(0, b"", "the answer is larger than 4 MiB")
        elif end:
            length = _content_length(head)
            if length is not None and len(body) >= length:
                self._answer(head, body[:length])

    def _ended(self, reason: str) -> None:
        head, end, body = self._input.partition(b"\r\n\r\n")
        if end and _content_length(head) is None:
            self._answer(head, body)
        else:
            self._finish(0, b"", reason)

    def _answer(self, head: bytes, body: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            self._finish(0, b"", "the answer is not HTTP")
        else:
            self._finish(int(words[1]), body, "")

    def _finish(self, status: int, body: bytes, error: str) -> None:
        done = self._done
        self.cancel()
        if done is not None:
            done(status, body, error)


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None
