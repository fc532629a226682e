"""A program of its own: reads an Ansible inventory (INI or YAML) with ansible-core's own parsers.

    python -I inventoryreader.py FILE     FILE ends in .ini or .yml; prints JSON

A process apart, because ansible-core is large and keeps global state. Only the two parsers of text
are used, so nothing that the text names is executed; templates and vaulted values stay what they
are: text, and a reason to refuse.
"""

from __future__ import annotations

import datetime
import json
import re
import resource
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader

_MEMORY = 1024**3  # bytes; `web[0:999999999]` must not take the machine's
_SECONDS = 30
_OWN = ("inventory_file", "inventory_dir")  # InventoryData adds them
_EVERY_HOST = "all"
_AGENT_KIND = "agent_config_kind"


class _Refused(Exception):
    """A value that cannot be taken over."""


class _Unreadable(Exception):
    """The text is no inventory.

    Args:
        line: where, counted from 1, if that is known.
    """

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read(file: str) -> dict[str, Any]:
    """Hosts and hostgroups of an inventory file.

    Returns:
        `hosts` (name, variables, hostgroups), `hostgroups` (variables by name) and `errors`
        (line, message).

    Raises:
        _Unreadable: it is none.
    """
    inventory = InventoryData()
    parser = _yaml_parser(file) if file.endswith(".yml") else _ini_parser()
    try:
        parser.parse(inventory, DataLoader(), file, cache=False)
        inventory.reconcile_inventory()
    except AnsibleError as error:
        raise _Unreadable(_why(error), getattr(parser, "line", None)) from None
    errors: list[dict[str, Any]] = []
    groups = {
        group.name: _plain(group.vars, f"hostgroup {group.name}", errors)
        for group in inventory.groups.values()
    }
    hosts = []
    for host in inventory.hosts.values():
        own = {key: value for key, value in host.vars.items() if key not in _OWN}
        # Ansible lets the deeper group win; our hostgroups are flat and win by name alone. Where
        # that makes a difference, the host itself keeps Ansible's value.
        ours, theirs = _flat(host.get_groups(), groups), _nested(host.get_groups(), groups)
        kept = {key: value for key, value in theirs.items() if ours[key] != value}
        if _AGENT_KIND in theirs:
            kept[_AGENT_KIND] = theirs[_AGENT_KIND]
        names = sorted(group.name for group in host.get_groups())
        hosts.append(
            {
                "name": str(host.name),
                "variables": kept | _plain(own, f"host {host.name}", errors),
                "hostgroups": [name for name in names if name not in (_EVERY_HOST, "ungrouped")],
            }
        )
    for variables in groups.values():
        variables.pop(_AGENT_KIND, None)
    groups.pop("ungrouped")
    return {"hosts": hosts, "hostgroups": groups, "errors": errors}


def _ini_parser() -> Any:
    """The INI parser, with `line`: it counts lines itself, and tells nobody which one failed."""
    parser: Any = inventory_loader.get("ini", class_only=True)

    class Counting(parser):  # type: ignore[misc]  # ansible-core ships no types
        line: int | None = None

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "_origin" and getattr(value, "line_num", None):
                self.__dict__["line"] = value.line_num
            super().__setattr__(name, value)

    return Counting()


def _yaml_parser(file: str) -> Any:
    """The YAML parser; it does not say where the text is no YAML, so that is found out first."""
    try:
        yaml.compose(Path(file).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Unreadable(
            error.problem or "this is not YAML", mark.line + 1 if mark else None
        ) from None
    except yaml.YAMLError as error:
        raise _Unreadable(str(error).splitlines()[0], None) from None
    return inventory_loader.get("yaml")


def _why(error: AnsibleError) -> str:
    cause = error.__cause__
    if isinstance(cause, MemoryError):
        raise cause
    if cause is not None and not isinstance(cause, AnsibleError):
        return "this line cannot be read as one of an inventory"
    text = str(error).removeprefix("Failed to parse inventory: ")
    return re.sub(
        r"<class '[\w.]*?(?:_AnsibleTagged)?(\w+)'>", lambda found: found[1].lower(), text
    )


def _nested(groups: Iterable[Any], variables: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Variables as Ansible merges those of groups (ansible.inventory.helpers.sort_groups)."""
    ordered = sorted(groups, key=lambda group: (group.depth, group.priority, group.name))
    return {key: value for group in ordered for key, value in variables[group.name].items()}


def _flat(groups: Iterable[Any], variables: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Variables as flat hostgroups give them: `all` first, then by name."""
    ordered = sorted(groups, key=lambda group: (group.name != _EVERY_HOST, group.name))
    return {key: value for group in ordered for key, value in variables[group.name].items()}


def _plain(
    variables: Mapping[str, Any], whose: str, errors: list[dict[str, Any]]
) -> dict[str, Any]:
    """Variables as plain JSON data; those that are none are noted as errors and left out."""
    plain = {}
    for name, value in variables.items():
        try:
            plain[str(name)] = _value(value)
        except _Refused as refused:
            errors.append({"line": None, "message": f"{whose}: variable {name} {refused}"})
    return plain


def _value(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _value(item) for key, item in value.items()}
    if type(value).__name__ == "EncryptedString":
        raise _Refused("is encrypted with ansible-vault; give its value as a secret instead")
    if isinstance(value, datetime.date):
        raise _Refused("is a date, which JSON has not; put it in quotes")
    raise _Refused(f"is a {type(value).__name__}, which JSON has not")


def main() -> None:
    """Read the file that is named, print what it holds."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    try:
        found = read(sys.argv[1])
    except _Unreadable as error:
        found = _nothing(error.message, error.line)
    except (MemoryError, RecursionError):
        found = _nothing("it names more hosts, or is nested deeper, than can be taken", None)
    json.dump(found, sys.stdout)


def _nothing(message: str, line: int | None) -> dict[str, Any]:
    return {"hosts": [], "hostgroups": {}, "errors": [{"line": line, "message": message}]}


if __name__ == "__main__":
    main()
