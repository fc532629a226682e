"""An agent's list of plugins: what is bound becomes schedules (cron/plugin.go, plugins/reader.go)."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.falcon.configuration import Config
from tests.falcon.execution import Execution, check_cycle


def atoi(text: str) -> int | None:
    """Go's Atoi: a sign and digits that fit into 64 bits, nothing else."""
    if not re.fullmatch(r"[+-]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
        return None
    return int(text)


class Schedule:
    """One entry of the list; it begins with a whole cycle of waiting."""

    def __init__(self, execution: Execution, path: str, args: str, mtime: int, cycle: int) -> None:
        self._execution = execution
        self.path, self.args, self.mtime, self.cycle = path, args, mtime, cycle
        self.stop = threading.Event()
        check_cycle(cycle)
        threading.Thread(target=self._keep, daemon=True).start()

    def as_dict(self) -> dict[str, Any]:
        """The entry in /plugins."""
        return {
            "FilePath": self.path, "MTime": self.mtime, "Cycle": self.cycle, "Args": self.args,
        }  # fmt: skip

    def _keep(self) -> None:
        following = time.monotonic() + self.cycle
        while not self.stop.wait(max(0, following - time.monotonic())):
            self._execution.run(self.path, self.args, self.cycle)
            # A tick that passed meanwhile is waiting; all more are dropped.
            following += self.cycle
            late = time.monotonic() - following
            if late > self.cycle:
                following += late // self.cycle * self.cycle


class Plugins:
    """The list.

    Args:
        records: the folder where `schedules.jsonl` notes each schedule that is begun.
        version: 0.2.1 knows neither scripts nor arguments as bindings.
    """

    def __init__(self, config: Config, records: str, version: str) -> None:
        self._config, self._records, self._version = config, records, version
        self._execution = Execution(config, records, version)
        self.running: dict[str, Schedule] = {}

    def take(self, bound: list[str]) -> None:
        """Begin what is new or has another mtime, end what is gone, leave alone what is the same."""
        wanted = dict(self._wanted(bound))
        for key in set(self.running) - set(wanted):
            self.running.pop(key).stop.set()
        for key, (path, args, mtime, cycle) in wanted.items():
            known = self.running.get(key)
            if known is not None and known.mtime == mtime:
                continue
            if known is not None:
                known.stop.set()
            with open(os.path.join(self._records, "schedules.jsonl"), "a") as file:
                file.write(json.dumps({"key": key, "mtime": mtime}) + "\n")
            self.running[key] = Schedule(self._execution, path, args, mtime, cycle)

    def _wanted(self, bound: list[str]) -> Iterator[tuple[str, tuple[str, str, int, int]]]:
        folder = self._config.of("plugin", "dir")
        taken, folders = set(), []
        for entry in bound:
            split = re.fullmatch(r"(.*)\((.*)\)", entry) if self._version != "0.2.1" else None
            path, args = split.groups() if split else (entry, "")
            full = os.path.normpath(os.path.join(folder, path))
            if os.path.isdir(full):
                folders.append(path.strip("/"))
            elif os.path.exists(full) and self._version != "0.2.1":
                # Taken even if its name has no step, and by the very text of the binding.
                taken.add(path)
                cycle = atoi(os.path.basename(path).split("_")[0])
                if cycle is not None:
                    yield f"{path}({args})", (path, args, int(os.stat(full).st_mtime), cycle)
        for path in filter(None, folders):
            for found in os.scandir(os.path.join(folder, path)):
                file = os.path.normpath(os.path.join(path, found.name))
                cycle = atoi(found.name.split("_")[0]) if "_" in found.name else None
                if cycle is None or file in taken or found.is_dir(follow_symlinks=False):
                    continue
                yield file, (file, "", int(found.stat(follow_symlinks=False).st_mtime), cycle)
