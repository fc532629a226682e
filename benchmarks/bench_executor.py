"""What the executor costs a host: memory, its own CPU for each plugin run, start jitter and missed steps.

    /usr/bin/python3 benchmarks/bench_executor.py [--plugins 200] [--seconds 120]

Run it with the interpreter that hosts have. The CPU bar is a ratio of one run: a bare fork+exec+wait
loop over the same script is measured beside it. Plugins say when they started (bash's
$EPOCHREALTIME, no process of its own), and their lateness is against their own fixed rate.
Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from executor.build import build  # noqa: E402  (runs without an installation)

STEPS = (5, 10, 15, 20, 30, 60)
TICK = os.sysconf("SC_CLK_TCK")
SCRIPT = """#!/bin/bash
echo "[{\\"metric\\":\\"bench.start\\",\\"value\\":$EPOCHREALTIME,\\"tags\\":\\"n=%d\\"}]"
"""
BARE_LOOP = """
import os, resource, sys
count, script = int(sys.argv[1]), sys.argv[2]
sink = os.open(os.devnull, os.O_WRONLY)
begin = resource.getrusage(resource.RUSAGE_SELF)
for _ in range(count):
    pid = os.fork()
    if pid == 0:
        os.dup2(sink, 1)
        os.execv(script, [script])
    os.waitpid(pid, 0)
end = resource.getrusage(resource.RUSAGE_SELF)
print(((end.ru_utime - begin.ru_utime) + (end.ru_stime - begin.ru_stime)) / count)
"""
BARS = {
    "RSS idle, MB": 16.0,
    "RSS loaded (highest), MB": 24.0,
    "own CPU per run beyond bare, ms": 3.0,
    "start jitter p99, ms": 50.0,
    "missed steps": 0.0,
}


class Executor:
    """One executor on a folder of its own."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        build(str(folder / "executor.pyz"))
        config = {
            "hostname": "bench",
            "plugin": {"enabled": True, "dir": "plugin", "logs": "logs"},
            "http": {"listen": "127.0.0.1:0"},
            "executor": {"first_run_within": 5, "jsonl": {"path": "out", "max_bytes": 1 << 30}},
        }
        (folder / "cfg.json").write_text(json.dumps(config))
        (folder / "plugin").mkdir()
        with open(folder / "log", "wb") as log:
            command = [python, "-IS", str(folder / "executor.pyz"), "--config"]
            self.process = subprocess.Popen([*command, str(folder / "cfg.json")], stderr=log)
        deadline = time.monotonic() + 10
        while b" on 127.0.0.1:" not in (folder / "log").read_bytes():
            if time.monotonic() > deadline:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.05)
        line = (folder / "log").read_text().split(" on ")[1]
        self.url = "http://" + line.split()[0]

    def rss_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        """Its own user and system time, children not counted."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / TICK

    def plugins(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/plugins") as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def bind(self, count: int) -> None:
        folder = self.folder / "plugin" / "bench"
        folder.mkdir()
        for number in range(count):
            path = folder / f"{STEPS[number % len(STEPS)]}_{number}.sh"
            path.write_text(SCRIPT % number)
            path.chmod(0o755)
        (self.folder / "bindings.tmp").write_text('{"bindings": ["bench"]}')
        (self.folder / "bindings.tmp").replace(self.folder / "bindings.json")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


def lateness(folder: Path) -> list[float]:
    """Milliseconds by which each start came after the plugin's own earliest phase, sorted."""
    starts: dict[str, list[float]] = {}
    for line in (folder / "out").read_text().splitlines():
        metric = json.loads(line)
        starts.setdefault(metric["tags"], []).append(metric["value"])
    late: list[float] = []
    for tag, times in starts.items():
        step = STEPS[int(tag[2:]) % len(STEPS)]
        first = times[0]
        phases = [moment - first - step * round((moment - first) / step) for moment in times]
        late.extend((phase - min(phases)) * 1000 for phase in phases if len(phases) > 1)
    return sorted(late)


def measure(folder: Path, python: str, plugins: int, seconds: float) -> dict[str, float]:
    executor = Executor(folder, python)
    try:
        time.sleep(5)
        idle = executor.rss_mb()
        idle_begin = executor.cpu_seconds()
        time.sleep(10)
        idle_cpu = (executor.cpu_seconds() - idle_begin) / 10
        executor.bind(plugins)
        begin = executor.cpu_seconds()
        highest = 0.0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(1)
            highest = max(highest, executor.rss_mb())
        cpu = executor.cpu_seconds() - begin
        found = executor.plugins()
    finally:
        executor.stop()
    runs = sum(entry["Runs"] for entry in found.values())
    script = str(next((folder / "plugin" / "bench").iterdir()))
    bare = subprocess.run(
        [python, "-IS", "-c", BARE_LOOP, "500", script], check=True, capture_output=True, text=True
    )
    bare_ms = float(bare.stdout) * 1000
    late = lateness(folder)
    failed = sum(entry["State"] != "ok" for entry in found.values())
    return {
        "plugins": len(found),
        "runs": runs,
        "plugins that are not ok": failed,
        "RSS idle, MB": idle,
        "RSS loaded (highest), MB": highest,
        "CPU idle, % of a core": idle_cpu * 100,
        "CPU loaded, % of a core": cpu / seconds * 100,
        "own CPU per run, ms": cpu / runs * 1000,
        "bare fork+exec+wait per run, ms": bare_ms,
        "own CPU per run beyond bare, ms": cpu / runs * 1000 - bare_ms,
        "own CPU per run / bare": cpu / runs * 1000 / bare_ms,
        "start jitter p50, ms": late[len(late) // 2],
        "start jitter p99, ms": late[int(len(late) * 0.99)],
        "start jitter most, ms": late[-1],
        "missed steps": float(sum(entry["Missed"] for entry in found.values())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--plugins", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--python", default=sys.executable, help="the executor's interpreter")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-executor-") as folder:
        figures = measure(Path(folder), options.python, options.plugins, options.seconds)
    print(f"executor, {options.seconds:g} s, {options.python}, load before {load:.2f}\n")
    missed = False
    for name, value in figures.items():
        bar = BARS.get(name)
        verdict = ""
        if bar is not None:
            verdict = f"bar {bar:g}: " + ("met" if value <= bar else "MISSED")
            missed = missed or value > bar
        print(f"{name:34} {value:10.2f}   {verdict}".rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
