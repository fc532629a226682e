"""With the controller's inventory, `ansible-playbook deploy-plugins.yml` does what the controller itself does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controller.server import Api
from tests.deploy.deployment import BIN, CHECKOUT, Source, step_script

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HOSTS = ("one", "two")


class Node:
    """A control node with this checkout, and hosts that are folders of this machine."""

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
        return {host["name"]: host["state"] for host in self.api.get("hosts")["items"]}

    def close(self) -> None:
        for name in HOSTS:
            root = self.folder / name
            if (root / "executor.pyz").exists():
                command = [sys.executable, root / "executor.pyz", "--config", root / "cfg.json"]
                subprocess.run([*command, "--stop"], check=False, capture_output=True)


@pytest.fixture
def node(api: Api, tmp_path: Path) -> Iterator[Node]:
    made = Node(api, tmp_path)
    yield made
    made.close()


def test_shell_and_controller_take_each_others_work_as_done(node: Node) -> None:
    printed = node.play()
    for name in HOSTS:
        assert f"changed: [{name}] =>" in printed, printed
    assert node.states() == {"one": "converged", "two": "converged"}
    bound = (node.folder / "one/bindings.json").read_text()
    assert "sys/web" in bound and "sys/disk" in bound
    assert "sys/web" not in (node.folder / "two/bindings.json").read_text()
    [reported] = node.api.get("deployments")["items"]
    assert reported["status"] == "succeeded"
    assert reported["hosts"] == {"changed": 2}

    assert node.deploy()["hosts"] == {"current": 2}

    node.source.write("sys/disk/60_disk.sh", step_script("disk", 2))
    node.source.commit()
    node.api.send("POST", "releases", 201, json={})
    assert node.deploy()["hosts"] == {"changed": 2}
    assert "changed:" not in node.play()
    assert "2" in (node.folder / "two/agent/plugin/sys/disk/60_disk.sh").read_text()
    # Two runs from the shell and two of the controller's own, which it does not hear of twice.
    assert len(node.api.get("deployments")["items"]) == 4

    (node.folder / "two/agent/plugin/sys/disk/60_disk.sh").write_text("#!/bin/sh\necho []\n")
    node.play("--check")
    assert node.states() == {"one": "converged", "two": "drifted"}
    assert "edited sys/disk/60_disk.sh" in node.api.get("hosts/two")["last_error"]
    assert node.deploy()["hosts"] == {"changed": 1, "current": 1}
    assert node.states()["two"] == "converged"
