"""What the controller takes for a fleet of 10,000 hosts, 200 hostgroups and 1,000 bindings in SQLite.

    python -m benchmarks.bench_controller [--hosts 10000]

A `plugfleet serve` of its own is filled over REST and asked over REST, one question at a time, from
this process on the same machine. Times are from sending a request to the last byte of its answer.
Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

ROOT = Path(__file__).resolve().parents[1]
GROUPS, RULES, BINDINGS, DIRECTORIES, CURRENT = 200, 20, 1000, 100, 1000
BARS = {
    "plan of one host p99, ms": 20.0,
    "page of hosts p99, ms": 50.0,
    "whole inventory (slowest of 3), ms": 3000.0,
    "unchanged inventory p99, ms": 300.0,
    "preview of a group change (slowest of 6), ms": 1000.0,
    "deployment of 1,000 current hosts, ms": 2000.0,
    "scrape of /metrics p99, ms": 100.0,
    "RSS, highest, MB": 250.0,
}


class Controller:
    """A serving controller, and a client with its admin token."""

    def __init__(self, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        environment |= {
            "PLUGFLEET_CONFIG": os.devnull,
            "PLUGFLEET_DATA_DIR": str(folder / "data"),
            "PLUGFLEET_LOG_LEVEL": "warning",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "serve", "--port", "0", "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        first = json.loads(self.process.stdout.readline())
        self.url = first["url"]
        self.client = httpx2.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Bearer {first['token']}"},
            timeout=120,
        )

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The answer of a request that must be carried out."""
        answer = self.client.request(method, path, **options)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    def timed(self, method: str, path: str, **options: Any) -> float:
        """Milliseconds that a request takes."""
        began = time.perf_counter()
        self.send(method, path, **options)
        return (time.perf_counter() - began) * 1000

    def highest_rss(self) -> float:
        """The most memory that the process has had so far, in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def settle(self) -> None:
        """Wait until it is done with what follows a change (states of hosts whose plans changed)."""
        process, before = psutil.Process(self.process.pid), -1.0
        while (spent := process.cpu_times().user) - before > 0.02:
            before = spent
            time.sleep(1)

    def close(self) -> None:
        """Stop it."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def serving(folder: Path) -> Iterator[Controller]:
    """A controller until the block ends, whatever happens in it."""
    controller = Controller(folder)
    try:
        yield controller
    finally:
        controller.close()


def make_source(folder: Path) -> Path:
    """A git repository with a plugin in each of 100 directories."""
    for number in range(DIRECTORIES):
        script = folder / f"p{number:03}" / "60_one.sh"
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\necho '[]' # {number}\n")
        script.chmod(0o755)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for args in (["init", "-q"], ["add", "--all"], [*identity, "commit", "-q", "-m", "plugins"]):
        subprocess.run(["git", "-C", str(folder), *args], check=True)
    return folder


def fill(controller: Controller, source: Path, hosts: int, dice: random.Random) -> list[str]:
    """Hosts, hostgroups, bindings and a release; returns the hosts' names."""
    for number in range(GROUPS):
        rule = f"rack=r{number}" if number < RULES else ""
        group = {"name": f"group{number:03}", "rule": rule, "variables": {"tier": f"t{number}"}}
        controller.send("POST", "hostgroups", json=group)
    names = [f"host{number:05}.example.com" for number in range(hosts)]
    rows = [
        {
            "name": name,
            "address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "labels": {"rack": f"r{number % 50}", "role": dice.choice(["web", "db", "cache"])},
            "variables": {"ansible_user": "deploy", "ansible_port": 22},
            "hostgroups": [f"group{g:03}" for g in dice.sample(range(RULES, GROUPS), 3)],
        }
        for number, name in enumerate(names)
    ]
    controller.send("POST", "hosts/import", params={"format": "json"}, content=json.dumps(rows))
    controller.send("POST", "sources", json={"name": "plugins", "url": str(source)})
    controller.send("POST", "releases", json={})
    for number in range(BINDINGS):
        plugin = f"p{number // GROUPS * 20 + dice.randrange(20):03}"
        binding = {"hostgroup": f"group{number % GROUPS:03}", "plugin": plugin}
        controller.send("POST", "bindings", json=binding)
    return names


def measure(controller: Controller, names: list[str], dice: random.Random) -> dict[str, float]:
    figures: dict[str, float] = {"RSS with the fleet in it, MB": controller.highest_rss()}
    plans = spread(lambda: controller.timed("GET", f"plans/{dice.choice(names)}"), 500)
    figures["plan of one host p50, ms"] = plans[0]
    figures["plan of one host p99, ms"] = plans[1]
    pages = spread(lambda: controller.timed("GET", "hosts", params=_page(dice)), 300)
    figures["page of hosts p50, ms"] = pages[0]
    figures["page of hosts p99, ms"] = pages[1]
    figures["whole inventory (slowest of 3), ms"] = max(_whole(controller, names) for _ in range(3))
    answer = controller.send("GET", "inventory")
    figures["inventory, MB"] = len(answer.content) / 1e6
    same = {"If-None-Match": answer.headers["ETag"]}
    unchanged = spread(lambda: controller.timed("GET", "inventory", headers=same), 100)
    figures["unchanged inventory p99, ms"] = unchanged[1]
    figures["unchanged, but sent again (slowest of 5), ms"] = max(
        controller.timed("GET", "inventory") for _ in range(5)
    )
    figures["preview of a group change (slowest of 6), ms"] = max(
        controller.timed("POST", "plans/preview", json=body)
        for body in _previews(names)
        for _ in range(2)
    )
    figures["deployment of 1,000 current hosts, ms"] = _current(controller, names)
    scrapes = spread(lambda: controller.timed("GET", f"{controller.url}/metrics"), 100)
    figures["scrape of /metrics p99, ms"] = scrapes[1]
    figures["RSS, highest, MB"] = controller.highest_rss()
    return figures


def spread(question: Callable[[], float], times: int) -> tuple[float, float]:
    """The median and the 99th percentile of what is measured so often, after two to warm up."""
    for _ in range(2):
        question()
    taken = sorted(question() for _ in range(times))
    return taken[times // 2], taken[int(times * 0.99)]


def _page(dice: random.Random) -> dict[str, Any]:
    more: list[dict[str, Any]] = [
        {},
        {"sort": "-state_since"},
        {"hostgroup": f"group{dice.randrange(GROUPS):03}"},
        {"label": f"rack=r{dice.randrange(50)}"},
        {"q": f"{dice.randrange(100):02}.example"},
        {"state": "pending", "sort": "-name"},
    ]
    return {"limit": 100} | dice.choice(more)


def _whole(controller: Controller, names: list[str]) -> float:
    """An inventory after a change, so that nothing of the one before serves."""
    change = {"labels": {"rack": "r1", "touched": str(time.monotonic_ns())}}
    controller.send("PATCH", f"hosts/{names[0]}", json=change)
    return controller.timed("GET", "inventory")


def _previews(names: list[str]) -> list[dict[str, Any]]:
    return [
        {"hostgroups": [{"name": "group150", "add": names[:2000:10], "remove": []}]},
        {"hostgroups": [{"name": "group003", "rule": "role=web"}]},
        {"bindings": {"add": [{"hostgroup": "all", "plugin": "p099"}]}},
    ]


def _current(controller: Controller, names: list[str]) -> float:
    """A deployment to hosts that report their plans already."""
    hostvars = controller.send("GET", "inventory").json()["_meta"]["hostvars"]
    chosen = names[:CURRENT]
    hosts = [
        {"host": name, "status": "ok", "plan": hostvars[name]["plugfleet_plan"]} for name in chosen
    ]
    controller.send("POST", "reports", json={"release": 1, "hosts": hosts})
    began = time.perf_counter()
    answer = controller.send("POST", "deployments", json={"hosts": chosen}).json()
    taken = (time.perf_counter() - began) * 1000
    if answer["status"] != "succeeded" or answer["hosts"] != {"current": CURRENT}:
        raise SystemExit(f"the hosts were not taken for current: {answer}")
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, default=10_000)
    options = parser.parse_args()
    load, dice = os.getloadavg()[0], random.Random(20261122)
    with tempfile.TemporaryDirectory(prefix="bench-controller-") as folder:
        source = make_source(Path(folder) / "source")
        with serving(Path(folder)) as controller:
            began = time.perf_counter()
            names = fill(controller, source, options.hosts, dice)
            filled = time.perf_counter() - began
            controller.settle()
            figures = {"filled over REST in, s": filled} | measure(controller, names, dice)
    print(f"controller, {options.hosts} hosts, {GROUPS} groups, {BINDINGS} bindings, SQLite, "
          f"load before {load:.2f}\n")  # fmt: skip
    missed = False
    for name, value in figures.items():
        bar, verdict = BARS.get(name), ""
        if bar is not None:
            verdict = f"bar {bar:g}: " + ("met" if value <= bar else "MISSED")
            missed = missed or value > bar
        print(f"{name:46} {value:10.2f}   {verdict}".rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
