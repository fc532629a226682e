"""10,000 agents connected to one controller: what their heartbeats cost it, and how soon they are answered.

    .venv/bin/python -m benchmarks.bench_heartbeats [--agents 10000] [--seconds 60] [--database URL]

The agents are connections of a process of its own, from several loopback addresses: one address has too
few ports. Each asks as a Falcon agent does: ReportStatus and MinePlugins, one after the other, once in an
interval. Then they call as fast as the rate that must be sustained, and then the controller is restarted
under them. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.agent_crowd import play
from controller.agents.connection import OWED

ROOT = Path(__file__).resolve().parents[1]
GROUPS, BINDINGS = 50, 200
BARS = {
    "CPU at rest of the interval, % of a core": 35.0,
    "RSS, highest, MB": 400.0,
    "MinePlugins p99, ms": 100.0,
    "calls that were refused or lost": 0.0,
    "restart until all are answered, s": 60.0,
    "errors but the reconnect": 0.0,
}


class Controller:
    """A controller with a heartbeat server, which can be started again on the same ports."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        self._environment |= {
            "PLUGFLEET_DATA_DIR": str(folder / "data"),
            "PLUGFLEET_LOG_LEVEL": "warning",
            "PLUGFLEET_DATABASE_URL": database,
            "PLUGFLEET_AGENTS_LISTEN": f"127.0.0.1:{self.port}",
        }
        self._token = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "serve", "--port", "0", "--json"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        said = json.loads(self.process.stdout.readline())
        self._token = self._token or said["token"]
        self.client = httpx2.Client(
            base_url=f"{said['url']}/api/v1/",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=300,
        )

    def send(self, method: str, path: str, body: Any) -> Any:
        """The answer of a request that must be carried out."""
        answer = self.client.request(method, path, json=body)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        self.client.close()
        self.process.send_signal(how)
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def highest_rss(self) -> float:
        """The most memory that the process has had so far, in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def settle(self) -> None:
        """Wait until it is done with what follows a change."""
        before = -1.0
        while (spent := self.cpu()) - before > 0.05:
            before = spent
            time.sleep(1)


def fill(controller: Controller, count: int) -> None:
    """Hosts in hostgroups that have bindings."""
    dice = random.Random(20261122)
    for number in range(GROUPS):
        controller.send("POST", "hostgroups", {"name": f"group{number:02}"})
    for number in range(BINDINGS):
        body = {"hostgroup": f"group{number % GROUPS:02}", "plugin": f"sys/p{number:03}"}
        controller.send("POST", "bindings", body)
    hosts = [
        {
            "name": f"host{number:05}.example.com",
            "agent_kind": "falcon",
            "hostgroups": [f"group{group:02}" for group in dice.sample(range(GROUPS), 3)],
        }
        for number in range(count)
    ]
    for start in range(0, count, 5000):
        controller.send("POST", "hosts/import?format=json", hosts[start : start + 5000])


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Run it once."""
    controller = Controller(folder, arguments.database)
    start = multiprocessing.get_context("spawn")
    pipe, theirs = start.Pipe()
    crowd = start.Process(target=play, args=(arguments.agents, controller.port, theirs))
    figures: dict[str, float] = {}

    def tell(*words: Any) -> dict[str, Any]:
        pipe.send(words)
        found: dict[str, Any] = pipe.recv()
        return found

    try:
        fill(controller, arguments.agents)
        controller.settle()
        crowd.start()
        began = time.monotonic()
        tell("connect")
        figures["all connected in, s"] = time.monotonic() - began
        # The first ones write every host. As agents do, each speaks soon after it connected: who says
        # nothing in connection.OWED seconds is no agent.
        first = min(arguments.interval, OWED / 2)
        tell("beat", first, first)
        spent, began = controller.cpu(), time.monotonic()
        told = tell("beat", arguments.seconds, arguments.interval)
        share = (controller.cpu() - spent) / (time.monotonic() - began) * 100
        figures["CPU at rest of the interval, % of a core"] = share
        figures["MinePlugins p50, ms"] = told["p50"]
        figures["MinePlugins p99, ms"] = told["p99"]
        figures["MinePlugins, slowest, ms"] = told["worst"]
        figures["calls"] = told["calls"]
        bad = told["bad"] + told["late"]
        seconds = min(20.0, arguments.seconds)
        every = arguments.agents * 2 / arguments.rate
        spent, began = controller.cpu(), time.monotonic()
        told = tell("beat", seconds, every)
        figures["calls/s sustained"] = told["calls"] / seconds
        share = (controller.cpu() - spent) / (time.monotonic() - began) * 100
        figures["CPU at that rate, % of a core"] = share
        figures["MinePlugins p99 at that rate, ms"] = told["p99"]
        figures["calls that were refused or lost"] = bad + told["bad"]
        figures["RSS, highest, MB"] = controller.highest_rss()
        began = time.monotonic()
        controller.end()
        tell("nothing")  # what was under way when it ended
        controller.start()
        told = tell("return")
        figures["restart until all are answered, s"] = time.monotonic() - began
        figures["errors but the reconnect"] = told["bad"]
        figures["RSS after the restart, MB"] = controller.highest_rss()
        pipe.send(("end",))
        crowd.join(30)
    finally:
        if crowd.is_alive():
            crowd.kill()
        controller.end()
    return figures


def main() -> int:
    """Measure, print a table, and say by the exit code whether the bars were met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between heartbeats")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--rate", type=int, default=2_000, help="calls/s that must be sustained")
    parser.add_argument("--database", default="", help="URL; default an SQLite file")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < arguments.agents + 1000:
        raise SystemExit(
            f"{arguments.agents} connections need more open files than {most}: ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="plugfleet-bench-") as folder:
        measured = measure(arguments, Path(folder))
    bars = BARS | {"calls/s sustained": arguments.rate * 0.95}
    title = f"{arguments.agents} agents, heartbeat {arguments.interval:g} s, load before {load:.2f}"
    table = Table(title=title)
    for heading in ("", "measured", "bar"):
        table.add_column(heading, justify="left" if not heading else "right")
    missed = False
    for name, value in measured.items():
        bar = bars.get(name)
        least = name.endswith("sustained")
        good = bar is None or (value >= bar if least else value <= bar)
        missed |= not good
        shown = "" if bar is None else f"{'>=' if least else '<='} {bar:,.0f}"
        table.add_row(name, f"[{'none' if good else 'red'}]{value:,.1f}[/]", shown)
    Console(highlight=False).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
