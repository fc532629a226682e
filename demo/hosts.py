"""The demo hosts: a folder and an executor port each, in two hostgroups, with no root rights."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The first host is in both groups, to show that a host runs the union of its groups' bindings.
GROUPS = {"web": ("demo1", "demo2"), "db": ("demo1", "demo3")}

BINDINGS = {
    "all": ["sys/disk", "sys/load", "sys/memory"],
    "web": [
        "net/http/60_http_check.py(http://127.0.0.1:{port}/health)",
        {
            "plugin": "portcheck",
            "config": {"items": [{"host": "127.0.0.1", "port": "{port}"}], "pollInterval": 5000},
        },
    ],
    "db": ["sys/process/60_process_count.py(python3)"],
}


@dataclass(frozen=True)
class DemoHost:
    """One demo host.

    Attributes:
        name: its inventory name, and its endpoint in the metrics.
        root: the folder that stands for the host's disk.
        port: where its executor answers HTTP.
    """

    name: str
    root: Path
    port: int

    @property
    def metrics_file(self) -> Path:
        """The file that its metrics arrive in, one JSON object a line."""
        return self.root / "metrics.jsonl"

    def plugins(self) -> dict[str, dict[str, Any]]:
        """What its executor's `/plugins` says; empty while it does not answer."""
        try:
            url = f"http://127.0.0.1:{self.port}/plugins"
            with urllib.request.urlopen(url, timeout=5) as answer:
                data: dict[str, dict[str, Any]] = json.load(answer)["data"] or {}
                return data
        except (OSError, ValueError, KeyError):
            return {}

    def stop(self) -> None:
        """End its executor."""
        program = self.root / "executor.pyz"
        if program.exists():
            subprocess.run(
                [sys.executable, program, "--config", self.root / "cfg.json", "--stop"],
                check=False,
                capture_output=True,
            )


def make_hosts(folder: Path) -> list[DemoHost]:
    """Make the demo's folder anew; executors that an earlier demo left running are ended."""
    names = sorted({name for members in GROUPS.values() for name in members})
    for name in names:
        DemoHost(name, folder / "hosts" / name, 0).stop()
    shutil.rmtree(folder, ignore_errors=True)
    hosts = []
    for name, port in zip(names, free_ports(len(names)), strict=True):
        root = folder / "hosts" / name
        root.mkdir(parents=True)
        hosts.append(DemoHost(name, root, port))
    return hosts


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def make_source(folder: Path, plugins: Path) -> Path:
    """A git repository with the starter plugins, as a team would keep it."""
    source = folder / "plugins-repository"
    shutil.copytree(plugins, source)
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "-qm", "Starter plugins"]):
        subprocess.run(["git", *identity, *command], cwd=source, check=True)
    return source
