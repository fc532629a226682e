"""How much a plugin may print: a burst, and so many lines a second for ever. What is more is thrown away
and counted, and the plugin is not read for a while: its pipe fills, and it waits.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.loop import Timer
    from executor.process import Child
    from executor.runtime import Runtime

LINES_AT_ONCE = 30000
LINES_PER_SECOND = 500.0
"""A plugin may print LINES_AT_ONCE lines, or values, in a burst and LINES_PER_SECOND for ever."""

THROTTLE_SECONDS = 1.0
"""How long a plugin that printed more is not read."""

_BYTES_LIKE_A_LINE = 1024


class Budget:
    """What one plugin has left, over all its runs.

    child      whom to let wait
    throttled  lines that were thrown away because they were too many
    """

    __slots__ = (
        "_key",
        "_refilled",
        "_resume",
        "_runtime",
        "_said",
        "_tokens",
        "child",
        "throttled",
    )

    def __init__(self, runtime: Runtime, key: str) -> None:
        self._runtime = runtime
        self._key = key
        self._tokens = float(LINES_AT_ONCE)
        self._refilled = time.monotonic()
        self._resume: Timer | None = None
        self._said = False
        self.child: Child | None = None
        self.throttled = 0

    def admit(self, lines: list[bytes], size: int) -> list[bytes]:
        """The first of the lines, all of them where it lasts; `size` is of all that was printed, bytes."""
        now = time.monotonic()
        self._tokens = min(
            float(LINES_AT_ONCE), self._tokens + (now - self._refilled) * LINES_PER_SECOND
        )
        self._refilled = now
        self._tokens -= max(len(lines), size / _BYTES_LIKE_A_LINE)
        if self._tokens >= 0:
            return lines
        kept = lines[: max(0, len(lines) + int(self._tokens))]
        self._tokens = 0.0
        self.throttled += len(lines) - len(kept)
        self._let_wait(THROTTLE_SECONDS)
        return kept

    def charge(self, values: int) -> None:
        """A line of InfluxDB may hold thousands of values, and each costs what a line does."""
        self._tokens -= values
        if self._tokens < 0:
            self._let_wait(max(THROTTLE_SECONDS, -self._tokens / LINES_PER_SECOND))

    def _let_wait(self, seconds: float) -> None:
        if not self._said:
            self._said = True
            self._runtime.log.warning(
                f"plugin {self._key}: prints more than {LINES_PER_SECOND:g} values/s: throttled"
            )
        if self.child is None:
            return
        self.child.pause(True)
        if self._resume is not None:
            self._resume.cancel()
        self._resume = self._runtime.loop.call_later(seconds, self.child.pause, False)
