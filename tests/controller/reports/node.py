"""A control node with this checkout, and a controller whose hosts are folders of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.controller.server import Api
from tests.deploy.deployment import BIN, CHECKOUT, Source, step_script

HOSTS = ("one", "two")


class Node:
    """A controller with a release and bindings, and a shell in this checkout.

    Attributes:
        source: what the release is made of.
        folder: below it lies each host's folder, called like the host.
    """

    def __init__(self, api: Api, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.source = Source(folder / "source")
        self.source.write("sys/disk/60_disk.sh", step_script("disk"))
        self.source.write("sys/web/60_web.sh", step_script("web"))
        self.source.commit()
        api.send("POST", "sources", 201, json={"name": "plugins", "url": str(self.source.path)})
        api.send("POST", "hostgroups", 201, json={"name": "web"})
        for name in HOSTS:
            api.send("POST", "hosts", 201, json={"name": name, "variables": self._variables(name)})
        api.send("POST", "hostgroups/web/members", 200, json={"add": ["one"]})
        api.send("POST", "releases", 201, json={})
        for hostgroup, plugin in (("all", "sys/disk"), ("web", "sys/web")):
            api.send("POST", "bindings", 201, json={"hostgroup": hostgroup, "plugin": plugin})

    def _variables(self, name: str) -> dict[str, Any]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "plugin_sync_root": str(self.folder / name),
            "plugin_sync_user": "",
            "agent_update_listen": f"127.0.0.1:{port}",
            "executor_service": "process",
            "executor_user": "",
        }

    def play(self, *args: str) -> str:
        """A run from a shell in the checkout, with its own inventory folder."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", "deploy-plugins.yml", *args],
            cwd=CHECKOUT,
            env=inherited
            | {
                "PLUGFLEET_URL": self.api.url,
                "PLUGFLEET_TOKEN": self.api.token,
                "PLUGFLEET_DATA_DIR": str(self.folder / "node"),
                "PLUGFLEET_INVENTORY_CACHE": str(self.folder / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self) -> dict[str, Any]:
        """A deployment of the controller's; the one that has ended."""
        started = self.api.send("POST", "deployments", 202, json={})
        deadline = time.monotonic() + 60
        while True:
            shown: dict[str, Any] = self.api.get(f"deployments/{started['id']}")
            if shown["ended"]:
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)

    def states(self) -> dict[str, str]:
        """The states of the hosts, as the controller has them."""
        return {host["name"]: host["state"] for host in self.api.get("hosts")["items"]}

    def close(self) -> None:
        """Stop the hosts' executors."""
        for name in HOSTS:
            root = self.folder / name
            if (root / "executor.pyz").exists():
                command = [
                    sys.executable,
                    str(root / "executor.pyz"),
                    "--config",
                    str(root / "cfg.json"),
                ]
                subprocess.run([*command, "--stop"], check=False, capture_output=True)
