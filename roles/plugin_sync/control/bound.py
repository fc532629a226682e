"""The bindings that a visit brings about, read from the variables again rather than handed on by `plugin_source`.

What a task returns is in the run's events, which AWX shows to everybody who may see the job; bindings hold the
secrets of configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from controller.bindings.static import BindingsError, parse_bindings
from roles.plugin_sync.control.defaults import read_defaults

_DEFAULTS = Path(__file__).resolve().parents[2] / "plugin_source/defaults/main.yml"
_NAME = "plugin_source_bindings"


def bindings_of(
    action: ActionBase, task_vars: Mapping[str, Any], published: Mapping[str, Any]
) -> dict[str, Any]:
    """The bindings of the play, as its first host has them, like everything that `plugin_source` took.

    Args:
        published: what `plugin_source` returned.

    Raises:
        BindingsError: they are malformed, or not those that were held against the release.
    """
    task = action._task
    manager = task.get_variable_manager()
    first = manager._inventory.get_host(task_vars["ansible_play_hosts_all"][0])
    variables = manager.get_vars(play=task.play, host=first, task=task)
    if _NAME not in variables:
        defaults = read_defaults(action._loader, _DEFAULTS)
        variables = {**variables, _NAME: defaults[_NAME]}
    templar = action._templar.copy_with_new_env(available_variables=variables)
    bindings = parse_bindings(templar.template(variables[_NAME]) or {})
    if {group: len(entries) for group, entries in bindings.items()} != published.get("bound"):
        raise BindingsError(
            f"{_NAME} is not what the role plugin_source had; no host was touched: set it for the hosts, not "
            "for the role alone"
        )
    return bindings
