"""`make bench-deploy`: our deployment against the plain play, over SSH, in one run.

Both deploy the same repository from the same git server to the same hosts, in turns: a first
deploy, nothing to do, one changed file. Every run starts with no open SSH connection. CPU is
counted by control groups, so what ssh and git leave in the background counts too.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.stage import Stage, stage
from tests.fleet import cgroups

CHECKOUT = Path(__file__).resolve().parents[1]
PLAIN = CHECKOUT / "benchmarks/plain_play"
BARS = {
    "wall": {"first deploy": 5, "nothing to do": 15, "one file changed": 8},
    "control": {"first deploy": 8, "nothing to do": 8, "one file changed": 8},
    "hosts": {"nothing to do": 5},
}
CURVE = "-o KexAlgorithms=curve25519-sha256"
SCENARIOS = ("first deploy", "nothing to do", "one file changed")

console = Console(highlight=False, width=110)


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds of wall time, and CPU seconds of the control node and all hosts."""

    wall: float
    control: float
    hosts: float


@dataclass(frozen=True)
class Side:
    """A way to deploy.

    Attributes:
        name: as the table has it.
        command: its ansible-playbook command, without the inventory.
        config: the ansible.cfg that it uses.
    """

    name: str
    command: tuple[str, ...]
    config: Path


class Bench:
    """The fleet, the git server and the two ways to deploy."""

    def __init__(self, set_up: Stage) -> None:
        fleet, server, folder = set_up.fleet, set_up.server, set_up.folder
        self.fleet = fleet
        self.repository = set_up.repository
        self.server = server
        self.fetches: dict[str, int] = {}
        self.inventory = fleet.inventory(
            groupvars={
                "all": {
                    "plain_repository": server.url("plugins"),
                    "plugin_sources": [{"url": server.url("plugins"), "ref": "main"}],
                    "plugin_source_folder": str(folder / "catalog"),
                    "plugin_bindings": {"all": ["group0", "group1"]},
                    "executor_service": "process",
                    "executor_user": "root",
                }
            }
        )
        self._catalog = folder / "catalog"
        self._group = cgroups.paths(f"{fleet.ledger.id}-control", cgroups.counting())
        for path in self._group:
            fleet.ledger.made("cgroup", str(path))
        cgroups.make(self._group)
        ours = ("deploy-plugins.yml",)
        self.plain = Side("plain play", (str(PLAIN / "deploy.playbook"),), PLAIN / "ansible.cfg")
        self.ours = [
            Side("plugfleet, as shipped", ours, CHECKOUT / "ansible.cfg"),
            Side(
                "plugfleet, curve25519",
                (*ours, "-e", f"ansible_ssh_extra_args='{CURVE}'"),
                CHECKOUT / "ansible.cfg",
            ),
        ]

    def prepare(self) -> None:
        """Give every host a running agent: both sides find one."""
        self._playbook(
            Side("agents", ("playbooks/install-executor.yml",), CHECKOUT / "ansible.cfg")
        )

    def measure(self, side: Side) -> dict[str, Cost]:
        """One turn: the three scenarios, one after the other."""
        self._reset()
        before = self.server.fetches("plugins")
        costs = {"first deploy": self._playbook(side), "nothing to do": self._playbook(side)}
        self.repository.change_one_file()
        costs["one file changed"] = self._playbook(side)
        self.fetches[side.name] = (self.server.fetches("plugins") - before) // len(costs)
        return costs

    def floor(self, options: list[str]) -> Cost:
        """What one bare `ssh HOST true` per host costs, 50 at a time."""
        self._close_connections()
        before = self._counters()
        started = time.monotonic()

        def reach(name: str) -> None:
            argv = ["ssh", "-F", str(self.fleet.ssh_config), *options, name, "true"]
            subprocess.run(self._joined(argv), check=True, capture_output=True)

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(reach, [host.name for host in self.fleet]))
        return self._since(before, started)

    def _reset(self) -> None:
        """Take both sides' work off the hosts; their agents stay."""
        clean = (
            "rm -rf /opt/plain /var/lib/plugfleet/mirror.git /var/lib/plugfleet/bindings.json; "
            "chmod -R u+w /var/lib/plugfleet/agent/plugin.releases 2>/dev/null; "
            "rm -rf /var/lib/plugfleet/agent/plugin /var/lib/plugfleet/agent/plugin.releases; "
            "mkdir -p /opt/plain"
        )
        for host in self.fleet:
            done = host.exec(clean)
            if done.returncode:
                sys.exit(f"{host.name}: {done.stderr}")
        shutil.rmtree(self._catalog, ignore_errors=True)

    def _playbook(self, side: Side) -> Cost:
        self._close_connections()
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(side.config),
            "PATH": f"{CHECKOUT / '.venv/bin'}:{os.environ['PATH']}",
        }
        command = ["ansible-playbook", "-i", str(self.inventory), *side.command]
        before = self._counters()
        started = time.monotonic()
        done = subprocess.run(
            self._joined(command), cwd=CHECKOUT, env=environment, capture_output=True, text=True
        )
        cost = self._since(before, started)
        if done.returncode:
            sys.exit(f"{side.name} failed:\n{done.stdout[:3000]}\n{done.stderr[-2000:]}")
        return cost

    def _joined(self, argv: list[str]) -> list[str]:
        """The command in the control node's control group and network."""
        files = " ".join(str(path / "cgroup.procs") for path in self._group)
        join = str(CHECKOUT / "tests/fleet/join.sh")
        return ["/bin/sh", join, files, *self.fleet.control(argv)]

    def _close_connections(self) -> None:
        """End what ssh keeps open, so that every run pays for its own connections."""
        cgroups.kill(self._group)
        cgroups.make(self._group)

    def _counters(self) -> tuple[float, float]:
        return cgroups.cpu_seconds(self._group), sum(host.cpu_seconds() for host in self.fleet)

    def _since(self, before: tuple[float, float], started: float) -> Cost:
        wall = time.monotonic() - started
        control, hosts = self._counters()
        return Cost(wall, control - before[0], hosts - before[1])


def median(costs: list[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        *(
            statistics.median(getattr(c, name) for c in costs)
            for name in ("wall", "control", "hosts")
        )
    )


def show(title: str, sides: dict[str, dict[str, Cost]], floors: dict[str, Cost]) -> None:
    """Print the table of costs and the table of ratios."""
    table = Table(title=title, title_justify="left")
    for column in ("way", "scenario", "wall s", "control CPU s", "hosts' CPU s"):
        table.add_column(column, justify="right" if "s" in column[-2:] else "left")
    for name, costs in sides.items():
        for scenario in SCENARIOS:
            cost = costs[scenario]
            table.add_row(
                name, scenario, f"{cost.wall:.1f}", f"{cost.control:.2f}", f"{cost.hosts:.2f}"
            )
        table.add_section()
    for name, cost in floors.items():
        table.add_row(name, "floor", f"{cost.wall:.1f}", f"{cost.control:.2f}", f"{cost.hosts:.2f}")
    console.print(table)
    plain = sides["plain play"]
    ratios = Table(title="times less than the plain play (the bar)", title_justify="left")
    for column in ("way", "scenario", "wall", "control CPU", "hosts' CPU"):
        ratios.add_column(column)
    for name, costs in sides.items():
        if costs is plain:
            continue
        for scenario in SCENARIOS:
            row = [name, scenario]
            for figure in ("wall", "control", "hosts"):
                ratio = getattr(plain[scenario], figure) / getattr(costs[scenario], figure)
                bar = BARS[figure].get(scenario)
                colour = "" if bar is None else "[green]" if ratio >= bar else "[red]"
                row.append(f"{colour}{ratio:.1f}" + (f" ({bar})" if bar else ""))
            ratios.add_row(*row)
        ratios.add_section()
    console.print(ratios)


def main() -> None:
    """Run the benchmark and print its tables."""
    with stage("bench-deploy", __doc__, rounds=3) as set_up:
        bench = Bench(set_up)
        bench.prepare()
        turns: dict[str, list[dict[str, Cost]]] = {}
        for number in range(set_up.rounds):
            for side in (bench.plain, *bench.ours):
                console.print(f"round {number + 1} of {set_up.rounds}: {side.name}")
                turns.setdefault(side.name, []).append(bench.measure(side))
        floors = {
            "one ssh exec per host": bench.floor([]),
            "one ssh exec per host, curve25519": bench.floor(CURVE.split()),
        }
        sides = {
            name: {s: median([turn[s] for turn in rounds]) for s in SCENARIOS}
            for name, rounds in turns.items()
        }
        show(f"{set_up.hosts} hosts, medians of {set_up.rounds} rounds", sides, floors)
        for name, count in bench.fetches.items():
            console.print(f"git server, connections for one deployment: {count:4d}  {name}")


if __name__ == "__main__":
    main()
