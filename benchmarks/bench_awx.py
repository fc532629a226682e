"""A deployment of 1,000 hosts that AWX plays in 4 jobs: what it costs the controller, and whether events get lost.

    python -m benchmarks.bench_awx [--hosts 1000] [--slices 4]

AWX is the tests' stand-in, in a process of its own that is counted apart; its hosts are simulated, and its events
come late and out of order as AWX's do. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import cpu
from controller.app import open_context
from controller.auth import service as auth
from controller.catalog.models import ReleaseRow
from controller.database import counters
from controller.fleet.models import Host
from controller.settings import Settings
from tests.awx.fixtures import Awx
from tests.awx.stage import Stage

ROOT = Path(__file__).resolve().parents[1]
BARS = {
    "CPU of the controller and its run, s": 10.0,
    "events lost": 0.0,
    "hosts without result": 0.0,
}
_MOST = 600.0  # seconds for all of it
_LOOK = 1.0  # seconds between looks whether it has ended


@contextmanager
def started(*command: str, **variables: str) -> Iterator[tuple[psutil.Process, dict[str, Any]]]:
    """A program that prints a line of JSON once it is ready, and ends with its standard input or by SIGTERM."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    try:
        said = process.stdout.readline()
        if not said:
            raise SystemExit(f"{command[0]} did not start")
        yield psutil.Process(process.pid), json.loads(said)
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(60)


def prepare(settings: Settings, hosts: list[str]) -> str:
    """A database with hosts and a release; returns an admin's token."""
    context = open_context(settings)
    with context.database.write() as session:
        token = auth.first_token(session)
        session.add_all(Host(name=name) for name in hosts)
        session.add(ReleaseRow(number=1, commit="1" * 40, tree="0" * 40))
        counters.advance(session, counters.PLANS)
    context.database.close()
    assert token
    return token


def deploy(controller: httpx2.Client) -> tuple[dict[str, Any], float]:
    """Deploy to every host; returns how it ended, and after how many seconds."""
    began = time.monotonic()
    deployment = controller.post("deployments", json={}).raise_for_status().json()["id"]
    while time.monotonic() - began < _MOST:
        time.sleep(_LOOK)
        view: dict[str, Any] = controller.get(f"deployments/{deployment}").json()
        if view["ended"]:
            return view, time.monotonic() - began
    raise SystemExit(f"the deployment did not end within {_MOST:.0f} s")


def kept_events(controller: httpx2.Client, deployment: int) -> dict[int, set[int]]:
    """Numbers of the events that were kept, by job."""
    found: dict[int, set[int]] = {}
    after = 0
    while True:
        query = {"limit": 500, "after": after}
        answer = controller.get(f"deployments/{deployment}/events", params=query)
        page = answer.raise_for_status().json()["items"]
        if not page:
            return found
        for event in page:
            if event["counter"]:
                found.setdefault(event["data"]["job"], set()).add(event["counter"])
        after = page[-1]["id"]


def measure(hosts: int, slices: int, folder: Path, stack: ExitStack) -> dict[str, float]:
    """Run it once."""
    names = [f"host{number:05}" for number in range(hosts)]
    other, said = stack.enter_context(started("tests.awx"))
    administrator = stack.enter_context(
        httpx2.Client(
            base_url=f"{said['url']}/api/v2/",
            headers={"Authorization": f"Bearer {said['token']}"},
            timeout=60,
        )
    )
    stage = Stage(Awx(said["url"], said["token"], administrator, None, "bench"), names)
    token = prepare(Settings(data_dir=folder / "data"), names)
    process, serving = stack.enter_context(
        started(
            "controller.cli",
            "serve",
            "--port",
            "0",
            "--json",
            PLUGFLEET_CONFIG=os.devnull,
            PLUGFLEET_DATA_DIR=str(folder / "data"),
            PLUGFLEET_LOG_LEVEL="warning",
            PLUGFLEET_EXECUTION="awx",
            PLUGFLEET_AWX_URL=said["url"],
            PLUGFLEET_AWX_TOKEN=said["token"],
            PLUGFLEET_AWX_JOB_TEMPLATE=stage.name,
            PLUGFLEET_AWX_SLICES=str(slices),
            PLUGFLEET_AWX_SLICE_SIZE=str(max(1, hosts // slices)),
        )
    )
    controller = stack.enter_context(
        httpx2.Client(
            base_url=f"{serving['url']}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
    )
    before, before_there = cpu.of_all(process), cpu.of_all(other)
    view, seconds = deploy(controller)
    after, after_there = cpu.of_all(process), cpu.of_all(other)
    kept = kept_events(controller, view["id"])
    emitted = {job["id"]: set(range(1, stage.emitted(job["id"]) + 1)) for job in stage.jobs}
    lost = sum(len(numbers - kept.get(job, set())) for job, numbers in emitted.items())
    return {
        "CPU of the controller and its run, s": after - before,
        "events lost": float(lost),
        "hosts without result": float(hosts - view["hosts"].get("changed", 0)),
        "events": float(sum(map(len, emitted.values()))),
        "jobs": float(len(emitted)),
        "seconds until it ended": seconds,
        "CPU of the stand-in of AWX, s": after_there - before_there,
        "RSS of the controller, MB": process.memory_info().rss / 1e6,
    }


def main() -> int:
    """Measure, print a table, and say by the exit code whether the bars were met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--slices", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plugfleet-bench-") as folder, ExitStack() as stack:
        measured = measure(options.hosts, options.slices, Path(folder), stack)
    table = Table(title=f"{options.hosts:,} hosts in {options.slices} jobs of AWX")
    for heading in ("", "measured", "bar"):
        table.add_column(heading, justify="left" if not heading else "right")
    missed = False
    for name, value in measured.items():
        bar = BARS.get(name)
        good = bar is None or value <= bar
        missed |= not good
        shown = "" if bar is None else f"<= {bar:,.0f}"
        table.add_row(name, f"[{'none' if good else 'red'}]{value:,.1f}[/]", shown)
    Console(highlight=False).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
