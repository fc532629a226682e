"""Hosts and hostgroups of an Ansible inventory, INI or YAML, read in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller.fleet.importformats import Given, Place
from controller.fleet.schemas import HostgroupPatch
from controller.fleet.variables import is_password

_READER = Path(__file__).with_name("inventoryreader.py")
_SECONDS = 60
# The first line with something on it tells which of the two it is: `---`, `{` or `all:`.
_YAML = re.compile(r"(\s*(#[^\n]*)?\n)*(---|\{|[^\s\[#=]+:\s*(#[^\n]*)?(\n|$))")
_FIELDS = {"ansible_host": "address", "agent_config_kind": "agent_kind"}


def read_inventory(content: bytes) -> Given:
    """Hosts, hostgroups and their variables, of the text of an inventory.

    A host is put into its groups and all groups above them. `ansible_host` becomes its address,
    `agent_config_kind` its agent kind; what Ansible knows as a password becomes a secret.
    """
    given = Given()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        given.problems.append(Place(line=line).problem("is not UTF-8"))
        return given
    found = _run(text)
    given.problems += [
        Place(line=error["line"]).problem(error["message"]) for error in found["errors"]
    ]
    for host in found["hosts"]:
        given.add(Place(), _host(host))
    for name, variables in found["hostgroups"].items():
        try:
            given.hostgroups[name] = HostgroupPatch.model_validate(_sorted_out(variables))
        except ValidationError as error:
            given.problems += [
                Place().problem(f"hostgroup {name}: {part['msg']}") for part in error.errors()
            ]
    return given


def _run(text: str) -> dict[str, Any]:
    """What the reader's process prints."""
    with tempfile.TemporaryDirectory(prefix="plugfleet-import-") as folder:
        file = Path(folder, f"inventory.{'yml' if _YAML.match(text) else 'ini'}")
        file.write_text(text)
        # Nothing of the controller's environment: no configuration, no secrets.
        environment = {"HOME": folder, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-I", str(_READER), str(file)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_SECONDS, env=environment, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return _unread(f"reading it takes longer than {_SECONDS} s")
    if done.returncode != 0:
        return _unread("ansible-core cannot read it")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _unread(why: str) -> dict[str, Any]:
    return {"hosts": [], "hostgroups": {}, "errors": [{"line": None, "message": why}]}


def _host(host: Mapping[str, Any]) -> dict[str, Any]:
    variables = dict(host["variables"])
    fields = {ours: variables.pop(name) for name, ours in _FIELDS.items() if name in variables}
    named = {"name": host["name"], "hostgroups": host["hostgroups"]}
    return named | fields | _sorted_out(variables)


def _sorted_out(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables and, apart from them, what nobody is to see."""
    return {
        "variables": {key: value for key, value in variables.items() if not is_password(key)},
        "secrets": {key: str(value) for key, value in variables.items() if is_password(key)},
    }
