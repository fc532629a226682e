"""The roles' variables of one host, checked against the roles' own argument specs.

A visit runs for all hosts in one task, so Ansible's per-host argument check (20 ms of the control
node each) does not run; the same specs are applied here with Ansible's own validator. Hosts whose
variables are the same share the result: templating them again costs 16 ms a host.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader

from roles.agent_config.control.discovery import VARIABLES, plain
from roles.plugin_sync.control.defaults import read_defaults

_ROLES = Path(__file__).resolve().parents[2]
VISITED_ROLES = ("plugin_sync", "agent_config", "agent_update", "executor")

# What may be empty: paths that a host with an Open-Falcon agent shows by itself, and the one that no
# other host has.
_FOUND = set(VARIABLES.values())
_UNUSED = {VARIABLES["home"]}

# What a template that reads one of these comes to cannot be told from the host's own variables.
_BOUNDLESS = {"hostvars", "vars", "lookup", "query", "q"}


class SettingsError(Exception):
    """A variable of a host is of the wrong kind."""


class Settings:
    """Reads the variables of the visited roles.

    Args:
        loader: Ansible's loader, for the roles' defaults.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._defaults: dict[str, Any] = {}
        for role in VISITED_ROLES:
            path = _ROLES / role / "defaults/main.yml"
            self._defaults |= read_defaults(loader, path)
        self._validator = ArgumentSpecValidator(_spec())
        self._known: dict[str, dict[str, Any]] = {}

    def variables(self, host_variables: Mapping[str, Any]) -> dict[str, Any]:
        """A host's variables with the roles' defaults below them."""
        return {**self._defaults, **host_variables}

    def read(self, templar: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The roles' options of a host, templated and converted to their types.

        Raises:
            SettingsError: names the variable, what it is and what it should be.
        """
        names = _read_variables(self._defaults, variables)
        if names & _BOUNDLESS:
            return self._evaluate(templar, variables)
        key = repr(sorted((name, variables.get(name)) for name in names))
        if key not in self._known:
            self._known[key] = self._evaluate(templar, variables)
        return dict(self._known[key])

    def _evaluate(self, templar: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: templar.template(variables[name]) for name in self._defaults}
        empty = sorted(name for name, value in values.items() if value is None)
        if empty:
            raise SettingsError(f"{', '.join(empty)}: has no value; give it one or remove the line")
        checked = self._validator.validate(values)
        if checked.error_messages:
            raise SettingsError("; ".join(checked.error_messages))
        settings = dict(checked.validated_parameters)
        found_on_host = _FOUND if settings["agent_config_kind"] == "falcon" else _UNUSED
        for name in _paths():
            if not settings[name] and name in found_on_host:
                continue
            if not settings[name].startswith("/"):
                raise SettingsError(f"{name} must be an absolute path, not {settings[name]!r}")
        if folder := settings["agent_config_plugin_dir"]:
            # Agents answer with theirs, and one with a slash at its end would clone below it.
            settings["agent_config_plugin_dir"] = plain(folder)
        _refuse_half_a_way(settings)
        return settings


def _refuse_half_a_way(settings: Mapping[str, Any]) -> None:
    """Refuse a way of starting the agent that lacks what it needs, or contradicts another."""
    way, command = settings["agent_config_started_by"], settings["agent_config_restart_command"]
    if way == "command" and not command:
        raise SettingsError(
            "agent_config_started_by is command; set agent_config_restart_command to the command"
        )
    if command and way not in ("command", "auto"):
        raise SettingsError(
            f"agent_config_restart_command is set, and agent_config_started_by is {way}; remove one"
        )
    if settings["agent_config_unit"] and (command or way not in ("systemd", "auto")):
        raise SettingsError(
            "agent_config_unit names a systemd unit; agent_config_started_by must be systemd, and "
            "agent_config_restart_command empty"
        )


def _read_variables(options: Mapping[str, Any], variables: Mapping[str, Any]) -> set[str]:
    """The options, and every variable that their templates read, directly or through others."""
    found: set[str] = set()
    pending = set(options)
    while pending:
        name = pending.pop()
        found.add(name)
        for text in _texts(variables.get(name)):
            pending |= _references(text) - found
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every template in a value, however deep."""
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


@functools.cache
def _references(template: str) -> set[str]:
    """The variables that a template reads; a broken one reads everything, so that it is evaluated."""
    try:
        return jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template))
    except jinja2.TemplateSyntaxError:
        return set(_BOUNDLESS)


@functools.cache
def _options() -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {}
    for role in VISITED_ROLES:
        text = (_ROLES / role / "meta/argument_specs.yml").read_text()
        spec = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        options |= spec["argument_specs"]["main"]["options"]
    return options


def _paths() -> list[str]:
    return [name for name, option in _options().items() if option["type"] == "path"]


def _spec() -> dict[str, Any]:
    """The specs as the validator takes them.

    Without defaults: those come from defaults/main.yml, templated for the host. Paths are the
    host's: Ansible's own type would expand ~ and $VARIABLES to the control node's.
    """
    return {
        name: {k: v for k, v in option.items() if k == "choices"}
        | {"type": option["type"].replace("path", "str")}
        for name, option in _options().items()
    }
