"""Action `plugin_rollback`: let the controller whose hosts they are go back to an older release."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# The roles work from a checkout, where nothing is installed: its rooms are importable from its top.
_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from roles.plugin_source.control.rollback import (  # noqa: E402
    Controller,
    RollbackError,
    RolledBack,
)
from roles.plugin_sync.control.summary import sentence, stats  # noqa: E402

_OPTIONS = {"release", "controller", "max_lost", "batch_size", "timeout"}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Ask the controller to publish the old release again and to bring it to the hosts of the play.

    Returns `hosts` with a task result for each and `stats`, as `plugin_visit` does. In check mode the
    controller says what it would publish, and no host is looked at.
    """

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars, args = task_vars or {}, self._task.args
        if unknown := sorted(set(args) - _OPTIONS):
            return result | {"failed": True, "msg": f"unknown options: {', '.join(unknown)}"}
        played = [str(name) for name in task_vars["ansible_play_hosts_all"]]
        check = bool(self._task.check_mode)
        try:
            done = _controller(args).roll_back(
                _number("plugin_release", args["release"]),
                played,  # an inventory need not have all hosts of the controller
                max_lost=_number("plugin_max_lost", args.get("max_lost")),
                batch_size=_number("plugin_serial", args.get("batch_size")),
                dry_run=check,
            )
        except RollbackError as error:
            return result | {"failed": True, "msg": str(error)}
        hosts = _of_the_play(done, played) if done.deployment else {}
        told = stats(hosts, done.release, check=check)
        if check:
            said = _would(done, int(args["release"]))
            told["plugfleet_summary"] = [said]
        else:
            said = f"{sentence(hosts)}; deployment {done.deployment} {done.status}"
            said += f": {done.reason}" if done.reason else ""
            self._display.display(f"plugfleet: {said}, by {args['controller']}")
            # Else each host that was lost fails by itself, in its report.
            lost = any(host.get("failed") or host.get("unreachable") for host in hosts.values())
            result["failed"] = done.status != "succeeded" and not lost
        return result | {
            "changed": done.changed or any(host.get("changed") for host in hosts.values()),
            "msg": said,
            "hosts": hosts,
            "stats": told,
            "deployment": done.deployment,
        }


def _controller(args: Mapping[str, Any]) -> Controller:
    token = os.environ.get("PLUGFLEET_TOKEN", "")
    url = str(args["controller"])
    if not token:
        raise RollbackError(
            f"{url} is to be asked: set PLUGFLEET_TOKEN to a token of it with scope operator"
        )
    authority = os.environ.get("PLUGFLEET_CA_FILE", "")
    return Controller(url, token, float(args.get("timeout") or 60), authority)


def _number(name: str, value: Any) -> int:
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise RollbackError(f"{name} must be a number, 0 or more, not {value!r}")
    return number


def _of_the_play(done: RolledBack, played: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    missing = {"failed": True, "msg": f"deployment {done.deployment} does not have this host"}
    return {name: done.hosts.get(name, missing) for name in played}


def _would(done: RolledBack, number: int) -> str:
    if not done.changed:
        return f"the newest release has the tree of release {number} already"
    return f"would publish release {number} again, as the newest one ({done.files} files differ)"
