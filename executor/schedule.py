"""When a plugin runs: soon after pickup, spread over the hosts, then at a fixed rate that never
drifts.

The agent's first run comes one whole step after pickup, and each change of a file's mtime begins
that wait anew (plugins/plugins.go), so a slow plugin can starve. Here a change keeps the phase,
and brings one run forward.
"""

from __future__ import annotations

import zlib

EARLY_RUN_SPACING = 30.0
"""Seconds between a run and the early one that a changed file gets: touching a file all the time
starts no flood.
"""


def spread(host: str, key: str, within: float) -> float:
    """A delay in seconds, 0 <= delay < within, the same each time for a host and plugin."""
    return within * (zlib.crc32(f"{host}\n{key}".encode("utf-8", "replace")) / (1 << 32))


class Schedule:
    """A plugin's ticks: `begin`, `begin + step`, ... in monotonic seconds; `next` is the coming
    one.
    """

    __slots__ = ("_begin", "_step", "next")

    def __init__(self, begin: float, step: int) -> None:
        self._begin = begin
        self._step = step
        self.next = begin

    def advance(self, now: float) -> int:
        """Move `next` past `now`; how many ticks were jumped over beyond the one that is due."""
        due = int((now - self._begin) // self._step)
        expected = round((self.next - self._begin) / self._step)
        self.next = self._begin + (due + 1) * self._step
        return max(0, due - expected)


def kill_times(step: int) -> tuple[float, float]:
    """Seconds after the start at which the group gets SIGTERM, and SIGKILL.

    SIGTERM comes where the agent kills (step - 0.5 s), SIGKILL 0.4 s later, so that the group is
    gone before the next run is due. A one-second step has 0.5 s, and then 0.4 s.
    """
    return max(0.5, step - 0.5), step - 0.1
