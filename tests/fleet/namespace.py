"""Light hosts (root only): own network, mounts, processes and name; sshd is process 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, light_tree
from .contained import HERE, ContainedFleet, ContainedHost, host_names

if TYPE_CHECKING:
    from .switch import Switch


class NamespaceHost(ContainedHost):
    """One light host. It sees this machine's /usr and nothing else of it, and changes a copy."""

    fleet: NamespaceFleet
    # It shares the machine's kernel, clock and devices and must not change them.
    dropped = (
        "sys_admin sys_module sys_rawio sys_time sys_boot mknod syslog mac_admin mac_override "
        "audit_control audit_read wake_alarm bpf perfmon"
    )

    def command(self) -> list[str]:
        namespace = f"--net=/run/netns/{self.fleet.switch.namespace(self.name)}"
        unshare = "unshare --mount --pid --uts --ipc --fork --kill-child --propagation=private"
        arguments = [self.folder, self.fleet.tree, self.fleet.mask, self.name, self.drop]
        script = ["/bin/sh", str(HERE / "light_host.sh"), *map(str, arguments)]
        return ["nsenter", namespace, *unshare.split(), *script]


class NamespaceFleet(ContainedFleet[NamespaceHost]):
    """Hosts n1, n2, ... at 10.99.1.1, 10.99.1.2, ... behind a switch."""

    kind = "namespace"

    def __init__(self, n: int, folder: Path, *, switch: Switch | None = None) -> None:
        super().__init__(n, folder, switch=switch)

    def make_hosts(self, n: int) -> list[NamespaceHost]:
        hierarchies = cgroups.counting()
        hosts = [NamespaceHost(self, f"n{i}", hierarchies) for i in range(1, n + 1)]
        self.plug(hosts)
        self.tree, self.mask = self.folder / "tree", self.folder / "mask"
        key = self.key.with_name(self.key.name + ".pub").read_text()
        light_tree.make(self.tree, self.mask, key, host_names(hosts))
        return hosts
