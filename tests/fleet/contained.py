"""Hosts in namespaces, light or with systemd: what both share (namespaces(7), nsenter(1))."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import cgroups, clock, procs
from .errors import FleetError
from .fleet import Fleet
from .host import Host, Result
from .switch import CONTROL_ADDRESS, Switch

HERE = Path(__file__).parent
CLOCK_LIBRARY = "/usr/lib/plugfleet-wrong-clock.so"


class ContainedHost(Host):
    """A host with its own network, mounts, processes and name, and a cgroup that counts its CPU."""

    fleet: ContainedFleet[Any]
    # The capabilities that the host's root does not have, by capabilities(7).
    dropped: str

    def __init__(
        self, fleet: ContainedFleet[Any], name: str, hierarchies: list[cgroups.Hierarchy]
    ) -> None:
        super().__init__(fleet, name, fleet.switch.address(), 22)
        self.groups = cgroups.paths(f"{fleet.ledger.id}-{name}", hierarchies)
        for group in self.groups:
            fleet.ledger.made("cgroup", str(group))
        self._process: subprocess.Popen[bytes] | None = None
        self._init: procs.Process | None = None

    @property
    def drop(self) -> str:
        """The option of setpriv(1) that takes these capabilities away."""
        return "--bounding-set=" + ",".join(f"-{name}" for name in self.dropped.split())

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the host, to be run in its cgroups."""

    # Power

    def launch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        cgroups.make(self.groups)
        members = " ".join(str(group / "cgroup.procs") for group in self.groups)
        argv = ["/bin/sh", str(HERE / "join.sh"), members, *self.command()]
        with (self.folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                env=self.fleet.ledger.environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        if cgroups.kill([group for group in self.groups if group.exists()]):
            raise FleetError(f"{self.name}: a process does not die")
        self.collect()

    def collect(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
            self._init = None

    def start(self, *, fresh: bool = False) -> None:
        """Starts the host after `kill`; `fresh` throws away all that it ever wrote."""
        if self._process is not None:
            raise FleetError(f"{self.name}: runs already; kill() it first")
        if fresh:
            for name in ("upper", "work", "usr-upper", "usr-work"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        super().start()

    def died(self) -> str:
        if self._process is None or self._process.poll() is None:
            return ""
        said = (self.folder / "console.log").read_text(errors="replace") + self._log_text()
        return f"ended with {self._process.returncode}: {said.strip()[-500:]}"

    # Reaching it

    def init(self) -> int:
        """The pid, seen from here, of the host's process 1. Raises FleetError while it is down."""
        if self._init is None or not procs.alive(self._init):
            self._init = next(
                (process for process in cgroups.members(self.groups) if _is_init(process.pid)), None
            )
        if self._init is None:
            raise FleetError(f"{self.name}: is not running")
        return self._init.pid

    def exec(self, command: str, *, timeout: float = 30) -> Result:
        # What is run from outside counts as the host's own: it joins the groups of process 1.
        init = self.init()
        members = " ".join(_members_file(init, group) for group in self.groups)
        argv = ["/bin/sh", str(HERE / "join.sh"), members, *self._enter(init), "setpriv", self.drop]
        return subprocess.run(
            [*argv, "/bin/sh", "-c", command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @staticmethod
    def _enter(init: int) -> list[str]:
        return ["nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid"]

    def _administer(self, command: str) -> None:
        """Runs a command in the host with the rights that its own root does not have."""
        argv = [*self._enter(self.init()), "/bin/sh", "-ec", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise FleetError(f"{self.name}: {command}: {done.stderr.strip()}")

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.init()}/root")

    @property
    def log(self) -> Path:
        return self.folder / "upper/var/log/sshd.log"

    def cpu_seconds(self) -> float:
        return cgroups.cpu_seconds(self.groups)

    # Faults

    def cut(self) -> None:
        self.fleet.switch.cable(self.name, up=False)

    def restore(self) -> None:
        self.fleet.switch.cable(self.name, up=True)

    def fill_disk(self, path: str, size: int) -> None:
        """Puts a disk of `size` bytes (at least a page) at `path`, which then is all but full.

        What was in `path` is hidden until `free_disk`.
        """
        where = shlex.quote(path)
        # dd ends with an error when the disk is full: that is what it is for.
        self._administer(
            f"mkdir -p {where}; mount -t tmpfs -o size={size},mode=1777 plugfleet-full {where}; "
            f"dd if=/dev/zero of={where}/.full bs=4096 2>/dev/null || :"
        )

    def small_disk(self, path: str, size: int) -> None:
        """Puts an empty disk of `size` bytes over `path`, which fills up as the host writes."""
        where = shlex.quote(path)
        self._administer(
            f"mkdir -p {where}; mount -t tmpfs -o size={size},mode=1777 plugfleet-small {where}"
        )

    def make_read_only(self, path: str) -> None:
        """Makes `path` a read-only mount of itself."""
        where = shlex.quote(path)
        self._administer(
            f"mkdir -p {where}; mount --bind {where} {where}; mount -o remount,bind,ro {where}"
        )

    def free_disk(self, path: str) -> None:
        """Undoes `fill_disk`, `small_disk` and `make_read_only`, even while files are in use."""
        self._administer(f"umount -l {shlex.quote(path)}")

    def set_clock(self, seconds: float | None) -> None:
        # There is no namespace for the wall clock, so every new program gets a library.
        self._administer("rm -f /etc/ld.so.preload")
        if seconds is not None:
            shutil.copy(clock.library(self.fleet.folder), f"{self.root}{CLOCK_LIBRARY}")
            self._administer(
                f"umask 022; echo {clock.offset(seconds)} > {clock.OFFSET_FILE}; "
                f"echo {CLOCK_LIBRARY} > /etc/ld.so.preload"
            )


def _is_init(pid: int) -> bool:
    """Whether `pid` is process 1 of a pid namespace below this one."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                pids = line.split()[1:]
                return len(pids) > 1 and pids[-1] == "1"
    return False


def _members_file(init: int, group: Path) -> str:
    """The cgroup.procs of the group that `init` is in, at or below `group`."""
    # os.walk passes over groups that go away meanwhile, as a unit's does when it is restarted.
    for folder, folders, _ in os.walk(group):
        folders.sort()
        with contextlib.suppress(OSError):
            if str(init) in Path(folder, "cgroup.procs").read_text().split():
                return f"{folder}/cgroup.procs"
    return str(group / "cgroup.procs")


AnyContained = TypeVar("AnyContained", bound=ContainedHost)


class ContainedFleet(Fleet[AnyContained], Generic[AnyContained]):
    """Hosts on a switch: an own one, or that of another fleet, which must then be closed last."""

    def __init__(self, n: int, folder: Path, *, switch: Switch | None = None) -> None:
        self._given = switch
        super().__init__(n, folder)

    def prepare(self) -> None:
        self.switch = self._given or Switch(self.ledger)

    def plug(self, hosts: Sequence[AnyContained]) -> None:
        """Connects the hosts to the switch."""
        self.switch.plug([(host.name, host.address) for host in hosts])

    def control(self, argv: Sequence[str]) -> list[str]:
        return self.switch.control(argv)

    def unready(self, hosts: Sequence[AnyContained], timeout: float) -> list[str]:
        return self.switch.unready([(host.address, host.port) for host in hosts], timeout)


def host_names(hosts: Sequence[Host]) -> str:
    """/etc/hosts of a host: all hosts of its fleet, and the control side."""
    lines = ["127.0.0.1 localhost", f"{CONTROL_ADDRESS} control"]
    lines += [f"{host.address} {host.name}" for host in hosts]
    return "\n".join(lines) + "\n"
