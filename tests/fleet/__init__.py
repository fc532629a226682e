"""Fleets of real SSH hosts on this machine, for tests and benchmarks (docs/test-fleet.md).

Three kinds behind one interface: `LoopbackFleet` (no root rights), `NamespaceFleet` (light hosts
with files, processes and network of their own) and `SystemdFleet` (booted by systemd). `GitServer`
and `GitHttpServer` serve repositories and count who comes for them.
"""

from __future__ import annotations

from .errors import FleetError
from .fleet import Fleet
from .git_server import GitHttpServer, GitServer
from .host import Host
from .loopback import LoopbackFleet, LoopbackHost
from .namespace import NamespaceFleet, NamespaceHost
from .switch import Switch
from .systemd import SystemdFleet, SystemdHost

__all__ = [
    "Fleet",
    "FleetError",
    "GitHttpServer",
    "GitServer",
    "Host",
    "LoopbackFleet",
    "LoopbackHost",
    "NamespaceFleet",
    "NamespaceHost",
    "Switch",
    "SystemdFleet",
    "SystemdHost",
]
