"""Events of a run under load: written by one process, streamed to 20 readers, while the API is asked.

    .venv/bin/python -m benchmarks.bench_events [--rate 5000] [--readers 20] [--seconds 20] [--database URL]

Writer, readers and controller are processes of their own. The writer is the part of a run that
writes to the database, fed at a fixed rate. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from rich.console import Console
from rich.table import Table

from controller.app import open_context
from controller.auth import service as auth
from controller.database.engine import Database
from controller.deployments.events import Event
from controller.deployments.models import Deployment, Status, Wave
from controller.deployments.recorder import Recorder
from controller.deployments.service import end
from controller.fleet.models import Host
from controller.settings import Settings

PROGRAM = Path(sys.executable).with_name("plugfleet")
NUMBER = re.compile(rb'"data":\{"number":(\d+),')
LAST = b"event: end\n"
# What a result of a host is like, in size.
TEXT = "brought to release 12; 14 plugins listed " * 6
ASKED = ("deployments", "deployments/1", "hosts?limit=100", "hosts?state=failed")
BARS = {"API p99, ms": 100.0, "events lost": 0.0}
_HOSTS = 1_000


def write(url: str, deployment: int, wave: int, rate: int, seconds: int, report: Any) -> None:
    """Feed a recorder at a fixed rate; reports how long it took until all was written."""
    database = Database(url, pool_size=2)
    recorder = Recorder(
        database,
        deployment_id=deployment,
        wave_id=wave,
        wave=1,
        release=None,
        read=lambda told: [told],
        give_up=lambda: False,
    )
    began = time.monotonic()
    for number in range(rate * seconds):
        if number % 50 == 0:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        recorder.put(Event("line", {"number": number, "text": TEXT}, host=f"host{number % _HOSTS}"))
    fed = time.monotonic() - began
    recorder.finish()
    report.send((fed, time.monotonic() - began, time.process_time()))
    with database.write() as session:
        end(session, session.get_one(Deployment, deployment), Status.SUCCEEDED, "")
    database.close()


def read(url: str, token: str, deployment: int, readers: int, report: Any) -> None:
    """Follow with many connections; reports what each of them got, as counts of gaps and events."""
    server = urlsplit(url)
    request = (
        f"GET /api/v1/deployments/{deployment}/events/stream HTTP/1.1\r\nHost: {server.netloc}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
    chosen = selectors.DefaultSelector()
    for _ in range(readers):
        connection: Any = socket.create_connection((server.hostname, server.port))
        connection.sendall(request)
        chosen.register(connection, selectors.EVENT_READ, {"left": b"", "next": 0, "gaps": 0})
    report.send("ready")
    done: list[tuple[int, int, float]] = []
    while len(done) < readers:
        for key, _ in chosen.select():
            state, connection = key.data, key.fileobj
            more = connection.recv(1 << 20)
            data = state["left"] + more
            # An event may be cut in two: what follows the last whole one is kept.
            cut = data.rfind(b"\n\n") + 2
            state["left"] = data[cut:] if cut > 1 else data
            for found in NUMBER.finditer(data, 0, cut if cut > 1 else 0):
                number = int(found[1])
                state["gaps"] += number != state["next"]
                state["next"] = number + 1
            if not more or LAST in data:
                chosen.unregister(connection)
                connection.close()
                done.append((state["next"], state["gaps"], time.monotonic()))
    report.send((done, time.process_time()))


def ask(url: str, token: str, until: Any) -> list[float]:
    """Ask the API this and that, 20 times a second; returns milliseconds."""
    took: list[float] = []
    with httpx2.Client(
        base_url=f"{url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as client:
        while not until.poll():
            began = time.perf_counter()
            client.get(ASKED[len(took) % len(ASKED)]).raise_for_status()
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(max(0.0, 0.05 - (time.perf_counter() - began)))
    return took


def prepare(settings: Settings) -> tuple[str, int, int]:
    """A database with hosts and a deployment that looks as if it ran; returns a token, and ids."""
    context = open_context(settings)
    with context.database.write() as session:
        token = auth.first_token(session)
        session.add_all(Host(name=f"host{number}") for number in range(_HOSTS))
        deployment = Deployment(release=1, status=Status.RUNNING.value)
        session.add(deployment)
        session.flush()
        wave = Wave(deployment_id=deployment.id, number=1, status=Status.RUNNING.value)
        session.add(wave)
        session.flush()
        ids = (deployment.id, wave.id)
    context.database.close()
    assert token
    return token, *ids


def serve(settings: Settings) -> tuple[subprocess.Popen[bytes], str]:
    """Start a controller; returns its process and URL."""
    environment = os.environ | {
        "PLUGFLEET_CONFIG": os.devnull,
        "PLUGFLEET_DATA_DIR": str(settings.data_dir),
        "PLUGFLEET_DATABASE_URL": settings.database,
        "PLUGFLEET_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout
    said = process.stdout.readline()
    if not said:
        raise SystemExit("the controller did not start")
    return process, json.loads(said)["url"]


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Run it once."""
    settings = Settings(data_dir=folder / "data", database_url=arguments.database)
    token, deployment, wave = prepare(settings)
    controller, url = serve(settings)
    start = multiprocessing.get_context("spawn")
    told_by_readers, readers_say = start.Pipe(duplex=False)
    told_by_writer, writer_says = start.Pipe(duplex=False)
    try:
        reader = start.Process(
            target=read, args=(url, token, deployment, arguments.readers, readers_say)
        )
        reader.start()
        assert told_by_readers.recv() == "ready"
        _ask_for(url, token, 1)  # a process that has just started is busy with itself
        quiet = statistics.quantiles(_ask_for(url, token, 3), n=100)[98]
        writer = start.Process(
            target=write,
            args=(
                settings.database,
                deployment,
                wave,
                arguments.rate,
                arguments.seconds,
                writer_says,
            ),
        )
        writer.start()
        took = ask(url, token, told_by_writer)
        fed, written, writer_cpu = told_by_writer.recv()
        read_by, reader_cpu = told_by_readers.recv()
        writer.join()
        reader.join()
    finally:
        controller.terminate()
        controller.wait(30)
    count = arguments.rate * arguments.seconds
    lost = sum(count - got for got, _, _ in read_by) + sum(gaps for _, gaps, _ in read_by)
    return {
        "events/s put in": count / fed,
        "events/s written": count / written,
        "events read by all": float(sum(got for got, _, _ in read_by)),
        "events lost": float(lost),
        "API p50, ms": statistics.median(took),
        "API p99, ms": statistics.quantiles(took, n=100)[98],
        "API p99 with nothing going on, ms": quiet,
        "CPU of the writer, s": writer_cpu,
        "CPU of the readers, s": reader_cpu,
    }


def _ask_for(url: str, token: str, seconds: float) -> list[float]:
    class Until:
        deadline = time.monotonic() + seconds

        def poll(self) -> bool:
            return time.monotonic() > self.deadline

    return ask(url, token, Until())


def main() -> int:
    """Measure, print a table, and say by the exit code whether the bars were met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=5000, help="events a second")
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--database", default="", help="URL; default an SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plugfleet-bench-") as folder:
        measured = measure(arguments, Path(folder))
    bars = BARS | {"events/s written": arguments.rate * 0.95}
    table = Table(title=f"{arguments.rate} events/s to {arguments.readers} readers")
    for heading in ("", "measured", "bar"):
        table.add_column(heading, justify="left" if not heading else "right")
    missed = False
    for name, value in measured.items():
        bar = bars.get(name)
        good = bar is None or (value >= bar if name.endswith("written") else value <= bar)
        missed |= not good
        shown = "" if bar is None else f"{'>=' if name.endswith('written') else '<='} {bar:,.0f}"
        table.add_row(name, f"[{'none' if good else 'red'}]{value:,.1f}[/]", shown)
    Console(highlight=False).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
