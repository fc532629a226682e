"""Work of which the host should have one at a time: whoever asks gets a turn in order."""

from __future__ import annotations

import collections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop


class Turn:
    """One's place in the queue; `leave()` when done, or when it is not wanted any more."""

    __slots__ = ("_begin", "_turns", "name")

    def __init__(self, turns: Turns, name: str, begin: Callable[[], None]) -> None:
        self._turns = turns
        self._begin = begin
        self.name = name

    def begin(self) -> None:
        self._begin()

    def leave(self) -> None:
        self._turns.leave(self)


class Turns:
    """The queue. `holder` names who has the turn, "" for nobody."""

    __slots__ = ("_current", "_loop", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._current: Turn | None = None
        self._waiting: collections.deque[Turn] = collections.deque()

    @property
    def holder(self) -> str:
        return self._current.name if self._current is not None else ""

    def ask(self, name: str, begin: Callable[[], None]) -> Turn:
        """Call `begin()` when it is this one's turn, from the loop."""
        turn = Turn(self, name, begin)
        self._waiting.append(turn)
        self._next()
        return turn

    def leave(self, turn: Turn) -> None:
        if turn is self._current:
            self._current = None
            self._next()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _next(self) -> None:
        if self._current is None and self._waiting:
            self._current = self._waiting.popleft()
            self._loop.call_later(0.0, self._begin, self._current)

    def _begin(self, turn: Turn) -> None:
        # It may have left before its turn was called.
        if turn is self._current:
            turn.begin()
