"""JSON-RPC as Go's net/rpc/jsonrpc speaks it, to hbs and to transfer: one JSON object a line,
params a list of one.
"""

from __future__ import annotations

import json

from executor.net import CALL_TIMEOUT, MAX_ANSWER, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from executor.loop import Loop, Timer


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
        "_tls",
        "address",
    )

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        dial_timeout: float,
        tls: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        self._loop = loop
        self._tls = tls
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
            CALL_TIMEOUT, self._lost, f"{self.address[0]}:{self.address[1]}: no answer within 10 s"
        )
        if self._connection is None:
            self._input = b""
            self._next_id = 0
            self._connection = Connection(
                self._loop,
                self.address,
                self._dial_timeout,
                self._received,
                self._lost,
                self._tls,
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
            if len(self._input) > MAX_ANSWER:
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
