"""The plugins that run now: bindings of the file and of hbs, resolved against the tree, started
and stopped by that.
"""

from __future__ import annotations

import json
import os

from agentplugin.planned import PlannedScript
from agentplugin.plans import FsTree, resolve
from executor import diagnosis
from executor.step_plugin import StepPlugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from agentplugin.planned import PlannedManifest
    from agentplugin.problems import Problem
    from executor.manifest_plugin import ManifestPlugin
    from executor.manifest_watch import Watch
    from executor.runtime import Runtime

    Running = Union[StepPlugin, ManifestPlugin]

_POLL_SECONDS = 1.0
_TIDY_SECONDS = 6 * 3600.0
_MAX_BINDINGS_BYTES = 4 << 20
_NOT_FOUND = "binding-not-found"


class Plugins:
    """Keeps what runs equal to what is bound. `bindings_error` says why the bindings file is
    refused, or is "".
    """

    __slots__ = (
        "_file_bindings",
        "_hbs_bindings",
        "_no_release_said",
        "_problems",
        "_running",
        "_runtime",
        "_seen",
        "_watch",
        "bindings_error",
    )

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: dict[str, Running] = {}
        self._problems: list[Problem] = []
        self._file_bindings: list[Any] = []
        self._hbs_bindings: list[str] = []
        self._no_release_said = False
        self._seen: object = None
        self._watch: Watch | None = None
        self.bindings_error = ""

    def start(self) -> None:
        """Read the bindings, run what they name, and look for changes from now on."""
        self._poll()
        self._rescan()
        self._tidy()

    def set_hbs_bindings(self, bindings: list[str]) -> None:
        """The newest answer of hbs; an empty one unbinds, as with the agent."""
        if bindings != self._hbs_bindings:
            self._hbs_bindings = bindings
            self.refresh()

    def refresh(self) -> None:
        """Resolve the bindings against the tree as it is now, and start, stop or note what
        changed.
        """
        runtime = self._runtime
        if not runtime.config["plugin.enabled"]:
            self._keep_only({})
            self._problems = []
            return
        resolution = resolve(
            [*self._file_bindings, *self._hbs_bindings], FsTree(runtime.plugin_dir)
        )
        planned: dict[str, PlannedScript | PlannedManifest] = {}
        planned.update((plan.key, plan) for plan in resolution.scripts)
        planned.update((plan.key, plan) for plan in resolution.manifests)
        self._keep_only(planned)
        for key, plan in planned.items():
            self._keep_or_start(key, plan)
        if self._watch is not None:
            self._watch.look()
        self._say_new(resolution.problems)

    def restart_all(self) -> None:
        """After a new configuration: environment, folders and endpoint may be others."""
        self._keep_only({})
        self._seen = None
        self._poll()

    def stop(self) -> None:
        self._keep_only({})

    def __iter__(self) -> Any:
        return iter(self._running.values())

    def view(self) -> dict[str, Any]:
        """`/plugins`: what runs, and what is bound but cannot run."""
        shown = {key: self._running[key].view() for key in sorted(self._running)}
        for problem in self._problems:
            if problem.severity == "error" and problem.path not in shown:
                shown[problem.path] = _refused_view(problem)
        return shown

    def detail(self, wanted: str) -> dict[str, Any]:
        """`/plugins/detail`: more about the manifest plugins, or about one of that key."""
        from executor.manifest_plugin import ManifestPlugin
        from executor.manifest_view import detail

        runtime = self._runtime
        return {
            key: detail(plugin, runtime.state_dir, runtime.plugin_dir)
            for key, plugin in sorted(self._running.items())
            if isinstance(plugin, ManifestPlugin) and wanted in ("", key)
        }

    def _keep_only(self, planned: dict[str, Any]) -> None:
        for key in [key for key in self._running if key not in planned]:
            self._running.pop(key).stop()

    def _keep_or_start(self, key: str, plan: PlannedScript | PlannedManifest) -> None:
        if isinstance(plan, PlannedScript):
            self._keep_or_start_script(key, plan)
        else:
            self._keep_or_start_manifest(key, plan)

    def _keep_or_start_script(self, key: str, plan: PlannedScript) -> None:
        try:
            mtime = int(os.stat(os.path.join(self._runtime.plugin_dir, plan.path)).st_mtime)
        except OSError:
            mtime = 0
        running = self._running.get(key)
        if isinstance(running, StepPlugin) and running.same_as(plan):
            if running.mtime != mtime:
                running.changed(mtime)
            return
        if running is not None:
            running.stop()
        self._running[key] = StepPlugin(plan, mtime, self._runtime)

    def _keep_or_start_manifest(self, key: str, plan: PlannedManifest) -> None:
        # Here, not above: hosts without manifest plugins need not carry what runs them.
        from executor.manifest_plugin import ManifestPlugin

        self._manifest_watch()
        running = self._running.get(key)
        if isinstance(running, ManifestPlugin):
            running.update(plan)
            return
        if running is not None:
            running.stop()
        self._running[key] = ManifestPlugin(plan, self._runtime)

    def _manifest_watch(self) -> Watch:
        if self._watch is None:
            from executor.manifest_watch import Watch

            self._watch = Watch(self._runtime, self._manifests)
        return self._watch

    def _manifests(self) -> list[ManifestPlugin]:
        from executor.manifest_plugin import ManifestPlugin

        return [found for found in self._running.values() if isinstance(found, ManifestPlugin)]

    def _tidy(self) -> None:
        # A host that never had a working copy need not carry what clears them up.
        if os.path.isdir(os.path.join(self._runtime.state_dir, "manifest")):
            self._manifest_watch().tidy()
        self._runtime.loop.call_later(_TIDY_SECONDS, self._tidy)

    def _say_new(self, problems: list[Problem]) -> None:
        runtime = self._runtime
        known, self._problems = self._problems, problems
        if not os.path.isdir(runtime.plugin_dir):
            # Then nothing is found, which says nothing about the bindings; a later release does.
            waiting = [problem for problem in problems if problem.code == _NOT_FOUND]
            problems = [problem for problem in problems if problem.code != _NOT_FOUND]
            if waiting and not self._no_release_said:
                self._no_release_said = True
                runtime.log.info(
                    f"no release in {runtime.plugin_dir} yet: the bindings wait for it"
                )
        elif self._no_release_said:
            self._no_release_said = False
            known = [problem for problem in known if problem.code != _NOT_FOUND]
        for problem in problems:
            if problem.severity != "info" and problem not in known:
                runtime.log.warning(f"bindings: {problem}")

    def _rescan(self) -> None:
        # As the agent does each heartbeat: files may come, go or change without an update.
        self.refresh()
        self._runtime.loop.call_later(self._runtime.config["heartbeat.interval"], self._rescan)

    def _poll(self) -> None:
        """Cheap look at what announces a change: the bindings file, and where the tree's link
        leads.
        """
        runtime = self._runtime
        bindings = runtime.config["executor.bindings"]
        seen = (bindings, _stamp(bindings), runtime.plugin_dir, _link(runtime.plugin_dir))
        if seen != self._seen:
            self._seen = seen
            self._read_bindings(bindings)
            self.refresh()

    def watch(self) -> None:
        self._poll()
        self._runtime.loop.call_later(_POLL_SECONDS, self.watch)

    def _read_bindings(self, path: str) -> None:
        bindings, error = read_bindings(path)
        if error and error != self.bindings_error:
            self._runtime.log.error(f"{error}; the bindings of before stay")
        self.bindings_error = error
        if not error:
            self._file_bindings = bindings


def read_bindings(path: str) -> tuple[list[Any], str]:
    """(bindings, "") of a bindings.json, or ([], what is wrong). A file that is not there binds
    nothing.
    """
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MAX_BINDINGS_BYTES + 1)
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"{path} cannot be read: {error.strerror}"
    if len(text) > _MAX_BINDINGS_BYTES:
        return [], f"{path} is larger than {_MAX_BINDINGS_BYTES >> 20} MiB"
    try:
        content = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        return [], f"{path} is not UTF-8 (byte {error.start})"
    except (ValueError, RecursionError) as error:
        return [], f"{path} is not valid JSON: {error}"
    bindings = content.get("bindings") if isinstance(content, dict) else None
    if not isinstance(bindings, list):
        return [], f'{path} must hold {{"bindings": [...]}}'
    return bindings, ""


def _refused_view(problem: Problem) -> dict[str, Any]:
    missing = problem.code == _NOT_FOUND
    return {
        "FilePath": problem.path,
        "MTime": 0,
        "Cycle": 0,
        "Args": "",
        "Kind": "refused",
        "State": diagnosis.MISSING if missing else diagnosis.FAILED,
        "Reason": diagnosis.one_line(f"{problem.message} ({problem.hint})"),
        "Running": False,
        "LastRun": 0,
        "NextRun": 0,
        "Runs": 0,
        "Missed": 0,
        "Samples": 0,
        "LastValue": None,
    }


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
