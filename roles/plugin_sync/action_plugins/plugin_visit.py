"""Action `plugin_visit`: one visit to every host of the batch, many at a time, in one task.

A task of its own for every host and step costs the control node about 20 ms of CPU and the host
0.2 s for Ansible's module payload; here each host costs one look, and an act where it is not right.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from agentplugin.plans import resolve  # noqa: E402
from controller.bindings.static import bindings_of, listed_keys  # noqa: E402
from controller.catalog.git import Repository  # noqa: E402
from controller.catalog.tree import GitTree  # noqa: E402
from roles.plugin_sync.control.connections import ConnectionRefused, HostConnection  # noqa: E402
from roles.plugin_sync.control.journal import Journal  # noqa: E402
from roles.plugin_sync.control.packs import Packs  # noqa: E402
from roles.plugin_sync.control.plan import STEPS, Program, Wanted, render_unit  # noqa: E402
from roles.plugin_sync.control.program import executor_program  # noqa: E402
from roles.plugin_sync.control.settings import Settings, SettingsError  # noqa: E402
from roles.plugin_sync.control.visit import Visitor, unexpected  # noqa: E402

_UNIT = Path(_CHECKOUT, "roles/executor/files/plugfleet-executor.service")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Visit the hosts of the batch; `hosts` of the result has a task result for each.

    It does not fail by itself: `plugin_report`, a task for each host, tells Ansible what came of
    that host.
    """

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        steps = self._task.args.get("steps") or []
        unknown = sorted(set(steps) - set(STEPS))
        if unknown or not steps:
            return result | {
                "failed": True,
                "msg": f"steps must be some of {', '.join(STEPS)}; got {steps!r}",
            }
        batch = _Batch(self, frozenset(steps), self._task.args.get("published") or {})
        hosts = batch.visit(list(task_vars["ansible_play_batch"]), _workers(self, task_vars))
        result["hosts"] = hosts
        result["changed"] = any(host.get("changed") for host in hosts.values())
        result["msg"] = _sentence(hosts)
        return result


class _Batch:
    """The hosts of one task, and what is the same for all of them."""

    def __init__(
        self, action: ActionBase, steps: frozenset[str], published: Mapping[str, Any]
    ) -> None:
        self._action = action
        self._steps = steps
        self._release = published.get("release")
        self._would_publish = bool(published.get("would_publish"))
        self._bindings = published.get("bindings")
        self._settings = Settings(action._loader)
        self._resolved: dict[str, list[str]] = {}
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
            except (AnsibleError, SettingsError, ConnectionRefused) as error:
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
        return HostConnection(action, variables), self._wanted(settings, variables)

    def _wanted(self, settings: dict[str, Any], variables: Mapping[str, Any]) -> Wanted:
        bindings = None
        expected: list[str] = []
        if self._bindings is not None and self._tree is not None:
            # Ansible leaves `all` out of a host's group names.
            bindings = bindings_of(["all", *variables["group_names"]], self._bindings)
            key = repr(bindings)
            if key not in self._resolved:
                self._resolved[key] = listed_keys(resolve(bindings, self._tree))
            expected = self._resolved[key]
        is_executor = settings["agent_config_kind"] == "executor"
        if is_executor and self._program is None:
            self._program = executor_program()
        return Wanted(
            settings=settings,
            steps=self._steps,
            release=self._wanted_release(),
            bindings=bindings,
            expected=expected,
            program=self._program if is_executor else None,
            unit=render_unit(_UNIT.read_text(), settings) if is_executor else "",
        )

    def _wanted_release(self) -> Mapping[str, Any] | None:
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


def _sentence(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    unreachable = sum(bool(host.get("unreachable")) for host in hosts.values())
    failed = sum(bool(host.get("failed")) for host in hosts.values())
    changed = sum(bool(host.get("changed") and not host.get("failed")) for host in hosts.values())
    right = len(hosts) - unreachable - failed - changed
    return (
        f"{len(hosts)} hosts: {right} right, {changed} changed, {failed} failed, "
        f"{unreachable} unreachable"
    )
