"""The private folder of one run: in memory where the machine has that, removed when the run ends.

It holds the inventory with its secrets, so it is its owner's alone and never on a disk if that can
be helped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.errors import PlugfleetError

_MEMORY = Path("/dev/shm")
# A second instead of five between looks at the child: how fast a cancel is noticed.
_RUNNER_SETTINGS = {
    "pexpect_timeout": 1,
    "suppress_ansible_output": True,
    "suppress_output_file": True,
}


class RunDir:
    """The folder of a wave's run.

    Args:
        mark: of the wave's processes.
        fallback: where to put it on a machine without /dev/shm.
    """

    def __init__(self, mark: str, fallback: Path) -> None:
        base = _MEMORY if os.access(_MEMORY, os.W_OK) else fallback
        self.path = base / f"plugfleet-{mark}"
        self.inventory = self.path / "inventory" / "hosts.json"
        self.journal = self.path / "journal"
        # Outlives the run, as the connections in it do; short, as names of sockets must be.
        self.sockets = base / f"plugfleet-{mark.partition('-')[2]}-cp"
        self.temporary = self.path / "tmp"

    def make(self, inventory: Mapping[str, Any]) -> None:
        """Make it anew with an inventory in it.

        Raises:
            PlugfleetError: something of somebody else's stands in its place, or there is no room.
        """
        try:
            self._make(inventory)
        except OSError as error:
            self.remove()
            raise PlugfleetError(
                f"the run's folder {self.path} cannot be made: {error.strerror or error}; no host was "
                "visited",
                hint=f"make room in {self.path.parent}, then deploy again",
            ) from error

    def _make(self, inventory: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.remove()
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise PlugfleetError(
                f"{self.path} is there and cannot be removed", hint="remove it, as its owner"
            ) from None
        for folder in (self.inventory.parent, self.temporary, self.path / "env"):
            folder.mkdir(mode=0o700)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.lstat().st_uid != os.getuid() or self.sockets.is_symlink():
            raise PlugfleetError(f"{self.sockets} belongs to somebody else", hint="remove it")
        _write(self.inventory, inventory)
        # Given as an argument they would be lost where no env files are written (ansible-runner
        # 2.4.3, config/_base.py prepare_env).
        _write(self.path / "env" / "settings", _RUNNER_SETTINGS)

    def remove(self) -> None:
        """Remove it and all that is in it."""
        if self.path.exists() and self.path.lstat().st_uid == os.getuid():
            shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.sockets.rmdir()  # which it is only if no connection is kept


def static_inventory(document: Mapping[str, Any]) -> dict[str, Any]:
    """An inventory that Ansible reads from a file, of the document that scripts answer with.

    A file is not run as a script from folders that are mounted `noexec`, as /dev/shm often is.
    """
    hostvars: Mapping[str, Any] = document.get("_meta", {}).get("hostvars", {})
    everything: Mapping[str, Any] = document.get("all", {})
    children: dict[str, Any] = {
        name: {
            "hosts": {host: {} for host in group.get("hosts", ()) if host in hostvars},
            "vars": group.get("vars", {}),
        }
        for name, group in document.items()
        if name not in ("_meta", "all")
    }
    # Bindings may name hostgroups that none of these hosts is in.
    for name in everything.get("vars", {}).get("plugin_bindings", {}):
        if name != "all":
            children.setdefault(name, {})
    return {
        "all": {
            "vars": dict(everything.get("vars", {})),
            "hosts": {name: dict(variables) for name, variables in hostvars.items()},
            "children": children,
        }
    }


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(value, file)
