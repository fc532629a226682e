"""Looking at the files of all manifest plugins, in one process of its own for all: a tree of many
files takes long to walk, and the event loop has no time for that.
"""

from __future__ import annotations

import json
import sys
import time

from executor import workcopy
from executor.manifest_jobs import CopyJob
from executor.workfiles import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from executor.manifest_plugin import ManifestPlugin
    from executor.process import Child
    from executor.runtime import Runtime


class Watch:
    """`look()` tells each of `plugins()` what became of its files; `tidy()` clears up after those
    that are bound no more.
    """

    __slots__ = ("_again", "_began", "_looking", "_output", "_plugins", "_runtime", "_tidying")

    def __init__(self, runtime: Runtime, plugins: Callable[[], Collection[ManifestPlugin]]) -> None:
        self._runtime = runtime
        self._plugins = plugins
        self._output: list[bytes] = []
        self._began = 0.0
        self._looking: dict[str, ManifestPlugin] = {}
        self._again = False
        self._tidying: CopyJob | None = None

    def look(self) -> None:
        """Now, or once more after the look that goes on."""
        if self._looking:
            self._again = True
            return
        self._looking = {plugin.key: plugin for plugin in self._plugins()}
        if not self._looking:
            return
        self._began = time.monotonic()
        self._output = []
        try:
            self._runtime.children.fork(self._work, self._output.append, _nowhere, self._on_exit)
        except OSError as failure:
            self._looking = {}
            self._runtime.log.warning(
                f"no process to look at the plugins' files: {failure.strerror}"
            )

    def tidy(self) -> None:
        """Remove secrets and old copies of what is bound no more."""
        if self._tidying is None:
            bound = [plugin.path for plugin in self._plugins()]
            state_dir = self._runtime.state_dir
            self._tidying = CopyJob(
                self._runtime, "tidying", lambda: workcopy.tidy(state_dir, bound), self._tidied
            )

    def _work(self) -> int:
        tree = self._runtime.plugin_dir
        for key, plugin in self._looking.items():
            code = Listing(plugin.source, tree).signature()
            copy = plugin.copy
            touched = copy is not None and copy.touched()
            sys.stdout.write(json.dumps([key, code, touched]) + "\n")
        return 0

    def _on_exit(self, _child: Child) -> None:
        looked, self._looking = self._looking, {}
        for line in b"".join(self._output).splitlines():
            try:
                key, (newest, count, total), touched = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of a line
            looked[key].looked((newest, count, total), touched, self._began)
        self._output = []
        if self._again:
            self._again = False
            self.look()

    def _tidied(self, code: int, gone: list[str] | None, said: str) -> None:
        self._tidying = None
        if code:
            self._runtime.log.warning(f"working copies of before cannot be tidied: {said}")
        for name in gone or []:
            self._runtime.log.info(f"removed the working copy {name}: not bound for a week")


def _nowhere(_data: bytes) -> None:
    """What it says on stderr is nobody's concern: the next look comes."""
