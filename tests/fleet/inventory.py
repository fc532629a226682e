"""Writes an Ansible inventory: INI for how to reach hosts, JSON beside it for variables.

Variables go to host_vars/ and group_vars/ as JSON because INI values change their type
(ansible-core, plugins/inventory/ini.py: literal_eval of every host value).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import FleetError

Variables = Mapping[str, object]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def write(
    folder: Path,
    hosts: Mapping[str, Mapping[str, str | int]],
    *,
    groups: Mapping[str, Iterable[str]],
    hostvars: Mapping[str, Variables],
    groupvars: Mapping[str, Variables],
) -> Path:
    """Writes `folder`/hosts.ini and what stands beside it; returns the path of hosts.ini.

    `hosts` maps a host to its connection variables. Raises FleetError for a name that no host has.
    """
    members = {group: list(names) for group, names in groups.items()}
    for where, names in [*members.items(), ("hostvars", hostvars)]:
        unknown = sorted(set(names) - set(hosts))
        if unknown:
            raise FleetError(f"{where}: no host of this fleet is called {', '.join(unknown)}")
    for group in [*members, *groupvars]:
        if not NAME.match(group):
            raise FleetError(f"{group!r}: a group's name is letters, digits and _")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    lines = []
    for host, variables in hosts.items():
        pairs = [f"{key}={_quoted(value)}" for key, value in variables.items()]
        lines.append(" ".join([host, *pairs]))
    for group, names in members.items():
        lines += ["", f"[{group}]", *names]
    (folder / "hosts.ini").write_text("\n".join(lines) + "\n")
    for kind, table in (("host_vars", hostvars), ("group_vars", groupvars)):
        for name, values in table.items():
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")
    return folder / "hosts.ini"


def _quoted(value: str | int) -> str:
    return f"'{value}'" if " " in str(value) else str(value)
