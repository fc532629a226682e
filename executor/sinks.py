"""Where metrics go: each sink reads the journal at its own pace, in order, and only moves on when
it was told "taken".

Falcon transfer by JSON-RPC and by HTTP, a local agent's /v1/push, and a JSON lines file. A sink
that is down backs off from 1 to 60 s with jitter; what it refuses for good is narrowed down to the
one line and counted.
"""

from __future__ import annotations

import json
import os
import time

from executor.config import split_address, split_url
from executor.journal import Cursor, Journal
from executor.net import HttpPost, JsonRpcClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.config import Config
    from executor.log import Log
    from executor.loop import Loop, Timer
    from executor.net import RpcError

_GATHER_SECONDS = 0.25
_BACK_OFF_FIRST = 1.0
_BACK_OFF_MOST = 60.0
_CHUNK_BYTES = 128 * 1024
_CHUNK_LINES = 500

# What a server says when the content itself is the trouble; anything else may pass with time.
_REFUSED_STATUS = (400, 413, 422)


class Sink:
    """Base: cursor, back-off and counters. A subclass sends lines and answers with `_taken` or
    `_not_taken`.
    """

    name = ""

    __slots__ = (
        "_busy",
        "_cursor_fd",
        "_failures",
        "_folder",
        "_journal",
        "_limit",
        "_log",
        "_loop",
        "_pending",
        "_start",
        "_timer",
        "cursor",
        "delivered",
        "dropped",
        "last_delivery",
        "last_error",
        "refused",
    )

    def __init__(self, loop: Loop, log: Log, journal: Journal, folder: str) -> None:
        self._loop = loop
        self._log = log
        self._journal = journal
        self._folder = folder
        self._busy = False
        self._timer: Timer | None = None
        self._pending: list[bytes] = []
        self._start = Cursor(0, 0)
        self._limit = _CHUNK_LINES
        self._failures = 0
        self.delivered = 0
        self.dropped = 0
        self.refused = 0
        self.last_error = ""
        self.last_delivery = 0.0
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._cursor_fd = os.open(os.path.join(folder, f"cursor.{self.name}"), flags, 0o640)
        self.cursor = self._read_cursor()

    def poke(self) -> None:
        """There is something to send: gather a moment, so that many plugins make one message."""
        if not self._busy and self._timer is None:
            self._timer = self._loop.call_later(_GATHER_SECONDS, self._flush)

    def flush_now(self) -> None:
        """The executor stops: try once, at once, back-off or not."""
        if not self._busy:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()

    @property
    def waiting(self) -> int:
        """Lines that are not delivered yet."""
        return self._journal.end.line - self.cursor.line

    @property
    def busy(self) -> bool:
        return self._busy

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        os.close(self._cursor_fd)

    def view(self) -> dict[str, Any]:
        """For `/sinks`."""
        return {
            "delivered": self.delivered,
            "waiting": self.waiting,
            "dropped": self.dropped,
            "refused": self.refused,
            "lastError": self.last_error,
            "lastDelivery": int(self.last_delivery),
        }

    def _send(self, lines: list[bytes]) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        self._timer = None
        lines, start = self._journal.read(self.cursor, _CHUNK_BYTES)
        if start.line > self.cursor.line:
            lost = start.line - self.cursor.line
            self.dropped += lost
            self._log.warning(f"{self.name}: {lost} metrics dropped, the spool was full")
            self._move(start)
        if not lines:
            return
        self._start = start
        self._pending = lines[: self._limit]
        self._busy = True
        self._send(self._pending)

    def _taken(self) -> None:
        if self._failures:
            self._log.info(f"{self.name}: delivers again, {self.waiting} metrics waited")
        self._failures = 0
        self.delivered += len(self._pending)
        self.last_delivery = time.time()
        self._limit = min(_CHUNK_LINES, self._limit * 2)
        self._advance()

    def _not_taken(self, reason: str, for_good: bool) -> None:
        if for_good and len(self._pending) == 1:
            self.refused += 1
            shown = self._pending[0].decode("utf-8", "replace")
            self._log.warning(f"{self.name}: refused one metric for good ({reason}): {shown[:500]}")
            self.last_error = reason
            self._advance()
            return
        if for_good:
            # One bad line spoils the whole message: halve it until the line stands alone.
            self._limit = len(self._pending) // 2
            delay = 0.0
        else:
            delay = self._back_off(reason)
        self._busy = False
        self._pending = []
        self._timer = self._loop.call_later(delay, self._flush)

    def _back_off(self, reason: str) -> float:
        if reason != self.last_error or not self._failures:
            self._log.warning(f"{self.name}: {reason}; metrics wait in the spool")
        self.last_error = reason
        longest: float = min(_BACK_OFF_MOST, _BACK_OFF_FIRST * 2 ** min(self._failures, 10))
        self._failures += 1
        return longest * (0.5 + _random_share() / 2)

    def _advance(self) -> None:
        self._move(Journal.after(self._start, self._pending))
        self._busy = False
        self._pending = []
        if self.waiting > 0:
            self._timer = self._loop.call_later(0, self._flush)

    def _move(self, cursor: Cursor) -> None:
        self.cursor = cursor
        # One small write in place: kill -9 leaves the old or the new text, and at worst a message
        # is sent twice.
        try:
            os.pwrite(self._cursor_fd, b"%015d %015d\n" % (cursor.offset, cursor.line), 0)
        except OSError as error:
            self._log.error(f"{self._folder}/cursor.{self.name}: {error.strerror}")

    def _read_cursor(self) -> Cursor:
        words = os.pread(self._cursor_fd, 32, 0).split()
        end = self._journal.end
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            found = Cursor(int(words[0]), int(words[1]))
            # Past the end: the journal was removed. Then what comes from now on is what is new.
            return found if found.offset <= end.offset and found.line <= end.line else end
        self._move(end)
        return end


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
        first = int(_random_share() * len(self._clients))
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
        self._not_taken(reason, status in _REFUSED_STATUS)

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


class JsonLines(Sink):
    """A file with one metric a line, turned into `.1` when it is full."""

    name = "jsonl"
    __slots__ = ("_max_bytes", "_path")

    def __init__(
        self, loop: Loop, log: Log, journal: Journal, folder: str, path: str, max_bytes: int
    ) -> None:
        super().__init__(loop, log, journal, folder)
        self._path = path
        self._max_bytes = max_bytes

    def _send(self, lines: list[bytes]) -> None:
        data = b"\n".join(lines) + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            fd = os.open(self._path, flags, 0o640)
            try:
                size = os.fstat(fd).st_size
                if os.write(fd, data) < len(data):
                    os.ftruncate(fd, size)
                    raise OSError(28, "No space left on device")
            finally:
                os.close(fd)
            if size + len(data) >= self._max_bytes:
                os.replace(self._path, self._path + ".1")
        except OSError as error:
            self._not_taken(f"{self._path}: {error.strerror}", False)
            return
        self._taken()


class Sinks:
    """All enabled sinks and their journal."""

    __slots__ = ("_folder", "_journal", "_key", "_log", "_loop", "_sinks")

    def __init__(self, loop: Loop, log: Log, config: Config) -> None:
        self._loop = loop
        self._log = log
        self._folder = os.path.join(config["executor.state"], "spool")
        self._journal = Journal(self._folder, config["executor.spool_max_bytes"], log)
        self._sinks: list[Sink] = []
        self._key: object = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over a new configuration; what is queued stays queued."""
        self._journal.set_bound(config["executor.spool_max_bytes"])
        wanted = _wanted(config)
        if wanted == self._key:
            return
        self._key = wanted
        for sink in self._sinks:
            sink.stop()
        common = (self._loop, self._log, self._journal, self._folder)
        self._sinks = [kind(*common, *arguments) for kind, arguments in wanted]
        self._forget_cursors_of_others()
        for sink in self._sinks:
            sink.poke()

    def put(self, lines: list[bytes]) -> None:
        """Queue metrics, each one JSON object; nothing is kept when no sink wants them."""
        if not self._sinks or not lines:
            return
        self._journal.append(b"\n".join(lines) + b"\n", len(lines))
        for sink in self._sinks:
            sink.poke()
        self._journal.release(min(sink.cursor.offset for sink in self._sinks))

    def flush_now(self) -> None:
        for sink in self._sinks:
            sink.flush_now()

    @property
    def busy(self) -> bool:
        return any(sink.busy for sink in self._sinks)

    def close(self) -> None:
        for sink in self._sinks:
            sink.stop()
        self._journal.close()

    def view(self) -> dict[str, Any]:
        return {sink.name: sink.view() for sink in self._sinks}

    def spooled_bytes(self) -> int:
        return self._journal.size()

    def _forget_cursors_of_others(self) -> None:
        # A sink that was switched off must not hold the journal, and begins anew when it comes
        # back.
        known = {f"cursor.{sink.name}" for sink in self._sinks}
        for name in os.listdir(self._folder):
            if name.startswith("cursor.") and name not in known:
                os.unlink(os.path.join(self._folder, name))


def as_list(lines: list[bytes]) -> bytes:
    """JSON objects as one JSON list, with nothing parsed again."""
    return b"[" + b",".join(lines) + b"]"


def as_line(metric: dict[str, Any]) -> bytes:
    return json.dumps(metric, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _wanted(config: Config) -> list[tuple[Any, tuple[Any, ...]]]:
    timeout = config["transfer.timeout"] / 1000.0
    wanted: list[tuple[Any, tuple[Any, ...]]] = []
    if config["transfer.enabled"]:
        wanted.append((TransferRpc, (config["transfer.addrs"], timeout)))
    if config["executor.falcon_push"]:
        wanted.append((TransferHttp, (config["executor.falcon_push"], timeout)))
    if config["executor.agent_push"]:
        wanted.append((AgentPush, (config["executor.agent_push"], timeout)))
    if config["executor.jsonl.path"]:
        limits = (config["executor.jsonl.path"], config["executor.jsonl.max_bytes"])
        wanted.append((JsonLines, limits))
    return wanted


def _random_share() -> float:
    """0 <= x < 1, without the 0.3 MB of the `random` module."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


def _is_about_content(error: str) -> bool:
    return error.startswith(("json:", "invalid character", "unexpected end of JSON"))
