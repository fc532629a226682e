"""One run of a manifest plugin: its process from the start until nothing that it started lives,
within its time limit and, where cfg.json sets one, its limit of silence.
"""

from __future__ import annotations

import errno
import signal
import time

from executor.leftovers import PLUGIN_MARK
from executor.manifest_interpreters import by_shell
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
    `terminate` was given, "" for one that ended by itself. `left_behind` is then how many
    processes outlived it, and were killed. OSError or ValueError from the constructor when it
    cannot be executed.
    """

    __slots__ = (
        "_child",
        "_launch",
        "_mark",
        "_on_end",
        "_output",
        "_runtime",
        "_timer",
        "_why",
        "ending",
        "left_behind",
    )

    def __init__(
        self,
        runtime: Runtime,
        key: str,
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
        self.left_behind = 0
        env = environment(runtime, key)
        self._mark = env[PLUGIN_MARK]
        output.begin(launch.metrics, launch.poll_ms)
        stdin = runtime.open_stdin() if format_.runs_for_ever else 0
        try:
            self._child = self._spawn(launch.argv, env, stdin)
        except OSError as failure:
            shell = by_shell(launch.argv) if failure.errno == errno.ENOEXEC else []
            if not shell:
                raise
            self._child = self._spawn(shell, env, stdin)
        output.belongs_to(self._child)
        if format_.runs_for_ever:
            self._watch_silence()
        else:
            limit, _kill = kill_times(format_.step)
            why = f"did not end within {limit:g} s and was killed"
            self._timer = runtime.loop.call_later(limit, self.terminate, why)

    def stop(self) -> None:
        """End it because it is not wanted any more."""
        self.terminate("")

    def terminate(self, why: str) -> None:
        """SIGTERM to the group, SIGKILL after STOP_GRACE, counted from the first time."""
        if self.ending:
            return
        self._why = why
        self.ending = True
        self._cancel_timer()
        self._child.signal_group(signal.SIGTERM)
        self._timer = self._runtime.loop.call_later(STOP_GRACE, self._kill)

    def _spawn(self, argv: list[str], env: dict[str, str], stdin: int) -> Child:
        return self._runtime.children.spawn(
            argv,
            env,
            self._output.on_stdout,
            self._output.on_stderr,
            self._on_exit,
            cwd=self._launch.folder,
            stdin=stdin,
        )

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
        by_itself = not self.ending and child.code == 0
        self.ending = True
        self._output.end(whole=by_itself)
        self.left_behind = len(child.left_behind)
        self._runtime.sweeper.sweep(self._mark, self._swept)

    def _swept(self, killed: int) -> None:
        self.left_behind += killed
        self._on_end(self._child.code or 0, self._why)
