"""A manifest plugin's postExtract as the daemon sees it: a child that is read, one at a time in the
whole executor, and what came of it. Its output is kept in `<logs>/<path>(postExtract).stderr.log`.
"""

from __future__ import annotations

import sys

from executor import diagnosis
from executor.leftovers import PLUGIN_MARK
from executor.manifest_jobs import TROUBLE, QueuedFork
from executor.manifest_launch import environment
from executor.stderrlog import StderrLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.manifest_launch import Install
    from executor.runtime import Runtime


class Extract:
    """One run. `done(trouble, reason)` comes once, with "" when it went well; `trouble` says that
    the host could not run it.
    """

    __slots__ = ("_done", "_fork", "_install", "_log", "_mark", "_runtime", "_stopped")

    def __init__(
        self,
        runtime: Runtime,
        key: str,
        path: str,
        install: Install,
        done: Callable[[bool, str], None],
    ) -> None:
        self._runtime = runtime
        self._done = done
        self._install = install
        self._stopped = False
        self._log = StderrLog(runtime.logs, path, "postExtract")
        self._log.begin()
        home = f"{runtime.state_dir}/manifest.home/{install.copy.name}"
        most = runtime.config["executor.postextract_max_bytes"]
        env = environment(runtime, key)
        self._mark = env[PLUGIN_MARK]

        def work() -> int:
            return _run(install, home, env, most)

        self._fork = QueuedFork(
            runtime, runtime.installing, key, work, self._log.write, self._on_end
        )

    def progress(self) -> str:
        """What it does, for the person who looks."""
        if self._fork.began:
            return f"runs its postExtract {self._install.command!r}"
        return (
            f"waiting to install: the postExtract of {self._runtime.installing.holder} comes first"
        )

    def stop(self) -> None:
        """End it, with all that it started; `done` still comes."""
        self._stopped = True
        self._fork.stop()

    def _on_end(self, code: int) -> None:
        # Nothing is left, unless what held it was killed itself.
        self._runtime.sweeper.sweep(self._mark, lambda _killed: self._settle(code))

    def _settle(self, code: int) -> None:
        self._log.end()
        if self._stopped:
            # Not its own fault: the next one need not wait.
            self._install.attempts.forget()
        if code:
            last = self._log.last_line
            said = diagnosis.ending(code, "" if last.startswith("postExtract: ") else last)
            reason = diagnosis.one_line(f"postExtract: {said}")
            self._done(code == TROUBLE, f"{reason}; its output is in {self._log.path}")
        else:
            self._done(False, "")


def _run(install: Install, home: str, env: dict[str, str], most: int) -> int:
    """In a process of its own, which holds what it runs."""
    from executor import landlock, postextract

    try:
        install.attempts.note()
        protection = landlock.protection(landlock.abi())
        sys.stdout.write(f"postExtract: {protection}\n")
        sys.stdout.flush()
        limits = postextract.Limits(install.timeout, most)
        code = postextract.run(install.argv, install.copy.folder, home, env, limits)
        if code:
            return 1 if code == TROUBLE else code
        for name in install.copy.set_extracted(install.command, protection):
            sys.stdout.write(f"postExtract changed {name}\n")
        install.attempts.forget()
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        sys.stderr.write(f"{where}{failure.strerror}\n")
        return TROUBLE
    return 0
