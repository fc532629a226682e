"""The event loop: epoll, a timer heap, signals and a resolver thread, in one thread otherwise.

One loop starts plugins, reads their output, serves HTTP and feeds the sinks, so nothing here may
block. Name look-ups are the one exception that libc leaves: they run in a short-lived thread.
"""

from __future__ import annotations

import _thread
import collections
import contextlib
import heapq
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.log import Log

    Callback = Callable[..., None]

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP | select.EPOLLERR

# epoll takes milliseconds as an int: a step of a month must not overflow it.
_LONGEST_POLL = 3600.0


class Timer:
    """One call in the future; `cancel()` makes it never happen."""

    __slots__ = ("args", "callback", "seq", "when")

    def __init__(self, when: float, seq: int, callback: Callback, args: tuple[Any, ...]) -> None:
        self.when = when
        self.seq = seq
        self.callback: Callback | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.seq) < (other.when, other.seq)


class Loop:
    """Dispatches file descriptors, timers (monotonic seconds) and signals until `stop()`."""

    __slots__ = (
        "_epoll",
        "_handlers",
        "_log",
        "_posted",
        "_running",
        "_seq",
        "_signals",
        "_timers",
        "_wake_read",
        "_wake_write",
    )

    def __init__(self, log: Log) -> None:
        self._log = log
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._seq = 0
        self._running = False
        self._signals: dict[int, Callable[[], None]] = {}
        self._posted: collections.deque[tuple[Callback, tuple[Any, ...]]] = collections.deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.watch(self._wake_read, READ, self._woken)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` when `fd` is ready; a second call changes the events and the
        handler.
        """
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; call it before closing the descriptor. An unknown one is no error."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callback, *args: Any) -> Timer:
        """Call back at `when` (seconds of `time.monotonic()`)."""
        self._seq += 1
        timer = Timer(when, self._seq, callback, args)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, callback: Callback, *args: Any) -> Timer:
        """Call back in `delay` seconds."""
        return self.call_at(time.monotonic() + delay, callback, *args)

    def on_signal(self, number: int, handler: Callable[[], None]) -> None:
        """Call `handler()` from the loop, not from the signal context."""
        self._signals[number] = handler
        signal.signal(number, _noted_through_the_wakeup_fd)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def post(self, callback: Callback, *args: Any) -> None:
        """The one method that another thread may call."""
        self._posted.append((callback, args))
        # The pipe is full, so the loop wakes anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def resolve(self, host: str, port: int, done: Callable[[list[Any], str], None]) -> None:
        """Look `host` up and call `done(addresses, error)`; a literal address needs no thread."""
        for family, numeric in ((socket.AF_INET, host), (socket.AF_INET6, host.strip("[]"))):
            try:
                socket.inet_pton(family, numeric)
            except (OSError, ValueError):
                continue
            done([(family, (numeric, port))], "")
            return
        try:
            _thread.start_new_thread(self._look_up, (host, port, done))
        except RuntimeError as error:  # the unit's TasksMax is reached
            self.post(done, [], f"cannot resolve {host}: {error}")

    def _look_up(self, host: str, port: int, done: Callable[[list[Any], str], None]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.post(done, [(entry[0], entry[4]) for entry in found], "")
        except (OSError, UnicodeError) as error:
            self.post(done, [], f"cannot resolve {host}: {error}")

    def run(self) -> None:
        """Dispatch until `stop()`. A callback's exception is logged and costs only that callback."""
        self._running = True
        while self._running:
            ready = self._epoll.poll(self._timeout())
            for fd, events in ready:
                handler = self._handlers.get(fd)
                if handler is not None:
                    self.guarded(handler, events)
            self._run_timers()

    def stop(self) -> None:
        self._running = False

    def _timeout(self) -> float:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return _LONGEST_POLL
        return min(_LONGEST_POLL, max(0.0, self._timers[0].when - time.monotonic()))

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self.guarded(timer.callback, *timer.args)

    def _woken(self, _events: int) -> None:
        try:
            numbers = set(os.read(self._wake_read, 4096))
        except BlockingIOError:
            return
        while self._posted:
            callback, args = self._posted.popleft()
            self.guarded(callback, *args)
        for number in numbers:
            handler = self._signals.get(number)
            if handler is not None:
                self.guarded(handler)

    def guarded(self, callback: Callable[..., Any], *args: Any) -> Any:
        """What the callback returns; an exception is logged, with its place, and goes no further."""
        try:
            return callback(*args)
        except Exception as error:  # one plugin's or client's fault must not take the others down
            self._log.error(f"internal error, please report: {error} at {_where()}")
            return None


def _where() -> str:
    """`module.py:12 < caller.py:34` of the exception being handled; `traceback` would cost memory."""
    frames = []
    trace = sys.exc_info()[2]
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(frames))


def _noted_through_the_wakeup_fd(_number: int, _frame: Any) -> None:
    """Python writes the signal's number to the wakeup descriptor; the loop does the work."""
