"""`plugfleet serve` with a heartbeat server: also while its database is away at the start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from controller.agents.lists import save
from tests.controller.agents.conftest import KEPT
from tests.controller.agents.falcon import GoClient
from tests.controller.agents.fleet import told, until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_controller_that_starts_without_its_database_answers_agents_until_it_is_back(
    tmp_path: Path,
) -> None:
    data, away, port = tmp_path / "data", tmp_path / "away", free_port()
    data.mkdir()
    save(data / "agents.json", KEPT)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")} | {
        "PLUGFLEET_DATA_DIR": str(data),
        "PLUGFLEET_DATABASE_URL": f"sqlite:///{away}/plugfleet.db",
        "PLUGFLEET_AGENTS_LISTEN": f"127.0.0.1:{port}",
        "PLUGFLEET_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "controller.cli", "serve", "--port", "0", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout and controller.stderr
        try:
            until(lambda: connects(port), "it listens", 30)
            with GoClient(port) as agent:
                assert agent.report("web1") == {"code": 0}
                assert agent.plugins("web1")[0] == ["sys/ntp", "sys/ntp/6_env.py(a,b)"]
                assert "waiting for the database" in controller.stderr.readline()
                away.mkdir()
                assert json.loads(controller.stdout.readline())["url"].startswith("http")
                until(lambda: told(agent, "web1") is None, "the database has no such host")
        finally:
            controller.terminate()
        controller.stderr.read()
        assert controller.wait(30) == 0


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
