"""`make bench-overhead`: a deployment through the controller against `ansible-playbook` alone.

The same hosts over SSH, the same release, in turns: nothing to do with every host visited, and one
changed file. The controller's side is the whole `plugfleet deploy` command, from start to exit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.stage import Stage, stage

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = CHECKOUT / ".venv/bin"
BAR = 10  # percent of wall time
SCENARIOS = ("nothing to do, all visited", "one file changed")
BINDINGS = ("group0", "group1")
HOST_VARIABLES = {"executor_service": "process", "executor_user": "root"}

console = Console(highlight=False, width=110)


class Bench:
    """The fleet, and both ways to deploy to it from one deploy line."""

    def __init__(self, set_up: Stage) -> None:
        self._fleet = set_up.fleet
        self._repository = set_up.repository
        self._data = set_up.folder / "data"
        self._inventory = set_up.fleet.inventory(groupvars={"all": HOST_VARIABLES})
        self._source = set_up.server.url("plugins")
        self._variables = set_up.folder / "variables.json"
        direct = {
            "plugin_sources": [{"url": self._source, "ref": "main"}],
            "plugin_source_folder": str(self._data / "catalog"),
            "plugin_bindings": {"all": list(BINDINGS)},
        }
        self._variables.write_text(json.dumps(direct))
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "PLUGFLEET_DATA_DIR": str(self._data),
            "PLUGFLEET_CONFIG": os.devnull,
        }

    @contextmanager
    def controller(self, log: Path) -> Iterator[None]:
        """Run a controller in the control node's network, filled with the fleet."""
        with log.open("wb") as said:
            process = subprocess.Popen(
                self._fleet.control([str(BIN / "plugfleet"), "serve", "--port", "0", "--json"]),
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                sys.exit(f"the controller did not start:\n{log.read_text()[-2000:]}")
            started = json.loads(line)
            self._environment["PLUGFLEET_URL"] = started["url"]
            self._environment["PLUGFLEET_TOKEN"] = started["token"]
            self._plugfleet("host", "import", str(self._inventory), "--format", "ansible")
            for name, value in HOST_VARIABLES.items():
                self._plugfleet("group", "change", "all", "--var", f"{name}={value}")
            self._plugfleet("source", "add", "plugins", self._source, "--ref", "main")
            for plugin in BINDINGS:
                self._plugfleet("bind", "add", "all", plugin)
            yield
        finally:
            process.terminate()
            process.wait(60)

    def prepare(self) -> None:
        """Bring all hosts to the first release, so that only what is measured is left to do."""
        self._plugfleet("deploy", "--publish")

    def direct(self) -> dict[str, float]:
        """One turn of `ansible-playbook` alone: seconds of each scenario."""
        command = [
            "ansible-playbook",
            *("-i", str(self._inventory), "-e", f"@{self._variables}", "deploy-plugins.yml"),
        ]
        return self._turn(command, command)

    def through_controller(self) -> dict[str, float]:
        """One turn through the controller: seconds of each scenario."""
        plugfleet = str(BIN / "plugfleet")
        return self._turn(
            [plugfleet, "deploy", "--all"], [plugfleet, "deploy", "--all", "--publish"]
        )

    def _turn(self, unchanged: Sequence[str], changed: Sequence[str]) -> dict[str, float]:
        # The change first: each way then finds the release that it has just brought itself. The
        # other way's would make a controller that was not told of it take every host back.
        self._repository.change_one_file()
        seconds = {SCENARIOS[1]: self._run(changed)}
        time.sleep(2)
        seconds[SCENARIOS[0]] = self._run(unchanged)
        return seconds

    def _plugfleet(self, *words: str) -> None:
        self._run([str(BIN / "plugfleet"), *words])

    def _run(self, command: Sequence[str]) -> float:
        started = time.monotonic()
        done = subprocess.run(
            self._fleet.control(list(command)),
            cwd=CHECKOUT,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - started
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}")
        return seconds


def main() -> None:
    """Run the benchmark and print its table."""
    with stage("bench-overhead", __doc__, rounds=5) as set_up:
        bench = Bench(set_up)
        with bench.controller(set_up.folder / "controller.log"):
            bench.prepare()
            turns = [(bench.direct(), bench.through_controller()) for _ in range(set_up.rounds)]
    show(turns, set_up.hosts)


def show(turns: Sequence[tuple[dict[str, float], dict[str, float]]], hosts: int) -> None:
    """Print medians and the overhead."""
    table = Table(title=f"{hosts} hosts, medians of {len(turns)} turns", title_justify="left")
    for column in ("scenario", "ansible-playbook, s", "plugfleet deploy, s", "overhead (bar)"):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for scenario in SCENARIOS:
        alone = statistics.median(direct[scenario] for direct, _ in turns)
        ours = statistics.median(through[scenario] for _, through in turns)
        percent = 100 * (ours / alone - 1)
        colour = "[green]" if percent <= BAR else "[red]"
        table.add_row(
            scenario, f"{alone:.2f}", f"{ours:.2f}", f"{colour}{percent:+.0f} % ({BAR} %)"
        )
    console.print(table)


if __name__ == "__main__":
    main()
