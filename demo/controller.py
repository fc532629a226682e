"""The demo's controller: started as a person would, filled over REST."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from demo.hosts import BINDINGS, GROUPS, DemoHost

PROGRAM = Path(sys.executable).with_name("plugfleet")


class StartFailed(Exception):
    """The controller did not start; its log says why."""


class DemoController:
    """A controller with a data folder of its own.

    Attributes:
        url: where it listens.
        token: its admin token.
        log: the file that it logs to.
    """

    def __init__(self, folder: Path) -> None:
        """Start it.

        Raises:
            StartFailed: it ended at once.
        """
        folder.mkdir(parents=True)
        self.log = folder / "controller.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        # ansible-playbook is looked for on PATH; what is in this virtual environment goes first.
        environment["PATH"] = f"{PROGRAM.parent}:{environment['PATH']}"
        environment |= {
            "PLUGFLEET_CONFIG": os.devnull,
            "PLUGFLEET_DATA_DIR": str(folder / "data"),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", "--port", "0", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Ctrl-C is for the demo, which ends the controller in its turn.
                start_new_session=True,
            )
        _pid_file(folder).write_text(str(self._process.pid))
        assert self._process.stdout
        said = self._process.stdout.readline()
        if not said:
            raise StartFailed(self.log.read_text(errors="replace")[-2000:])
        started = json.loads(said)
        self.url, self.token = started["url"], started["token"]

    def fill(self, hosts: list[DemoHost], source: Path) -> None:
        """Tell it about the hosts, the hostgroups, the source, and what runs where."""
        for host in hosts:
            variables = {
                "plugin_sync_root": str(host.root),
                "agent_update_listen": f"127.0.0.1:{host.port}",
            }
            self._send("POST", "hosts", {"name": host.name, "variables": variables})
        everywhere = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "executor_python": sys.executable,
            "executor_service": "process",
            "executor_user": "",
            "agent_config_settings": {
                "hostname": "{{ inventory_hostname }}",
                "executor": {"jsonl": {"path": "{{ plugin_sync_root }}/metrics.jsonl"}},
            },
        }
        self._send("PATCH", "hostgroups/all", {"variables": everywhere})
        for group, members in GROUPS.items():
            self._send("POST", "hostgroups", {"name": group})
            self._send("POST", f"hostgroups/{group}/members", {"add": list(members)})
        self._send("POST", "sources", {"name": "starter", "url": str(source)})
        # What the demo hosts check over the network is the first one's executor.
        bindings = json.loads(json.dumps(BINDINGS).replace("{port}", str(hosts[0].port)))
        for group, bound in bindings.items():
            for binding in bound:
                wanted = {"plugin": binding} if isinstance(binding, str) else binding
                self._send("POST", "bindings", {"hostgroup": group, **wanted})

    def viewer_token(self) -> str:
        """A token that may look at everything and change nothing."""
        made: str = self._send("POST", "tokens", {"name": "demo-viewer", "scope": "viewer"})[
            "token"
        ]
        return made

    def run(self, *words: str) -> int:
        """Run a `plugfleet` command that speaks to it; returns the exit status."""
        environment = os.environ | {"PLUGFLEET_URL": self.url, "PLUGFLEET_TOKEN": self.token}
        return subprocess.run([PROGRAM, *words], env=environment, check=False).returncode

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        response = httpx2.request(
            method,
            f"{self.url}/api/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
        )
        if response.is_error:
            raise StartFailed(f"{method} {path}: {response.json()['detail']}")
        return response.json()


def end_former(folder: Path) -> None:
    """End the controller that a killed demo left running in the folder."""
    try:
        pid = int(_pid_file(folder).read_text())
        command = Path(f"/proc/{pid}/environ").read_bytes()
    except (OSError, ValueError):
        return
    if f"PLUGFLEET_DATA_DIR={folder / 'data'}".encode() in command.split(b"\0"):
        os.kill(pid, signal.SIGTERM)


def _pid_file(folder: Path) -> Path:
    return folder / "controller.pid"
