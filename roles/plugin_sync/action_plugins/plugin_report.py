"""Action `plugin_report`: what a visit came to on this host, as this host's own task result."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Give Ansible the host's result of `plugin_visit`, so that recap, diff and limits count it.

    With `change_fails`, a host that something was changed on, or would be in check mode, has failed.
    The name of the registered variable is passed rather than its value: templating the results of
    a whole batch for every host of it would grow with the square of the hosts.
    """

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        name, host = self._task.args.get("visit"), task_vars.get("inventory_hostname")
        try:
            visited: dict[str, Any] = task_vars[name]["hosts"][host]
        except (KeyError, TypeError):
            return {
                "failed": True,
                "msg": f"{name!r} holds no visit to {host}; register plugin_visit under that name",
            }
        fails = boolean(self._task.args.get("change_fails", False))
        # What the visit did step by step stands in its own registered result; here it would hide
        # the one sentence that matters. The controller, which keeps it, reads results, not lines.
        # States of plugins it has from the visit's journal, where it can read that: a wave that AWX
        # carries out is told of by these results alone.
        hidden: tuple[str, ...] = ("plugins", "steps", "needed")
        if self._display.verbosity or "PLUGFLEET_WAVE" in os.environ:
            hidden = ("plugins",)
        if "plugfleet_wave" in task_vars:
            hidden = ()
        result = {key: value for key, value in visited.items() if key not in hidden}
        if fails and result.get("changed") and not result.get("failed"):
            result["failed"] = True
            result["msg"] = f"not at its plan: {result.get('msg', '')}"
        # What was done to a host is worth its line; that one is right is said by its `ok`.
        result["_ansible_verbose_always"] = bool(visited.get("changed"))
        return result
