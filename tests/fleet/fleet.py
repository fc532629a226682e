"""What all kinds of fleets share: a folder, keys that are really checked, an inventory, an end."""

from __future__ import annotations

import os
import re
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from . import debian, inventory, ledger, ready
from .errors import FleetError
from .host import Host, Result

AnyHost = TypeVar("AnyHost", bound=Host)


class Fleet(ABC, Generic[AnyHost]):
    """`n` hosts below `folder`, which must be empty or absent. Use with `with`, or call `close`."""

    kind: str
    start_timeout = 30.0

    def __init__(self, n: int, folder: Path) -> None:
        if n < 1:
            raise FleetError(f"a fleet of {n} hosts is none: ask for 1 or more")
        folder = folder.absolute()
        if not re.fullmatch(r"[A-Za-z0-9._/+@=-]+", str(folder)):
            # ssh splits its options at blanks, mount its own at commas and colons.
            raise FleetError(f"{folder}: use a path of letters, digits and . _ / + @ = - only")
        debian.require(self.kind)
        ledger.sweep()
        self.ledger = ledger.Ledger(self.kind, folder)
        try:
            self.folder = self.ledger.folder(folder)
            self.key = folder / "id_ed25519"
            self.ssh_config = folder / "ssh_config"
            self.known_hosts = folder / "known_hosts"
            self._make_key(self.key)
            self.prepare()
            self.hosts: list[AnyHost] = self.make_hosts(n)
            self._make_host_keys()
            self._write_ssh_config()
            for host in self.hosts:
                host.launch()
            self.wait_booted(self.hosts)
        except BaseException:
            self.close()
            raise

    # What a kind of fleet defines

    @abstractmethod
    def prepare(self) -> None:
        """Makes what all hosts need, before there are any."""

    @abstractmethod
    def make_hosts(self, n: int) -> list[AnyHost]:
        """The hosts, not started."""

    def control(self, argv: Sequence[str]) -> list[str]:
        """`argv` as it must be run here to reach the hosts."""
        return list(argv)

    def unready(self, hosts: Sequence[AnyHost], timeout: float) -> list[str]:
        """Waits for the hosts' SSH servers; the addresses of those that never answered."""
        pairs = [(host.address, host.port) for host in hosts]
        return [f"{address}:{port}" for address, port in ready.wait(pairs, timeout)]

    # What everyone uses

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[AnyHost]:
        return iter(self.hosts)

    def __getitem__(self, name: str) -> AnyHost:
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        timeout: float | None = 60,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """Runs a command on the control side (inside the switch, where there is one)."""
        stdin = subprocess.DEVNULL if input is None else None
        return subprocess.run(
            self.control(argv),
            input=input,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=None if env is None else dict(env),
            cwd=cwd,
            check=False,
        )

    def inventory(
        self,
        *,
        groups: Mapping[str, Iterable[str]] | None = None,
        hostvars: Mapping[str, inventory.Variables] | None = None,
        groupvars: Mapping[str, inventory.Variables] | None = None,
        user: str | None = None,
        name: str = "inventory",
    ) -> Path:
        """Writes an inventory of all hosts and returns its path; `name` keeps several apart.

        Host keys are checked against the real ones. Control sockets are the fleet's own: two
        fleets may use one address, and a master left from the other would answer for it.
        """
        common = f"-F {self.ssh_config} -o UserKnownHostsFile={self.known_hosts}"
        hosts: dict[str, dict[str, str | int]] = {
            host.name: {
                "ansible_host": host.address,
                "ansible_port": host.port,
                "ansible_user": user or host.user,
                "ansible_ssh_private_key_file": str(self.key),
                "ansible_ssh_common_args": common,
                "ansible_control_path_dir": str(self.ledger.sockets),
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for host in self.hosts
        }
        return inventory.write(
            self.folder / name,
            hosts,
            groups=groups or {},
            hostvars=hostvars or {},
            groupvars=groupvars or {},
        )

    def wait(self, hosts: Sequence[AnyHost]) -> None:
        """Waits until the hosts' SSH servers answer. Raises FleetError with a silent one's log."""
        end = time.monotonic() + self.start_timeout
        while silent := self.unready(hosts, 2.0):
            reasons = [f"{host.name}: {host.died()}" for host in hosts if host.died()]
            if not reasons and time.monotonic() > end:
                reasons = [f"no SSH server at {', '.join(silent)}"]
            if reasons:
                raise FleetError("a host did not start: " + "; ".join(reasons))

    def wait_booted(self, hosts: Sequence[AnyHost]) -> None:
        """Waits until hosts that were just launched are all up."""
        self.wait(hosts)

    def close(self) -> None:
        """Ends all hosts and removes everything that the fleet made."""
        self.ledger.close()
        for host in getattr(self, "hosts", []):
            host.collect()

    def _make_host_keys(self) -> None:
        keys = []
        for host in self.hosts:
            host.folder.mkdir(parents=True)
            keys.append(host.folder / "host_key")
        with ThreadPoolExecutor(4) as pool:
            public = list(pool.map(self._make_key, keys))
        lines = []
        for host, key in zip(self.hosts, public, strict=True):
            where = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
            lines.append(f"{where} {key}\n")
        self.known_hosts.write_text("".join(lines))

    def _make_key(self, path: Path) -> str:
        """Makes an ed25519 key pair without a passphrase; returns the public key's line."""
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
        subprocess.run(
            argv,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.ledger.environment,
        )
        return path.with_name(path.name + ".pub").read_text().strip()

    def _write_ssh_config(self) -> None:
        lines = []
        for host in self.hosts:
            lines += [
                f"Host {host.name} {host.address}",
                f"  HostName {host.address}",
                f"  Port {host.port}",
                f"  User {host.user}",
            ]
        lines += [
            "Host *",
            f"  IdentityFile {self.key}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.known_hosts}",
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            "  BatchMode yes",
            "  ConnectTimeout 10",
        ]
        self.ssh_config.write_text("\n".join(lines) + "\n")


def sshd_config(**settings: str) -> str:
    """An sshd configuration that is the same on all kinds of hosts, plus `settings`."""
    common = {
        "AuthenticationMethods": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "UseDNS": "no",
        "StrictModes": "no",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "PermitUserRC": "no",
        "PidFile": "none",
        "LogLevel": "VERBOSE",
        "AcceptEnv": "LANG LC_*",
        # A control node with 50 forks comes all at once; the default (10:30:100) refuses some.
        "MaxStartups": "500:30:1000",
        "MaxSessions": "100",
        "Subsystem": "sftp internal-sftp",
    }
    return "".join(f"{key} {value}\n" for key, value in {**common, **settings}.items())


def is_root() -> bool:
    """Whether this process has root's user id."""
    return os.geteuid() == 0
