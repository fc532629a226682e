"""What is kept of a plugin's stdout: bounded for one run, for all runs together, and for one line."""

from __future__ import annotations

STDOUT_BYTES = 1 << 20
"""What is kept of one step script's run."""

FLOOD_BYTES = 64 << 20
"""A run that prints more is to be killed; between the two its output is read and thrown away."""

ALL_STDOUT_BYTES = 4 << 20
"""What all runs together may hold: many floods at once must not become many MiB."""


class Budget:
    """Bytes held by all captures of the executor."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Capture:
    """One run's stdout. `printed` counts all bytes once a limit was passed, and is 0 before."""

    __slots__ = ("_budget", "_held", "_pieces", "printed")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pieces: list[bytes] = []
        self._held = 0
        self.printed = 0

    def add(self, data: bytes) -> bool:
        """Keep a piece, or only count it; False when the run printed more than FLOOD_BYTES."""
        room = min(STDOUT_BYTES - self._held, ALL_STDOUT_BYTES - self._budget.held)
        if not self.printed and len(data) <= room:
            self._pieces.append(data)
            self._held += len(data)
            self._budget.held += len(data)
            return True
        self.printed = (self.printed or self._held) + len(data)
        self._let_go()
        return self.printed <= FLOOD_BYTES

    def take(self) -> bytes:
        """Everything that was kept; the capture is empty afterwards."""
        whole = b"".join(self._pieces)
        self._let_go()
        return whole

    def overflow(self) -> str:
        """Why nothing was kept, "" if all was."""
        if not self.printed:
            return ""
        limit = "more than the 1 MiB that is read"
        if self.printed <= STDOUT_BYTES:
            limit = "while other plugins printed MiBs too"
        return f"printed {self.printed} bytes, {limit}: the output is discarded"

    def _let_go(self) -> None:
        self._budget.held -= self._held
        self._held = 0
        self._pieces = []


class LineBuffer:
    """Whole lines out of pieces; a line longer than `limit` bytes is thrown away as it comes."""

    __slots__ = ("_limit", "_rest", "_skipping", "too_long")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._skipping = False
        self.too_long = 0

    def add(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without their line ends."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if self._skipping and lines:
            lines.pop(0)
            self._skipping = False
        if len(self._rest) > self._limit:
            self._rest = b""
            if not self._skipping:
                self.too_long += 1
            self._skipping = True
        return lines

    def end(self) -> list[bytes]:
        """The last line, if it has no line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest and not self._skipping else []
