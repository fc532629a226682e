"""Open-Falcon's ways in: transfer by JSON-RPC (`Transfer.Update`) and by HTTP, and a local agent's
/v1/push.
"""

from __future__ import annotations

from executor.config import split_address, split_url
from executor.httppost import HttpPost
from executor.jsonrpc import JsonRpcClient
from executor.sink import Sink, as_list, random_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.journal import Journal
    from executor.jsonrpc import RpcError
    from executor.log import Log
    from executor.loop import Loop

# What a server says when the content itself is the trouble; anything else may pass with time.
REFUSED_STATUS = (400, 413, 422)


class TransferRpc(Sink):
    """Falcon transfer's `Transfer.Update` over TCP: one of `transfer.addrs` at random, the next
    one on an error.
    """

    name = "transfer-rpc"
    __slots__ = ("_clients",)

    def __init__(
        self, loop: Loop, log: Log, journal: Journal, folder: str, addrs: list[str], timeout: float
    ) -> None:
        super().__init__(loop, log, journal, folder)
        self._clients = [JsonRpcClient(loop, split_address(addr), timeout) for addr in addrs]
        first = int(random_share() * len(self._clients))
        self._clients = self._clients[first:] + self._clients[:first]

    def _send(self, lines: list[bytes]) -> None:
        self._clients[0].call("Transfer.Update", as_list(lines), self._answered)

    def _answered(self, result: Any, error: RpcError | None) -> None:
        if error is None:
            invalid = result.get("Invalid", 0) if isinstance(result, dict) else 0
            if isinstance(invalid, int) and invalid > 0:
                self.last_error = f"transfer dropped {invalid} of {len(self._pending)} metrics"
            self._taken()
            return
        self._clients.append(self._clients.pop(0))
        self._not_taken(str(error), error.answered and _is_about_content(str(error)))

    def stop(self) -> None:
        super().stop()
        for client in self._clients:
            client.close()


class HttpSink(Sink):
    """POST of a Falcon JSON list: transfer's /api/push, or the /v1/push of an agent on this host."""

    __slots__ = ("_post", "_target", "_timeout")

    def __init__(
        self, loop: Loop, log: Log, journal: Journal, folder: str, url: str, timeout: float
    ) -> None:
        super().__init__(loop, log, journal, folder)
        self._target = split_url(url)
        self._timeout = timeout
        self._post: HttpPost | None = None

    def _send(self, lines: list[bytes]) -> None:
        self._post = HttpPost(
            self._loop, self._target, as_list(lines), self._timeout, self._answered
        )

    def _answered(self, status: int, body: bytes, error: str) -> None:
        if status == 200:
            self._taken()
            return
        said = body[:200].decode("utf-8", "replace").strip()
        host, port, path = self._target
        reason = error or f"http://{host}:{port}{path} answered {status}: {said}"
        self._not_taken(reason, status in REFUSED_STATUS)

    def stop(self) -> None:
        super().stop()
        if self._post is not None:
            self._post.cancel()


class TransferHttp(HttpSink):
    name = "transfer-http"
    __slots__ = ()


class AgentPush(HttpSink):
    name = "agent-push"
    __slots__ = ()


def _is_about_content(error: str) -> bool:
    return error.startswith(("json:", "invalid character", "unexpected end of JSON"))
