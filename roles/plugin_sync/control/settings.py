"""The roles' variables of one host, checked against the roles' own argument specs.

A visit runs for all hosts in one task, so Ansible's per-host argument check (20 ms of the control
node each) does not run; the same specs are applied here with Ansible's own validator.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader

_ROLES = Path(__file__).resolve().parents[2]
VISITED_ROLES = ("plugin_sync", "agent_config", "agent_update", "executor")


class SettingsError(Exception):
    """A variable of a host is of the wrong kind."""


class Settings:
    """Reads the variables of the visited roles.

    Args:
        loader: Ansible's loader, which marks the roles' defaults as templates to be trusted.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._defaults: dict[str, Any] = {}
        for role in VISITED_ROLES:
            path = str(_ROLES / role / "defaults/main.yml")
            self._defaults |= loader.load_from_file(path, trusted_as_template=True)
        self._validator = ArgumentSpecValidator(_spec())

    def variables(self, host_variables: Mapping[str, Any]) -> dict[str, Any]:
        """A host's variables with the roles' defaults below them."""
        return {**self._defaults, **host_variables}

    def read(self, templar: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The roles' options of a host, templated and converted to their types.

        Raises:
            SettingsError: names the variable, what it is and what it should be.
        """
        values = {name: templar.template(variables[name]) for name in self._defaults}
        checked = self._validator.validate(values)
        if checked.error_messages:
            raise SettingsError("; ".join(checked.error_messages))
        return dict(checked.validated_parameters)


@functools.cache
def _spec() -> dict[str, Any]:
    options: dict[str, Any] = {}
    for role in VISITED_ROLES:
        text = (_ROLES / role / "meta/argument_specs.yml").read_text()
        spec = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for name, option in spec["argument_specs"]["main"]["options"].items():
            # The defaults come from defaults/main.yml, templated for the host.
            options[name] = {k: v for k, v in option.items() if k in ("type", "choices")}
    return options
