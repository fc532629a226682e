"""Hosts that need no root rights: one sshd each, as the current user, on an address of 127.0.0.0/8.

They share this machine's files and processes. What is a host's own is a root directory, which its
sessions get as PLUGFLEET_HOST_ROOT, and below it a home and a temporary folder (HOME, TMPDIR).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from . import clock, procs
from .errors import FleetError
from .fleet import Fleet, is_root, sshd_config
from .host import Host, Result
from .removal import MARKER


class LoopbackHost(Host):
    """One sshd process and the sessions below it."""

    fleet: LoopbackFleet

    def __init__(self, fleet: LoopbackFleet, name: str, address: str) -> None:
        self.reserved = reserve_port(address)
        super().__init__(fleet, name, address, self.reserved.getsockname()[1])
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._server: subprocess.Popen[bytes] | None = None
        self._identity: procs.Process | None = None
        self._clock: float | None = None
        self._spent = 0

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def log(self) -> Path:
        return self.folder / "sshd.log"

    @property
    def environment(self) -> dict[str, str]:
        """What every session gets. The mark finds daemons that a session left behind."""
        variables = {
            "PLUGFLEET_HOST_ROOT": str(self.root),
            "PLUGFLEET_HOST_NAME": self.name,
            MARKER: self.fleet.ledger.id,
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
        }
        if self._clock is not None:
            variables["LD_PRELOAD"] = str(clock.library(self.fleet.folder))
            variables[clock.VARIABLE] = clock.offset(self._clock)
        return variables

    def launch(self) -> None:
        for name in ("home", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        # The path of the configuration names the fleet, so a lost server can be told by its title.
        config = self.fleet.ledger.place / f"{self.name}.conf"
        config.write_text(self._config())
        argv = [self.fleet.sshd, "-D", "-E", str(self.log), "-f", str(config)]
        with (self.folder / "console.log").open("ab") as console:
            self._server = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                start_new_session=True,
            )
        self._identity = self.fleet.ledger.process(self._server.pid)

    def _config(self) -> str:
        variables = " ".join(f'"{name}={value}"' for name, value in self.environment.items())
        return sshd_config(
            ListenAddress=f"{self.address}:{self.port}",
            HostKey=str(self.folder / "host_key"),
            AuthorizedKeysFile=str(self.fleet.key) + ".pub",
            SetEnv=variables,
        )

    def kill(self) -> None:
        if self._server is None or self._identity is None:
            return
        self._spent = self._ticks()
        family = procs.descendants([self._identity])
        procs.kill_all(lambda: family)
        procs.kill_all(self._left_behind)
        self.collect()

    def collect(self) -> None:
        if self._server is not None:
            self._server.wait()
            self._server = None

    def _left_behind(self) -> list[procs.Process]:
        """Daemons of this host: they carry its root in their environment."""
        return procs.marked("PLUGFLEET_HOST_ROOT", str(self.root))

    def died(self) -> str:
        if self._server is None or self._server.poll() is None:
            return ""
        said = self._log_text() + (self.folder / "console.log").read_text(errors="replace")
        return f"sshd ended with {self._server.returncode}: {said.strip()[-500:]}"

    def exec(self, command: str, *, timeout: float = 30) -> Result:
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env={"PATH": os.defpath, **self.environment},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _ticks(self) -> int:
        if self._identity is None:
            return 0
        table = procs.everyone()
        family = procs.descendants([self._identity], table)
        inside = set(family) | set(self._left_behind())
        return self._spent + sum(found.ticks for found in table if found.process in inside)

    def cpu_seconds(self) -> float:
        """CPU seconds in steps of a clock tick (10 ms). Daemons count only while they run."""
        ticks = self._spent if self._server is None else self._ticks()
        return ticks / os.sysconf("SC_CLK_TCK")

    def cut(self) -> None:
        """Freezes the server: a connection is taken and never answered, as behind a dead link."""
        self._signal(signal.SIGSTOP)

    def restore(self) -> None:
        self._signal(signal.SIGCONT)

    def set_clock(self, seconds: float | None) -> None:
        self._clock = seconds
        (self.fleet.ledger.place / f"{self.name}.conf").write_text(self._config())
        starts = self._starts()
        self._signal(signal.SIGHUP)  # reads it again; the pid and open sessions stay
        # Until it listens again it may answer with the old clock, or refuse.
        if not procs.wait_until(lambda: self._starts() > starts, 10):
            raise FleetError(f"{self.name}: sshd did not read its configuration again")

    def _starts(self) -> int:
        return self._log_text().count("Server listening on ")

    def _signal(self, number: signal.Signals) -> None:
        if self._identity is None or not procs.send(self._identity, number):
            raise FleetError(f"{self.name}: is not running")


class LoopbackFleet(Fleet[LoopbackHost]):
    """Hosts h1, h2, ... at 127.0.0.2, 127.0.0.3, ... without root rights."""

    kind = "loopback"

    def prepare(self) -> None:
        self.sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "/usr/sbin/sshd"
        shell = pwd.getpwuid(os.geteuid()).pw_shell
        if shell.endswith(("/nologin", "/false")):
            raise FleetError(f"sshd runs commands by the user's login shell, and yours is {shell}")
        if is_root():
            # sshd as root refuses to start without its privilege separation folder.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def make_hosts(self, n: int) -> list[LoopbackHost]:
        if n > 60_000:
            raise FleetError(f"{n} hosts: there are addresses for 60000")
        return [LoopbackHost(self, f"h{i}", loopback_address(i)) for i in range(1, n + 1)]

    def close(self) -> None:
        super().close()
        for host in getattr(self, "hosts", []):
            host.reserved.close()


def loopback_address(index: int) -> str:
    """The address of host `index` (from 1): 127.0.0.2 is the first."""
    return f"127.0.{(index + 1) // 250}.{(index + 1) % 250}"


def reserve_port(address: str) -> socket.socket:
    """A TCP port at `address` that is kept for one server, up or down, while the socket is open.

    Bound without SO_REUSEADDR it is given to nobody else; with it set afterwards a server that
    sets it too, as sshd and git daemon do, can listen beside it (Linux, inet_csk_bind_conflict).
    """
    reserved = socket.socket()
    reserved.bind((address, 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reserved
