"""One run of a manifest plugin: its process from the start to the end of its group, within its time
limit and, where cfg.json sets one, its limit of silence.
"""

from __future__ import annotations

import signal
import time

from executor.manifest_launch import environment
from executor.schedule import kill_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from agentplugin.formats import Format
    from executor.loop import Timer
    from executor.manifest_launch import Launch
    from executor.manifest_output import Output
    from executor.process import Child
    from executor.runtime import Runtime

STOP_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL of the group."""


class Process:
    """`on_end(code, why)` comes once: minus the signal's number, or the exit code; `why` is what
    `terminate` was given, "" for one that ended by itself. OSError or ValueError from the
    constructor when it cannot be executed.
    """

    __slots__ = ("_child", "_launch", "_on_end", "_output", "_runtime", "_timer", "_why", "ending")

    def __init__(
        self,
        runtime: Runtime,
        launch: Launch,
        format_: Format,
        output: Output,
        on_end: Callable[[int, str], None],
    ) -> None:
        self._runtime = runtime
        self._launch = launch
        self._output = output
        self._on_end = on_end
        self._timer: Timer | None = None
        self._why = ""
        self.ending = False
        output.begin(launch.metrics, launch.poll_ms)
        self._child = runtime.children.spawn(
            launch.argv,
            environment(runtime),
            output.on_stdout,
            output.on_stderr,
            self._on_exit,
            cwd=launch.folder,
        )
        output.belongs_to(self._child)
        if format_.runs_for_ever:
            self._watch_silence()
        else:
            limit, _kill = kill_times(format_.step)
            why = f"did not end within {limit:g} s and was killed"
            self._timer = runtime.loop.call_later(limit, self.terminate, why)

    def terminate(self, why: str) -> None:
        """SIGTERM to the group, SIGKILL after STOP_GRACE."""
        self._why = why
        self.ending = True
        self._cancel_timer()
        self._child.signal_group(signal.SIGTERM)
        self._timer = self._runtime.loop.call_later(STOP_GRACE, self._kill)

    def _kill(self) -> None:
        self._child.signal_group(signal.SIGKILL)

    def _watch_silence(self) -> None:
        """`executor.silence_limit`: a plugin that says nothing for so long, or for three of its poll
        intervals where that is longer, hangs. The first manager did this to all after 30 s.
        """
        least = self._runtime.config["executor.silence_limit"]
        if not least:
            return
        limit = max(least, 3 * self._launch.poll_ms / 1000.0)
        left = self._output.last_heard + limit - time.monotonic()
        if left <= 0:
            self.terminate(f"printed nothing for {limit:g} s and was killed")
        else:
            self._timer = self._runtime.loop.call_later(left, self._watch_silence)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_exit(self, child: Child) -> None:
        self._cancel_timer()
        self._output.end()
        self._on_end(child.code or 0, self._why)
