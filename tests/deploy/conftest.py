"""Fleets for deployments: hosts as any user has them on loopback, and root's own in namespaces."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.deployment import Deployment
from tests.fleet import LoopbackFleet, NamespaceFleet
from tests.fleet.loopback import reserve_port

if TYPE_CHECKING:
    from tests.deploy.falcon_host import MakeAgents

MakeDeployment = Callable[..., Deployment]


@pytest.fixture
def deployment(namespace_fleet: NamespaceFleet, tmp_path: Path) -> Iterator[MakeDeployment]:
    """Makes deployments to five light hosts, which are as new for every test."""
    made: list[Deployment] = []

    def make(**options: Any) -> Deployment:
        variables = {"executor_service": "process", **options.pop("variables", {})}
        options.setdefault("bindings", {"all": ["sys/one", "sys/two"]})
        made.append(Deployment(namespace_fleet, tmp_path, variables=variables, **options))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()
    for host in namespace_fleet:
        host.kill()
    for host in namespace_fleet:
        host.start(fresh=True)


@pytest.fixture
def agents(deployment: MakeDeployment) -> MakeAgents:
    """Makes deployments to five hosts with an Open-Falcon agent each."""
    from tests.deploy.falcon_host import make_agents  # which itself is made with this module

    return make_agents(deployment)


@pytest.fixture
def unprivileged(loopback_fleet: LoopbackFleet, tmp_path: Path) -> Iterator[MakeDeployment]:
    """Makes deployments to five hosts of the current user, a folder and a port each."""
    made: list[Deployment] = []
    roots = {host.name: host.root / tmp_path.name for host in loopback_fleet}

    def make(**options: Any) -> Deployment:
        hostvars = {}
        for host in loopback_fleet:
            port = reserve_port("127.0.0.1")
            hostvars[host.name] = {
                "plugin_sync_root": str(roots[host.name]),
                "agent_update_listen": f"127.0.0.1:{port.getsockname()[1]}",
            }
            port.close()
        variables = {
            "executor_service": "process",
            "executor_user": "",
            "agent_config_settings": {
                "hostname": "{{ inventory_hostname }}",
                "executor": {"jsonl": {"path": "{{ plugin_sync_root }}/metrics.jsonl"}},
            },
            **options.pop("variables", {}),
        }
        options.setdefault("bindings", {"all": ["sys/one", "sys/two"]})
        made.append(
            Deployment(loopback_fleet, tmp_path, variables=variables, hostvars=hostvars, **options)
        )
        return made[-1]

    yield make
    for root in roots.values():
        if (root / "executor.pyz").exists():
            subprocess.run(
                [
                    "/usr/bin/python3",
                    root / "executor.pyz",
                    "--config",
                    root / "cfg.json",
                    "--stop",
                ],
                check=True,
                capture_output=True,
            )
    for deployment in made:
        deployment.close()


def delivered(root: Path, metrics: set[str], *, seconds: float = 30) -> bool:
    """Wait until all these metrics have arrived in a host's metrics file."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        path = root / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        if metrics <= {json.loads(line)["metric"] for line in lines}:
            return True
        time.sleep(0.1)
    return False
