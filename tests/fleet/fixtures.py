"""A pytest plugin: one fleet of each kind for a whole test session; load it with `-p`.

Tests that use a root-only fixture, or are marked `fleet_root`, are deselected without root rights,
and the run says so at its beginning and its end. As root they run or fail: a package that is
missing is an error with the command that installs it, not a skip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from . import FleetError, LoopbackFleet, NamespaceFleet, SystemdFleet
from .fleet import Fleet

ROOT_FIXTURES = {"namespace_fleet", "systemd_fleet"}
REASON = (
    "tests on hosts with namespaces or systemd are not run: they need root rights "
    "(run the same command as root)"
)
AnyFleet = TypeVar("AnyFleet", bound=Fleet[Any])
_deselected = pytest.StashKey[int]()


def started(kind: type[AnyFleet], n: int, folder: Path) -> AnyFleet:
    """A started fleet; what prevents it becomes the test's failure, in one line."""
    try:
        return kind(n, folder)
    except FleetError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def loopback_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackFleet]:
    """Five hosts without root rights. Put right what you break: others use them after you."""
    with started(LoopbackFleet, 5, tmp_path_factory.mktemp("loopback")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def namespace_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespaceFleet]:
    """Five light hosts. `kill()` and `start(fresh=True)` make one as new."""
    with started(NamespaceFleet, 5, tmp_path_factory.mktemp("namespace")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def systemd_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdFleet]:
    """Two hosts with systemd."""
    with started(SystemdFleet, 2, tmp_path_factory.mktemp("systemd")) as fleet:
        yield fleet


def needs_root(item: pytest.Item) -> bool:
    """Whether a test uses hosts that only root can make."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(fixtures & ROOT_FIXTURES) or item.get_closest_marker("fleet_root") is not None


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line("markers", "fleet_root: makes hosts that only root can make")


def pytest_report_header() -> str | None:
    """Says at the beginning what will not be run."""
    return None if os.geteuid() == 0 else f"fleet: {REASON}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what cannot run without root rights."""
    if os.geteuid() == 0:
        return
    out = [item for item in items if needs_root(item)]
    if out:
        items[:] = [item for item in items if not needs_root(item)]
        config.stash[_deselected] = len(out)
        config.hook.pytest_deselected(items=out)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Says at the end what was not run."""
    count = config.stash.get(_deselected, 0)
    if count:
        terminalreporter.write_line(f"fleet: {count} tests deselected; {REASON}", yellow=True)
