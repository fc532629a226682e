"""Action `plugin_visit`: one visit to every host of the batch, many at a time, in one task.

A task of its own for every host and step costs the control node about 20 ms of CPU and the host
0.2 s for Ansible's module payload; here each host costs one look, and an act where it is not right.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.inventory.helpers import sort_groups
from ansible.plugins.action import ActionBase

_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from agentplugin.plans import resolve  # noqa: E402
from controller.bindings.configs import manifests_of  # noqa: E402
from controller.bindings.static import (  # noqa: E402
    BindingsError,
    listed_keys,
    merged_of,
    parse_overrides,
    problems_of,
)
from controller.catalog.git import Repository  # noqa: E402
from controller.catalog.tree import GitTree  # noqa: E402
from roles.plugin_sync.control.bound import bindings_of  # noqa: E402
from roles.plugin_sync.control.connections import ConnectionRefused, HostConnection  # noqa: E402
from roles.plugin_sync.control.journal import Journal  # noqa: E402
from roles.plugin_sync.control.packs import Packs  # noqa: E402
from roles.plugin_sync.control.plan import STEPS, Program, Wanted, render_unit  # noqa: E402
from roles.plugin_sync.control.program import executor_program  # noqa: E402
from roles.plugin_sync.control.settings import Settings, SettingsError  # noqa: E402
from roles.plugin_sync.control.summary import sentence, stats  # noqa: E402
from roles.plugin_sync.control.visit import Visitor, unexpected  # noqa: E402

_UNIT = Path(_CHECKOUT, "roles/executor/files/plugfleet-executor.service")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Visit the hosts of the batch; `hosts` of the result has a task result for each, `stats` what
    `set_stats` is to be given.

    It does not fail by itself: `plugin_report`, a task for each host, tells Ansible what came of
    that host.
    """

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        # This process is a copy that ends with the task: to go through what Ansible had made before, again
        # and again, is a tenth of the control node's CPU for 50 hosts.
        gc.freeze()
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        steps = self._task.args.get("steps") or []
        unknown = sorted(set(steps) - set(STEPS))
        if unknown or not steps:
            return result | {
                "failed": True,
                "msg": f"steps must be some of {', '.join(STEPS)}; got {steps!r}",
            }
        published = self._task.args.get("published") or {}
        try:
            bindings = bindings_of(self, task_vars, published) if published else None
        except BindingsError as error:
            return result | {"failed": True, "msg": str(error)}
        batch = _Batch(self, frozenset(steps), published, bindings)
        hosts = batch.visit(list(task_vars["ansible_play_batch"]), _workers(self, task_vars))
        if "plugfleet_wave" in task_vars:
            inventory = self._task.get_variable_manager()._inventory
            for name, plan in brought_plans(inventory, hosts, batch.release).items():
                hosts[name]["plan"] = plan
        result["hosts"] = hosts
        if batch.warnings:
            result["warnings"] = sorted(batch.warnings)
        result["changed"] = any(host.get("changed") for host in hosts.values())
        result["msg"] = sentence(hosts)
        result["stats"] = stats(hosts, batch.release, check=bool(self._task.check_mode))
        return result


def brought_plans(
    inventory: Any, names: Iterable[str], release: Mapping[str, Any] | None
) -> dict[str, str]:
    """By host, the digest of the plan that it was brought to; empty where the inventory cannot tell.

    AWX's inventory may be older than what a job is told to bring, or newer: its plans are made of the
    release that it names itself.
    """
    own = inventory.groups["all"].vars.get("plugin_source_release")
    fits = bool(release) and isinstance(own, Mapping) and _named(own) == _named(release or {})
    return {
        name: str(inventory.get_host(name).vars.get("plugfleet_plan") or "") if fits else ""
        for name in names
    }


def _named(release: Mapping[str, Any]) -> tuple[str, str]:
    return str(release.get("number")), str(release.get("commit"))


class _Bound(NamedTuple):
    """What is bound to a host, and what its agent then lists."""

    bindings: list[Any]
    listed: list[str]


class _Batch:
    """The hosts of one task, and what is the same for all of them."""

    def __init__(
        self,
        action: ActionBase,
        steps: frozenset[str],
        published: Mapping[str, Any],
        bindings: Mapping[str, Any] | None,
    ) -> None:
        self._action = action
        self._steps = steps
        self._release = published.get("release")
        self._would_publish = bool(published.get("would_publish"))
        self._bindings = bindings
        self._settings = Settings(action._loader)
        self._resolved: dict[str, _Bound] = {}
        self.warnings: set[str] = set()
        self._program: Program | None = None
        packs = None
        self._tree: GitTree | None = None
        if self._release:
            repository = Repository(Path(published["repository"]))
            packs = Packs(repository, self._release["commit"])
            self._tree = GitTree(repository, published["tree"])
        self._visitor = Visitor(packs, check=bool(action._task.check_mode))
        self._journal = Journal()

    def visit(self, names: list[str], workers: int) -> dict[str, dict[str, Any]]:
        """Visit hosts, `workers` at a time; a host's trouble stays its own."""
        results: dict[str, dict[str, Any]] = {}
        ready = []
        # Templating is Ansible's and is done by this thread alone; the others run commands only.
        for name in names:
            try:
                ready.append((name, *self._prepare(name)))
            except (AnsibleError, BindingsError, SettingsError, ConnectionRefused) as error:
                results[name] = {"failed": True, "changed": False, "msg": str(error)}
            except Exception as error:
                results[name] = unexpected(error)
        for name, refused in results.items():
            self._journal.ended(name, refused)
        with ThreadPoolExecutor(max_workers=max(1, min(workers, len(ready)))) as pool:
            running = [
                (name, pool.submit(self._visit, name, connection, wanted))
                for name, connection, wanted in ready
            ]
            for name, future in running:
                results[name] = future.result()
        for _, connection, _ in ready:
            connection.close()
        return results

    def _visit(self, name: str, connection: HostConnection, wanted: Wanted) -> dict[str, Any]:
        self._journal.begun(name)
        result = self._visitor.visit(connection, wanted)
        self._journal.ended(name, result)
        return result

    def _prepare(self, name: str) -> tuple[HostConnection, Wanted]:
        action, task = self._action, self._action._task
        manager = task.get_variable_manager()
        host = manager._inventory.get_host(name)
        variables = self._settings.variables(manager.get_vars(play=task.play, host=host, task=task))
        templar = action._templar.copy_with_new_env(available_variables=variables)
        settings = self._settings.read(templar, variables)
        interpreter = variables.get("ansible_python_interpreter")
        if interpreter and not str(interpreter).startswith("auto"):
            settings["interpreter"] = str(templar.template(interpreter))
        overrides = variables.get("plugin_config_overrides") or {}
        overrides = parse_overrides(templar.template(overrides)) if overrides else {}
        bound = self._bound([group.name for group in sort_groups(host.get_groups())], overrides)
        return HostConnection(action, variables), self._wanted(settings, bound)

    def _bound(self, groups: list[str], overrides: dict[str, Any]) -> _Bound | None:
        """What a host runs that is in these groups; worked out once for those that are alike."""
        if self._bindings is None or self._tree is None:
            return None
        key = repr((groups, overrides))
        if key not in self._resolved:
            merged = merged_of(groups, self._bindings, overrides)
            for plugin in sorted(overrides.keys() - {plugin.form.key for plugin in merged}):
                self.warnings.add(
                    f"plugin_config_overrides: {plugin!r} is not bound to a host that has one"
                )
            problems = problems_of(merged, manifests_of(self._tree))
            bindings = [plugin.binding for plugin in merged]
            resolution = resolve(bindings, self._tree)
            problems += [
                f"{problem.message} [{problem.code}]"
                for problem in resolution.problems
                if problem.severity == "error"
            ]
            if problems:
                raise BindingsError("what is bound to it cannot run: " + "; ".join(problems))
            self._resolved[key] = _Bound(bindings, listed_keys(resolution))
        return self._resolved[key]

    def _wanted(self, settings: dict[str, Any], bound: _Bound | None) -> Wanted:
        is_executor = settings["agent_config_kind"] == "executor"
        if is_executor and self._program is None:
            self._program = executor_program()
        return Wanted(
            settings=settings,
            steps=self._steps,
            release=self.release,
            bindings=bound.bindings if bound else None,
            expected=bound.listed if bound else [],
            program=self._program if is_executor else None,
            unit=render_unit(_UNIT.read_text(), settings) if is_executor else "",
        )

    @property
    def release(self) -> Mapping[str, Any] | None:
        """What the hosts are held against; in check mode it may not be published yet."""
        if self._would_publish:
            # Check mode: this release does not exist yet, so no host can have it.
            number = (self._release or {}).get("number", 0) + 1
            return {"number": number, "commit": "(not yet published)"}
        return dict(self._release) if self._release else None


def _workers(action: ActionBase, task_vars: Mapping[str, Any]) -> int:
    """How many hosts at a time: `forks`, or `throttle` where the task has a lower one."""
    forks = int(task_vars.get("ansible_forks") or 5)
    throttle = int(action._task.throttle or 0)
    return min(forks, throttle) if throttle > 0 else forks
