"""What the benchmarks over SSH have in common: hosts in network namespaces, a repository, a server."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plugin_repository import PluginRepository
from tests.fleet import GitServer
from tests.fleet.namespace import NamespaceFleet


@dataclass(frozen=True)
class Stage:
    """One benchmark's surroundings, gone when it ends.

    Attributes:
        hosts: how many hosts the fleet has.
        rounds: how often each side takes its turn.
        folder: for what the benchmark writes.
    """

    hosts: int
    rounds: int
    folder: Path
    fleet: NamespaceFleet
    repository: PluginRepository
    server: GitServer


@contextmanager
def stage(name: str, description: str | None, *, rounds: int) -> Iterator[Stage]:
    """Read the command line of `make NAME` and set its stage; `rounds` is the default."""
    parser = argparse.ArgumentParser(prog=f"make {name}", description=description)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=rounds)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit(f"{name} makes hosts in network namespaces: run it as root")
    with tempfile.TemporaryDirectory(prefix="plugfleet-bench-") as scratch:
        folder = Path(scratch)
        repository = PluginRepository(folder / "plugins.git")
        with (
            NamespaceFleet(options.hosts, folder / "fleet") as fleet,
            GitServer(
                {"plugins": repository.path}, folder / "server", switch=fleet.switch
            ) as server,
        ):
            yield Stage(options.hosts, options.rounds, folder, fleet, repository, server)
