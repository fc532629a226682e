"""Hosts with systemd as process 1 (root only): systemd-nspawn, real units, limits that hold."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cgroups, light_tree, systemd_base
from .contained import HERE, ContainedFleet, ContainedHost, host_names
from .errors import FleetError

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# What systemd and its services take on one host, measured; the kernel's default is 128 for a user.
INOTIFY_A_HOST = 6


class SystemdHost(ContainedHost):
    """One machine booted by systemd."""

    fleet: SystemdFleet
    # What systemd-nspawn keeps from a host of its own accord.
    dropped = "sys_module sys_rawio sys_time syslog mac_admin mac_override wake_alarm"

    def command(self) -> list[str]:
        upper = self.folder / "upper"
        if not upper.exists():
            self._make_upper(upper)
        netns = f"/run/netns/{self.fleet.switch.namespace(self.name)}"
        machine = self.fleet.switch.namespace(self.name)
        init = "/" + systemd_base.INIT_PATH
        arguments = [str(self.folder), str(self.fleet.base), netns, machine, self.name, init]
        unshare = ["unshare", "--mount", "--propagation=private"]
        return [*unshare, "/bin/sh", str(HERE / "systemd_host.sh"), *arguments]

    def _make_upper(self, upper: Path) -> None:
        """The host's own files, laid over the base."""
        for name, mode in (("etc/ssh", 0o755), ("root", 0o700), ("home/ops", 0o700)):
            (upper / name).mkdir(parents=True)
            (upper / name).chmod(mode)
        key = self.fleet.key.with_name(self.fleet.key.name + ".pub").read_text()
        light_tree.add_access(upper, key, host_names(self.fleet.hosts))
        shutil.copy(self.folder / "host_key", upper / "etc/ssh/ssh_host_key")
        (upper / "etc/hostname").write_text(self.name + "\n")
        (upper / "etc/machine-id").write_text(secrets.token_hex(16) + "\n")

    def boot_problem(self) -> str:
        """Waits until systemd has booted; "" when every unit came up, else which did not."""
        state = self.exec("systemctl is-system-running --wait").stdout.strip()
        if state == "running":
            return ""
        return f"{state}: {self.exec('systemctl --failed --no-legend --plain').stdout.strip()}"


class SystemdFleet(ContainedFleet[SystemdHost]):
    """Hosts s1, s2, ... behind a switch, booted to the end."""

    kind = "systemd"
    start_timeout = 60.0

    def make_hosts(self, n: int) -> list[SystemdHost]:
        most = int(INOTIFY.read_text()) // INOTIFY_A_HOST
        if n > most:
            raise FleetError(
                f"{n} systemd hosts need more inotify instances than this machine allows ({most} "
                "hosts). Run: sysctl -w fs.inotify.max_user_instances=8192"
            )
        self.base = systemd_base.base()
        hierarchies = cgroups.hierarchies()
        hosts = [SystemdHost(self, f"s{i}", hierarchies) for i in range(1, n + 1)]
        self.plug(hosts)
        return hosts

    def wait_booted(self, hosts: Sequence[SystemdHost]) -> None:
        self.wait(hosts)
        with ThreadPoolExecutor(8) as pool:
            for host, problem in zip(hosts, pool.map(SystemdHost.boot_problem, hosts), strict=True):
                if problem:
                    raise FleetError(f"{host.name}: did not boot well: {problem}")
