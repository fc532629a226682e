"""Work for a manifest plugin that takes its time, in a process of its own: the event loop, with its
heartbeats and all other plugins, never waits for a disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys

from executor.workcopy import LinkRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executor.process import Child
    from executor.runtime import Runtime
    from executor.turns import Turns

REFUSED = 65
"""Exit code: the plugin is at fault, the output says how (EX_DATAERR)."""

TROUBLE = 75
"""Exit code: the host is at fault, the output says how (EX_TEMPFAIL)."""

_MAX_OUTPUT = 1 << 20


class QueuedFork:
    """`work()` in a copy of this process, once its turn has come.

    on_output(bytes)  each piece of what it prints, stderr as well
    on_end(code)      once: its exit code, or minus a signal's number; TROUBLE where it could not
                      begin, and -SIGTERM where it was stopped before
    """

    __slots__ = ("_child", "_on_end", "_on_output", "_runtime", "_turn", "_work", "began")

    def __init__(
        self,
        runtime: Runtime,
        turns: Turns,
        name: str,
        work: Callable[[], int],
        on_output: Callable[[bytes], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._runtime = runtime
        self._work = work
        self._on_output = on_output
        self._on_end = on_end
        self._child: Child | None = None
        self.began = False
        self._turn = turns.ask(name, self._begin)

    def stop(self) -> None:
        """End it, with all that it started; `on_end` still comes."""
        if self._child is not None:
            self._child.signal_group(signal.SIGTERM)
        elif not self.began:
            self.began = True
            self._runtime.loop.call_later(0.0, self._end, -signal.SIGTERM)

    def _begin(self) -> None:
        if self.began:
            return
        self.began = True
        try:
            self._child = self._runtime.children.fork(
                self._work, self._on_output, self._on_output, self._on_exit
            )
        except OSError as failure:
            self._on_output(f"no process for it: {failure.strerror}".encode())
            self._end(TROUBLE)

    def _on_exit(self, child: Child) -> None:
        self._end(child.code or 0)

    def _end(self, code: int) -> None:
        self._turn.leave()
        self._on_end(code)


class CopyJob:
    """Work on working copies. `done(code, result, said)` comes once: with 0 and what `work` gave,
    which must be JSON's, or another code and what was said.
    """

    __slots__ = ("_done", "_fork", "_said")

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        work: Callable[[], Any],
        done: Callable[[int, Any, str], None],
    ) -> None:
        self._done = done
        self._said = b""
        state_dir = runtime.state_dir
        self._fork = QueuedFork(
            runtime,
            runtime.copying,
            name,
            lambda: _answer(state_dir, work),
            self._on_output,
            self._on_end,
        )

    def stop(self) -> None:
        """End it: what it left half done is done anew by the next one."""
        self._fork.stop()

    def _on_output(self, data: bytes) -> None:
        self._said = (self._said + data)[:_MAX_OUTPUT]

    def _on_end(self, code: int) -> None:
        said = self._said.decode("utf-8", "surrogateescape").strip()
        if code:
            self._done(code, None, said or f"its process ended with {code}")
            return
        try:
            result = json.loads(said)
        except ValueError:
            self._done(TROUBLE, None, "its process said nothing")
            return
        self._done(0, result, "")


def _answer(state_dir: str, work: Callable[[], Any]) -> int:
    try:
        # One that a killed executor left behind may still be at it.
        lock = os.open(
            os.path.join(state_dir, "manifest.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(lock, fcntl.LOCK_EX)
        json.dump(work(), sys.stdout)
    except LinkRefused as refusal:
        sys.stdout.write(str(refusal))
        return REFUSED
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        sys.stdout.write(f"{where}{failure.strerror}")
        return TROUBLE
    return 0
