"""Finding and ending what plugins leave running, so that none runs twice: by marks in the
environment, which the kernel keeps whatever becomes of a process' parents, group and session.

A step script may put a service into a session of its own on purpose, so only what is still in the
executor's session counts as left by a killed executor. A manifest plugin's run is over when all
that carries its mark is gone.
"""

from __future__ import annotations

import os
import signal
import time

from executor.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.log import Log
    from executor.loop import Loop, Timer

EXECUTOR_MARK = "PLUGFLEET_EXECUTOR"
"""Variable in every plugin's environment: `<session id>:<state folder>` of the executor that
started it.
"""

PLUGIN_MARK = "PLUGFLEET_PLUGIN"
"""Variable in a manifest plugin's environment: `<digest of its key>:<state folder>`."""

_BETWEEN_LOOKS = 0.2
"""Seconds: what plugins end in the meantime is looked for together."""

_NEXT_LOOK = 0.02
_BLANK_LOOKS = 5
"""Looks for which one without any environment, which may be in the middle of an exec, is waited for."""

_SLOW_AFTER = 50
"""Looks after which a process that does not die (one that waits for a dead disk) gets a slow pace."""

_SLOW_LOOK = 1.0
_REMEMBERED = 30.0
"""Seconds for which a process without a mark is not read again: none gets a mark later, but its
number may get another process.
"""

_START_SECONDS = 2.0


def plugin_mark(key: str, state_dir: str) -> str:
    """The value of PLUGIN_MARK. The key may hold arguments, which are nobody else's business."""
    from executor.blobs import sha1

    digest = sha1(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{digest}:{state_dir}"


class Sweeper:
    """Ends what carries a plugin's mark, with SIGKILL, until nothing does.

    Reading /proc costs, and plugins may end each second: looks serve all that wait, come
    `_BETWEEN_LOOKS` apart, and skip what the last ones saw without a mark.
    """

    __slots__ = (
        "_blank",
        "_innocent",
        "_innocent_since",
        "_last",
        "_log",
        "_loop",
        "_timer",
        "_waiting",
    )

    def __init__(self, loop: Loop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._waiting: dict[bytes, _Sweep] = {}
        self._timer: Timer | None = None
        self._last = float("-inf")
        self._innocent: set[str] = set()
        self._innocent_since = time.monotonic()
        # In the middle of an exec a process has no environment for a moment: see it twice.
        self._blank: set[str] = set()

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def sweep(self, mark: str, done: Callable[[int], None]) -> None:
        """`done(killed)` is called when no process carries `mark` any more."""
        self._waiting[os.fsencode(mark)] = _Sweep(done)
        if self._timer is None:
            wait = max(0.0, self._last + _BETWEEN_LOOKS - time.monotonic())
            self._timer = self._loop.call_later(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        self._last = now = time.monotonic()
        if now - self._innocent_since > _REMEMBERED:
            self._innocent = set()
            self._innocent_since = now
        living = set()
        for pid, mark in self._marked():
            sweep = self._waiting.get(mark)
            if sweep is not None:
                living.add(mark)
                sweep.killed.add(pid)
                _kill(pid)
        for mark, sweep in list(self._waiting.items()):
            if mark not in living and (not self._blank or sweep.looks >= _BLANK_LOOKS):
                del self._waiting[mark]
                self._loop.guarded(sweep.done, len(sweep.killed))
        pause = _NEXT_LOOK
        for sweep in self._waiting.values():
            sweep.looks += 1
            if sweep.looks > _SLOW_AFTER:
                pause = _SLOW_LOOK
            if sweep.looks == _SLOW_AFTER:
                pids = ", ".join(str(pid) for pid in sorted(sweep.killed))
                self._log.warning(f"killed processes do not end, so their plugin waits: {pids}")
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(pause, self._look)

    def _marked(self) -> list[tuple[int, bytes]]:
        numbers = {entry for entry in os.listdir("/proc") if entry.isdigit()}
        self._innocent &= numbers
        blank, found = set(), []
        for number in numbers - self._innocent:
            marks = _marks(number)
            if marks is None and number not in self._blank:
                blank.add(number)
            elif marks and PLUGIN_MARK in marks:
                found.append((int(number), marks[PLUGIN_MARK]))
            else:
                self._innocent.add(number)
        self._blank = blank
        return found


class _Sweep:
    __slots__ = ("done", "killed", "looks")

    def __init__(self, done: Callable[[int], None]) -> None:
        self.done = done
        self.killed: set[int] = set()
        self.looks = 0


def kill_leftovers(state_dir: str, log: Log, why: str) -> int:
    """Kill what an executor of this state folder left running, and say why it was; how many."""
    deadline = time.monotonic() + _START_SECONDS
    killed: set[int] = set()
    while True:
        found = _left(state_dir)
        for pid, name in found:
            if pid not in killed:
                log.info(f"killed {name} (pid {pid}), {why}")
            killed.add(pid)
            _kill(pid)
        if not found or time.monotonic() > deadline:
            return len(killed)
        time.sleep(_NEXT_LOOK)


def _left(state_dir: str) -> list[tuple[int, str]]:
    suffix = b":" + os.fsencode(state_dir)
    found = []
    for pid, name, _group, session in processes():
        marks = _marks(str(pid)) or {}
        mark = marks.get(PLUGIN_MARK, b"")
        by_plugin = mark.endswith(suffix) and mark[: -len(suffix)].isalnum()
        if by_plugin or marks.get(EXECUTOR_MARK) == b"%d" % session + suffix:
            found.append((pid, name))
    return [(pid, name) for pid, name in found if pid != os.getpid()]


def _marks(pid: str) -> dict[str, bytes] | None:
    """The marks that a process carries; {} for another user's, None for one without any environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as stream:
            environment = stream.read()
    except OSError:
        return {}
    if not environment:
        return None
    if b"PLUGFLEET_" not in environment:
        return {}
    found = {}
    for entry in environment.split(b"\0"):
        name, _, value = entry.partition(b"=")
        for mark in (EXECUTOR_MARK, PLUGIN_MARK):
            if name == mark.encode("ascii"):
                found[mark] = value
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return
