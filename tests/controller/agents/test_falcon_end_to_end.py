"""From `bind` to data: a controller, its playbooks, and a stand-in of the Open-Falcon agent (tests/falcon)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.agents.flow import Agents
from controller.settings import Settings
from tests.controller.agents.fleet import until
from tests.controller.server import Api
from tests.controller.sources import SourceRepository
from tests.deploy.deployment import step_script
from tests.falcon.command import build

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

INTERVAL = 1  # seconds between heartbeats
# Seconds for everything else on the way: threads, one git rev-parse, a write to the database.
SLACK = 3
CONTROL = """#!/bin/sh
cd "$(dirname "$0")" || exit
mkdir -p var
nohup {python} ./falcon-agent -c cfg.json --records records >var/app.log 2>&1 &
echo $! >var/app.pid
"""


class FalconHost:
    """A folder of this machine with an agent in the old layout: `./control`, cfg.json, an empty plugin/.

    Its plugin section is off, and its heartbeats go nowhere.
    """

    def __init__(self, name: str, home: Path) -> None:
        self.name, self.home = name, home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{free.getsockname()[1]}"
        for folder in ("plugin", "records"):
            (home / folder).mkdir(parents=True)
        heartbeat = {"enabled": True, "addr": "127.0.0.1:1", "interval": INTERVAL, "timeout": 1000}
        config = {
            "hostname": name,
            "plugin": {"enabled": False, "dir": "./plugin", "git": "", "logs": "./logs"},
            "heartbeat": heartbeat,
            "transfer": {"enabled": False},
            "http": {"enabled": True, "listen": self.listen, "backdoor": False},
            "collector": {},
        }
        (home / "cfg.json").write_text(json.dumps(config))
        build(home / "falcon-agent")
        control = home / "control"
        control.write_text(CONTROL.format(python=sys.executable))
        control.chmod(0o755)
        subprocess.run([control, "start"], check=True)

    def variables(self, hbs: int) -> dict[str, Any]:
        """What its inventory says: nothing of where the agent is."""
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "plugin_sync_root": str(self.home.parent / f"{self.name}-plugfleet"),
            "agent_update_listen": self.listen,
            "agent_config_settings": {"heartbeat": {"addr": f"127.0.0.1:{hbs}"}},
        }

    def delivered(self) -> set[str]:
        """The metrics that its plugins have delivered."""
        file = self.home / "records/metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return {json.loads(line)["metric"] for line in lines}

    def git(self, *args: str) -> None:
        subprocess.run(["git", *args], check=True, capture_output=True)

    def close(self) -> None:
        for line in (self.home / "var/app.pid").read_text().split():
            os.kill(int(line), signal.SIGTERM)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FalconHost]:
    made = FalconHost("web1", tmp_path / "agent")
    yield made
    made.close()


def test_what_is_bound_runs_after_a_heartbeat_and_a_step_and_is_seen_with_no_visit(
    api: Api, hbs: Agents, host: FalconHost, tmp_path: Path, settings: Settings
) -> None:
    def state() -> tuple[str, int]:
        shown = api.get("hosts/web1")
        return shown["state"], shown["reported_release"]

    source = SourceRepository(tmp_path / "plugins")
    source.write("sys/one/1_one.sh", step_script("one"))
    source.write("sys/two/1_two.sh", step_script("two"))
    source.commit()
    api.send("POST", "sources", 201, json={"name": "plugins", "url": str(source.path)})
    spec = {"name": "web1", "agent_kind": "falcon", "variables": host.variables(hbs.port)}
    api.send("POST", "hosts", 201, json=spec)
    api.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/one"})
    api.send("POST", "releases", 201, json={})

    started = api.send("POST", "deployments", 202, json={})
    until(lambda: api.get(f"deployments/{started['id']}")["ended"], "the deployment ends", 60)
    shown = api.get(f"deployments/{started['id']}")
    assert shown["status"] == "succeeded", api.get(f"deployments/{started['id']}/hosts")
    until(lambda: state() == ("converged", 1), "it has converged")
    until(lambda: host.delivered() == {"one"}, "the bound plugin runs")

    api.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/two/1_two.sh"})
    bound = time.monotonic()
    until(lambda: host.delivered() == {"one", "two"}, "what is bound now runs too")
    assert time.monotonic() - bound <= INTERVAL + 1 + SLACK
    until(lambda: state() == ("converged", 1), "its plan is its own again")

    # A release that comes to the host by another way is known by the agent's PluginVersion.
    source.write("sys/one/1_one.sh", step_script("other"))
    source.commit()
    api.send("POST", "releases", 201, json={})
    until(lambda: state()[0] == "pending", "it lacks the release")
    mirror = tmp_path / "web1-plugfleet/mirror.git"
    line = settings.catalog_dir / "deploy.git"
    host.git("-C", str(mirror), "fetch", "--quiet", str(line), "deploy:deploy")
    host.git("-C", str(host.home / "plugin"), "pull", "--quiet")
    until(lambda: state() == ("converged", 2), "the heartbeat says so")
    until(lambda: "other" in host.delivered(), "the new script runs")
    assert len(api.get("deployments")["items"]) == 1
