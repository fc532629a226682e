"""A controller whose project pretends, and hosts that do as they are told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.catalog.models import ReleaseRow
from controller.database import counters
from controller.database.engine import Database
from controller.deployments.models import Deployment, Wave
from controller.deployments.processes import marked
from controller.fleet.models import Host, Hostgroup, Membership
from controller.plans.service import digests
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.deployments.project import make_project
from tests.controller.server import Api

# For behaviour that has nothing to do with the database: real runs take a while.
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "project")


@pytest.fixture
def lease() -> float:
    """Long enough that a busy machine does not lose it; tests of its loss have a shorter one."""
    return 15.0


@pytest.fixture
def settings(
    tmp_path: Path,
    database_url: str,
    project: Path,
    lease: float,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        project_dir=project,
        lease=lease,
        concurrent_runs=4,
    )


class Fleet:
    """Hosts written straight into a database."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.settings = context.settings
        self.database: Database = context.database

    def publish(self, number: int = 1) -> None:
        """A release that needs no deploy line."""
        with self.database.write() as session:
            session.add(ReleaseRow(number=number, commit=f"{number:040x}", tree="0" * 40))
            counters.advance(session, counters.PLANS)

    def host(self, name: str, *, groups: tuple[str, ...] = (), **pretend: Any) -> None:
        """A host that pretends: `seconds` of work, and then `result` as its task result."""
        self.hosts([name], groups=groups, **pretend)

    def hosts(self, names: list[str], *, groups: tuple[str, ...] = (), **pretend: Any) -> None:
        """Several such hosts."""
        variables = {"ansible_connection": "local", "pretend": pretend}
        with self.database.write() as session:
            for name in groups:
                if session.query(Hostgroup).filter_by(name=name).first() is None:
                    session.add(Hostgroup(name=name))
            session.flush()
            ids = [g.id for g in session.query(Hostgroup).filter(Hostgroup.name.in_(groups))]
            rows = [Host(name=name, variables=variables) for name in names]
            session.add_all(rows)
            session.flush()
            session.add_all(
                Membership(hostgroup_id=group, host_id=row.id, by_name=True)
                for group in ids
                for row in rows
            )
            counters.advance(session, counters.PLANS)

    def seal(self, name: str, secrets: dict[str, str]) -> None:
        """Give a host secret variables."""
        with self.database.write() as session:
            row = session.query(Host).filter_by(name=name).one()
            row.secrets = self._context.vault.seal(secrets)

    def converge(self) -> None:
        """Let every host report its plan."""
        with self.database.write() as session:
            plans = digests(session, self._context.vault)
            for row in session.query(Host):
                row.reported_plan, row.state = plans[row.id], "converged"

    def run_pid(self) -> int:
        """Pid of the process of the first wave."""
        with self.database.read() as session:
            pid = session.get_one(Wave, 1).pid
        assert pid
        return pid

    def claimed_by(self, deployment: int) -> int | None:
        """Which controller drives a deployment."""
        with self.database.read() as session:
            return session.get_one(Deployment, deployment).claimed_by

    def row(self, name: str) -> Host:
        """A host as it is now."""
        with self.database.read() as session:
            return session.query(Host).filter_by(name=name).one()


@pytest.fixture
def fleet(context: Context) -> Iterator[Fleet]:
    yield Fleet(context)


def eventually(seconds: float, what: Callable[[], Any]) -> Any:
    """What `what` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)  # most look by HTTP, which takes from what is waited for
    return found


def ended(api: Api, deployment: int, seconds: float = 40) -> dict[str, Any]:
    """A deployment once it has ended."""

    def look() -> dict[str, Any] | None:
        view: dict[str, Any] = api.get(f"deployments/{deployment}")
        return view if view["ended"] else None

    found: dict[str, Any] = eventually(seconds, look)
    return found


def results(api: Api, deployment: int) -> dict[str, dict[str, Any]]:
    """What came of each host."""
    page = api.get(f"deployments/{deployment}/hosts", params={"limit": 500})
    return {row["host"]: row for row in page["items"]}


def runs_alive(mark: str) -> list[int]:
    """Pids of what a wave's run has started and is there still."""
    return marked(mark, {os.getpid()})
