"""A network of its own: a namespace with a bridge for the control side, and one for each host.

No interface, address or route of this machine is used or changed, so fleets with the same addresses
can live side by side. Names carry the owner's id. Rules: ip-netns(8), ip-link(8).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import ready
from .errors import FleetError
from .ledger import Ledger

CONTROL_ADDRESS = "10.99.0.1"
FIRST_PORT = 9418
# The kernel's default neighbour table (gc_thresh3) holds 1024 entries for the whole machine.
MOST = 800


class Switch:
    """The switch of one owner; `ledger` gets everything that it makes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._taken = 0
        self._ports = 0
        self.name = f"plugfleet-{ledger.id}-switch"
        ledger.made("netns", self.name)
        self._ip(f"netns add {self.name}\n")
        # A bridge that learns nothing from a spanning tree forwards at once, not after 30 s.
        self._ip(
            "link set lo up\n"
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n"
            f"addr add {CONTROL_ADDRESS}/16 dev br0\n"
            "link set br0 addrgenmode none up\n",
            inside=self.name,
        )

    def _ip(self, batch: str, *, inside: str | None = None) -> None:
        """Runs a batch of `ip` commands, in the namespace `inside` if given. Raises FleetError."""
        done = subprocess.run(
            ["ip", *(["-n", inside] if inside else []), "-batch", "-"],
            input=batch,
            capture_output=True,
            text=True,
            env=self._ledger.environment,
            check=False,
        )
        if done.returncode != 0:
            raise FleetError(f"ip: {done.stderr.strip()}")

    def control(self, argv: Sequence[str]) -> list[str]:
        """`argv` as a command that runs in the switch, where all hosts can be reached."""
        return ["ip", "netns", "exec", self.name, *argv]

    def address(self) -> str:
        """The next free address."""
        self._taken += 1
        if self._taken > MOST:
            raise FleetError(
                f"more than {MOST} hosts on one switch overflow the kernel's neighbour table: "
                "make several fleets"
            )
        return f"10.99.{1 + (self._taken - 1) // 250}.{1 + (self._taken - 1) % 250}"

    def namespace(self, host: str) -> str:
        """The network namespace of a host."""
        return f"plugfleet-{self._ledger.id}-{host}"

    def plug(self, hosts: Iterable[tuple[str, str]]) -> None:
        """Makes for every (name, address) a namespace and a cable to the switch.

        The cable's end in the switch is called like the host, the other end is `eth0`.
        """
        addresses = dict(hosts)
        names = list(addresses)
        for name in names:
            self._ledger.made("netns", self.namespace(name))
        self._ip("".join(f"netns add {self.namespace(name)}\n" for name in names))
        self._ip(
            "".join(
                f"link add {name} type veth peer name eth0 netns {self.namespace(name)}\n"
                f"link set {name} addrgenmode none master br0 up\n"
                for name in names
            ),
            inside=self.name,
        )
        for name, address in addresses.items():
            self._ip(
                "link set lo up\n"
                f"addr add {address}/16 dev eth0\n"
                "link set eth0 addrgenmode none up\n",
                inside=self.namespace(name),
            )

    def cable(self, host: str, *, up: bool) -> None:
        """Pulls the cable of `host` out or puts it in again."""
        self._ip(f"link set {host} {'up' if up else 'down'}\n", inside=self.name)

    def port(self) -> int:
        """A TCP port at the control side's address that nobody else on this switch is given."""
        self._ports += 1
        return FIRST_PORT + self._ports

    def unready(
        self, pairs: list[tuple[str, int]], timeout: float, greeting: str = ready.SSH
    ) -> list[str]:
        """Waits in the switch for servers; returns those that never answered."""
        program = str(Path(__file__).with_name("ready.py"))
        words = [f"{address}:{port}" for address, port in pairs]
        argv = self.control([sys.executable, "-I", "-S", program, str(timeout), greeting, *words])
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or done.stderr:
            raise FleetError(f"cannot wait in {self.name}: {done.stderr.strip()[-500:]}")
        return done.stdout.split()
