"""A control group for each host: counts what it costs and finds every process it ever started.

Rules: kernel documentation, admin-guide/cgroup-v2 (`cpu.stat` is there with no controller enabled,
`cgroup.kill` takes a whole subtree down) and cgroup-v1/cpuacct. A machine may have either or both.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from . import procs
from .errors import FleetError

PREFIX = "plugfleet-"


class Hierarchy(NamedTuple):
    """One mounted cgroup hierarchy and the folder in it that this process belongs to."""

    controllers: frozenset[str]
    unified: bool
    here: Path


def _mounts() -> dict[str, tuple[Path, str]]:
    """A hierarchy's name in /proc/self/cgroup ("" is v2) -> its mount point and mount root."""
    found: dict[str, tuple[Path, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, point = left.split()[3:5]
        if kind == "cgroup2":
            found.setdefault("", (Path(point), root))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, (Path(point), root))
    return found


def hierarchies() -> list[Hierarchy]:
    """The hierarchies that are mounted here, each with this process's own place in it."""
    mounts = _mounts()
    result = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        known = mounts.get(names.split(",")[0])
        if known is None:
            continue
        point, root = known
        inside = os.path.relpath(path, root) if path.startswith(root) else "."
        result.append(Hierarchy(frozenset(names.split(",")), names == "", point / inside))
    return result


def counting() -> list[Hierarchy]:
    """The fewest hierarchies that are enough to count CPU and to kill: v2, and cpuacct of v1."""
    return [item for item in hierarchies() if item.unified or "cpuacct" in item.controllers]


def paths(name: str, where: list[Hierarchy]) -> list[Path]:
    """Where the groups called `name` will be. Nothing is made yet: it is recorded first."""
    if not where:
        raise FleetError("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup")
    return [item.here / (PREFIX + name) for item in where]


def make(groups: list[Path]) -> None:
    """Makes the groups. An empty v1 cpuset takes no process, so it gets its parent's CPUs."""
    for group in groups:
        try:
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise FleetError(
                f"{group}: cannot make a cgroup ({error.strerror}); mount it read-write"
            ) from None
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists() and not (group / "cgroup.type").exists():
                (group / setting).write_text((group.parent / setting).read_text())


def cpu_seconds(groups: list[Path]) -> float:
    """User and system CPU seconds of everything that ever ran in the groups."""
    for group in groups:
        if (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
    for group in groups:
        for line in (group / "cpu.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec":
                return int(value) / 1e6
    raise FleetError(f"{groups[0].name}: this machine's cgroups do not count CPU")


def members(groups: list[Path]) -> list[procs.Process]:
    """Every process in the groups and in the groups below them."""
    pids: set[int] = set()
    for group in groups:
        for folder, _, _ in os.walk(group):
            try:
                pids.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
            except OSError:  # removed meanwhile, or a threaded group
                continue
    return [process for process in map(procs.identify, sorted(pids)) if process]


def kill(groups: list[Path]) -> list[procs.Process]:
    """SIGKILLs everything in the groups; returns who would not die."""
    for group in groups:
        if (group / "cgroup.kill").exists():
            (group / "cgroup.kill").write_text("1")
    return procs.kill_all(lambda: members(groups))


def remove(group: Path, timeout: float = 5.0) -> bool:
    """Removes an empty group and those below it; False when something still lives in it."""
    end = time.monotonic() + timeout
    while group.exists():
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                break
        if time.monotonic() > end:
            return False
        if group.exists():
            time.sleep(0.02)
    return True
