"""What every sink has in common: it reads the journal at its own pace, in order, and only moves on
when it was told "taken". One that is down backs off from 1 to 60 s with jitter; what it refuses
for good is narrowed down to the one line, and counted.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod

from executor.journal import Cursor, Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.log import Log
    from executor.loop import Loop, Timer

_GATHER_SECONDS = 0.25
_BACK_OFF_FIRST = 1.0
_BACK_OFF_MOST = 60.0
_CHUNK_BYTES = 128 * 1024
_CHUNK_LINES = 500


class Sink(ABC):
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
        self._cursor_fd = self._open_cursor()
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

    def tell(self, kind: str, entry: dict[str, Any]) -> bool:
        """Whether the sink forwards a plugin's "event" or "message": most have no words for it."""
        return False

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
        if self._cursor_fd >= 0:
            os.close(self._cursor_fd)
            self._cursor_fd = -1

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

    @abstractmethod
    def _send(self, lines: list[bytes]) -> None:
        """Send lines; `_taken` or `_not_taken` is called when it is known what came of it."""

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
        try:
            self._send(self._pending)
        except Exception as error:
            # Whatever it is must not end the sink: its values would wait for ever. What cannot be
            # encoded is the values' own fault, and never will be.
            if self._busy:
                self._not_taken(
                    f"cannot send: {type(error).__name__}: {error}", isinstance(error, ValueError)
                )

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
        return longest * (0.5 + random_share() / 2)

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
        if self._cursor_fd < 0:
            return
        try:
            os.pwrite(self._cursor_fd, b"%015d %015d\n" % (cursor.offset, cursor.line), 0)
        except OSError as error:
            self._log.error(f"{self._folder}/cursor.{self.name}: {error.strerror}")

    def _open_cursor(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        path = os.path.join(self._folder, f"cursor.{self.name}")
        try:
            return os.open(path, flags, 0o640)
        except OSError as error:
            # A full disk must not keep the host silent: a restart may then send some values twice.
            self._log.error(f"{path}: {error.strerror}; goes on without it")
            return -1

    def _read_cursor(self) -> Cursor:
        words = os.pread(self._cursor_fd, 32, 0).split() if self._cursor_fd >= 0 else []
        end = self._journal.end
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            found = Cursor(int(words[0]), int(words[1]))
            # Past the end: the journal was removed. Then what comes from now on is what is new.
            return found if found.offset <= end.offset and found.line <= end.line else end
        self._move(end)
        return end


def as_list(lines: list[bytes]) -> bytes:
    """JSON objects as one JSON list, with nothing parsed again."""
    return b"[" + b",".join(lines) + b"]"


def random_share() -> float:
    """0 <= x < 1, without the 0.3 MB of the `random` module."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)
