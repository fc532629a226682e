"""`make bench-wave`: what a wave costs the controller's machine beside its visits, and what is written of a host.

    python -m benchmarks.bench_wave [--hosts 300]

A real run of the real playbook on one host that is right already, for the process; a run that pretends its visits,
for the rows. SQLite, whose own account of its pages is read (dbstat).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks import cpu
from controller.app import open_context
from controller.database.migrate import upgrade
from controller.operations.logs import configure
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.deployments.conftest import Fleet, ended
from tests.controller.deployments.project import make_project
from tests.controller.reports.node import Node
from tests.controller.server import serving

_LOOK = 0.05  # seconds
_PATIENCE = 300.0
_RESULT = {
    "changed": True,
    "msg": "mirror at release 12 (it was at 11), the agent runs it",
    "steps": [
        {"step": step, "changed": step == "sync", "msg": "as it should be", "seconds": 0.12}
        for step in ("install", "sync", "configure", "start", "update")
    ],
}


class Memory(threading.Thread):
    """Looks, until it is ended, how much memory the processes of a run have together.

    Attributes:
        most: bytes; what they share is counted once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_LOOK):
            here = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    here += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.most = max(self.most, here)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def opened(folder: Path, project: Path | None = None) -> Context:
    """A controller's context, with an empty database."""
    settings = Settings(data_dir=folder / "data", concurrent_runs=1, log_level="error")
    context = open_context(
        settings.model_copy(update={"project_dir": project}) if project else settings
    )
    upgrade(context.database.engine)
    return context


def of_its_process(folder: Path) -> tuple[float, float]:
    """Seconds of CPU and megabytes of a wave that visits one host, which is right."""
    context = opened(folder)
    with serving(context) as api:
        node = Node(api, folder)
        node.deploy()
        before = cpu.of_children(psutil.Process())
        memory = Memory()
        memory.start()
        asked = {"all": True, "hosts": ["one"]}
        ended(api, api.send("POST", "deployments", 202, json=asked)["id"], _PATIENCE)
        memory.end()
        seconds = cpu.of_children(psutil.Process()) - before
        node.close()
    context.database.close()
    return seconds, memory.most / 1e6


def of_its_rows(folder: Path, hosts: int) -> dict[str, float]:
    """Rows for a host, and bytes for a row, of a wave of so many hosts that all change."""
    context = opened(folder, make_project(folder / "project"))
    with serving(context) as api:
        fleet = Fleet(context)
        fleet.publish()
        fleet.hosts([f"web{n:05}.example.com" for n in range(hosts)], result=_RESULT)
        ended(api, api.send("POST", "deployments", 202, json={})["id"], _PATIENCE)
    with context.database.read() as session:
        session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        told = {
            table: (
                session.scalar(text(f"SELECT count(*) FROM {table}")),
                session.scalar(
                    text(
                        "SELECT sum(d.pgsize) FROM dbstat d JOIN sqlite_master m ON m.name = d.name "
                        "WHERE m.tbl_name = :name"
                    ),
                    {"name": table},
                ),
            )
            for table in ("run_events", "host_results")
        }
    context.database.close()
    (events, event_bytes), (results, result_bytes) = told.values()
    return {
        "events of a visited host": events / hosts,
        "bytes of an event, indexes included": event_bytes / events,
        "bytes of a host's result": result_bytes / results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=300)
    given = parser.parse_args()
    os.environ["PLUGFLEET_CONFIG"] = os.devnull
    configure("console", "error")
    with tempfile.TemporaryDirectory(prefix="bench-wave-") as one:
        seconds, megabytes = of_its_process(Path(one))
    with tempfile.TemporaryDirectory(prefix="bench-wave-") as other:
        rows = of_its_rows(Path(other), given.hosts)
    table = Table("a wave", "cost")
    table.add_row("CPU of its processes, one host that is right, s", f"{seconds:.2f}")
    table.add_row("memory of its processes at most, MB", f"{megabytes:.0f}")
    for name, value in rows.items():
        table.add_row(name, f"{value:.1f}" if value < 100 else f"{value:.0f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
