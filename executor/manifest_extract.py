"""A manifest plugin's postExtract as the daemon sees it: a child that is read, and what came of it.
Its output is kept in `<logs>/<path>(postExtract).stderr.log`.
"""

from __future__ import annotations

import os
import signal

from executor import diagnosis
from executor.manifest_launch import environment
from executor.stderrlog import StderrLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.manifest_launch import Launch
    from executor.process import Child
    from executor.runtime import Runtime


class Extract:
    """One run. `done(reason)` comes once, with "" when it went well."""

    __slots__ = ("_child", "_done", "_log")

    def __init__(
        self, runtime: Runtime, path: str, launch: Launch, done: Callable[[str], None]
    ) -> None:
        self._done = done
        self._log = StderrLog(runtime.logs, path, "postExtract")
        self._log.begin()
        assert launch.copy is not None  # only a plugin with a manifest has a postExtract
        home = os.path.join(runtime.state_dir, "manifest.home", launch.copy.name)
        seconds = launch.extract_timeout
        most = runtime.config["executor.postextract_max_bytes"]

        def work() -> int:
            from executor.postextract import Limits, run

            env = environment(runtime)
            return run(launch.extract, launch.folder, home, env, Limits(seconds, most))

        self._child = runtime.children.fork(work, self._log.write, self._log.write, self._on_exit)

    def stop(self) -> None:
        """End it, with all that it started; `done` still comes."""
        self._child.signal_group(signal.SIGTERM)

    def _on_exit(self, child: Child) -> None:
        self._log.end()
        if child.code:
            where = f"its output is in {self._log.path}"
            said = diagnosis.ending(child.code, self._log.last_line)
            self._done(diagnosis.one_line(f"postExtract: {said}") + f"; {where}")
        else:
            self._done("")
