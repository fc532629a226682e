"""How often a postExtract was begun and did not end well, kept on disk from before it begins: one
that takes the executor or the host down with it is tried again with growing pauses, not at each
start of the executor.
"""

from __future__ import annotations

import os
import time
import zlib

from executor.workfiles import remove, write_secret

FIRST_PAUSE = 30.0
LONGEST_PAUSE = 3600.0


class Attempts:
    """Those of the copy `name`; others than `what` (command, code, configuration) do not count."""

    __slots__ = ("_path", "_what")

    def __init__(self, state_dir: str, name: str, what: object) -> None:
        self._path = os.path.join(state_dir, "manifest.attempts", name)
        self._what = f"{zlib.crc32(repr(what).encode('utf-8', 'surrogateescape')):08x}"

    @property
    def count(self) -> int:
        return self._read()[0]

    def pause(self) -> float:
        """Seconds until the next one may begin, 0 for at once."""
        count, at = self._read()
        if not count:
            return 0.0
        wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(count - 1, 20))
        # Never longer than that, whatever became of the clock.
        return max(0.0, min(wait, at + wait - time.time()))

    def note(self) -> None:
        """One begins now. OSError where the disk says no."""
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        write_secret(self._path, f"{self._what} {self.count + 1} {int(time.time())}\n")

    def forget(self) -> None:
        """It ended well, or a person ended it."""
        remove(self._path)

    def _read(self) -> tuple[int, int]:
        try:
            with open(self._path, encoding="ascii") as stream:
                what, count, at = stream.read().split()
            return (int(count), int(at)) if what == self._what else (0, 0)
        except (OSError, ValueError):
            return 0, 0
