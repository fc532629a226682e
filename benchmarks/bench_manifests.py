"""What manifest plugins cost the executor: memory and own CPU with 100 of them that loop, while one
floods its pipe, and how fast the line parser is.

    /usr/bin/python3 benchmarks/bench_manifests.py [--plugins 100] [--minutes 10]

Run it with the interpreter that hosts have. The plugins print 4 values every second and are written
in shell, so that they themselves need little. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agentplugin.measurements import LineParser, Measurement  # noqa: E402  (runs without an
from benchmarks.bench_executor import Executor  # noqa: E402                 installation)

METRICS = [f"BENCH_METRIC_{number}" for number in range(4)]
MANIFEST = {
    "name": "Bench",
    "description": "Prints four values a second",
    "command": "sh loop.sh $(name)",
    "metrics": METRICS,
    "paramSchema": [{"title": "Name", "name": "name", "type": "string"}],
}
LOOP = "while :; do\n" + "".join(f'echo "{m} 42.5 $1"\n' for m in METRICS) + "sleep 1\ndone\n"
FLOOD = "import os\nlines = b'BENCH_METRIC_0 1\\n' * 4000\nwhile True:\n    os.write(1, lines)\n"
LINES = 300_000
BARS = {
    "RSS highest, MB": (30.0, False),
    "own CPU, % of a core": (2.0, False),
    "own CPU with a flood, % of a core": (5.0, False),
    "plugins that are not ok": (0.0, False),
    # The plugins' own pace: whatever else the machine does moves it by some percent.
    "fewer values beside a flood, %": (10.0, False),
    "line parser, lines/s": (300_000.0, True),
}


def parser_speed() -> float:
    """Lines a second of processor time, which others on the machine do not change; best of three."""
    lines = [
        f"{METRICS[number % 4]} {number}.5 web-{number % 7} {1790000000 + number // 28}".encode()
        for number in range(LINES)
    ]
    best = 0.0
    for _ in range(3):
        parser = LineParser(METRICS)
        begin = time.process_time()
        good = sum(isinstance(parser.parse(line, 0.0), Measurement) for line in lines)
        best = max(best, LINES / (time.process_time() - begin))
        assert good == LINES, good
    return best


def install(executor: Executor, count: int) -> None:
    for number in range(count):
        folder = executor.folder / "plugin" / f"loop{number}"
        folder.mkdir()
        (folder / "plugin.json").write_text(json.dumps(MANIFEST))
        (folder / "loop.sh").write_text(LOOP)
    flood = executor.folder / "plugin" / "flood"
    flood.mkdir()
    (flood / "plugin.json").write_text(json.dumps(dict(MANIFEST, command="python3 flood.py")))
    (flood / "flood.py").write_text(FLOOD)


def bind(executor: Executor, count: int, *more: str) -> None:
    bindings: list[Any] = [
        {"plugin": f"loop{number}", "config": {"name": f"source{number}"}}
        for number in range(count)
    ]
    (executor.folder / "bindings.tmp").write_text(json.dumps({"bindings": [*bindings, *more]}))
    (executor.folder / "bindings.tmp").replace(executor.folder / "bindings.json")


def values(executor: Executor) -> int:
    """Values that the looping plugins delivered so far."""
    entries = executor.plugins().items()
    return sum(entry["Samples"] for key, entry in entries if key.startswith("loop"))


def watch(executor: Executor, seconds: float) -> tuple[float, float, float]:
    """(highest RSS in MB, own CPU in % of a core, values a second) over `seconds`."""
    highest = 0.0
    began, cpu, before = time.monotonic(), executor.cpu_seconds(), values(executor)
    while time.monotonic() < began + seconds:
        time.sleep(1)
        highest = max(highest, executor.rss_mb())
    used, took = executor.cpu_seconds() - cpu, time.monotonic() - began
    return highest, used / took * 100, (values(executor) - before) / took


def measure(folder: Path, python: str, count: int, minutes: float) -> dict[str, float]:
    executor = Executor(folder, python)
    try:
        time.sleep(2)
        idle = executor.rss_mb()
        install(executor, count)
        bind(executor, count)
        time.sleep(10)
        highest, cpu, rate = watch(executor, minutes * 60)
        failed = sum(entry["State"] != "ok" for entry in executor.plugins().values())
        bind(executor, count, "flood")
        # What it may print at once is over by then.
        time.sleep(10)
        flooded_rss, flooded_cpu, flooded_rate = watch(executor, min(60.0, minutes * 60))
        throttled = executor.plugins()["flood"]["Throttled"]
    finally:
        executor.stop()
    return {
        "plugins": float(count),
        "RSS idle, MB": idle,
        "RSS highest, MB": max(highest, flooded_rss),
        "own CPU, % of a core": cpu,
        "values/s": rate,
        "plugins that are not ok": float(failed),
        "own CPU with a flood, % of a core": flooded_cpu,
        "values/s beside a flood": flooded_rate,
        "fewer values beside a flood, %": max(0.0, (1 - flooded_rate / rate) * 100),
        "flood: lines thrown away": float(throttled),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--plugins", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--python", default=sys.executable, help="the executor's interpreter")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    figures = {"line parser, lines/s": parser_speed()}
    with tempfile.TemporaryDirectory(prefix="bench-manifests-") as folder:
        figures.update(measure(Path(folder), options.python, options.plugins, options.minutes))
    print(f"manifest plugins, {options.minutes:g} min, {options.python}, load before {load:.2f}\n")
    missed = False
    for name, value in figures.items():
        bar, at_least = BARS.get(name, (value, False))
        good = value >= bar if at_least else value <= bar
        verdict = f"bar {bar:g}: {'met' if good else 'MISSED'}" if name in BARS else ""
        missed = missed or not good
        print(f"{name:34} {value:12.2f}   {verdict}".rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
