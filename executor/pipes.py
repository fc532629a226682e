"""Reading what children print, a moment after it comes: a program that prints its lines one by one
would wake the executor for each (four a second of 100 plugins cost 1 % of a core more, measured).
"""

from __future__ import annotations

import select

from executor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop

GATHER_SECONDS = 0.05
"""How long what was printed may wait in its pipe."""


class Pipes:
    """Calls `reader()` of each pipe that has something to read, all in one go. True from one of them
    means that it took so much that more may wait to be written: then nobody waits for the next bytes.
    """

    __slots__ = ("_delay", "_epoll", "_loop", "_readers")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._delay = GATHER_SECONDS
        self._readers: dict[int, Callable[[], bool]] = {}
        # The loop watches this one for all pipes, and not at all until the moment is over.
        self._epoll = select.epoll()
        self._wait()

    def watch(self, fd: int, reader: Callable[[], bool]) -> None:
        """Begin with `fd`, or give it another reader."""
        if fd not in self._readers:
            self._epoll.register(fd, READ)
        self._readers[fd] = reader

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; call it before closing the descriptor. An unknown one is no error."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _wait(self) -> None:
        self._loop.watch(self._epoll.fileno(), READ | select.EPOLLONESHOT, self._printed)

    def _printed(self, _events: int) -> None:
        self._loop.call_later(self._delay, self._read)

    def _read(self) -> None:
        full = False
        for fd, _events in self._epoll.poll(0):
            reader = self._readers.get(fd)
            # One that was read before may have ended this one.
            if reader is not None:
                full = self._loop.guarded(reader) or full
        self._delay = 0.0 if full else GATHER_SECONDS
        self._wait()
