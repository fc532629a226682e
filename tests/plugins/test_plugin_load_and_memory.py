"""The two sh plugins: their arithmetic on given /proc files, and a run on this machine's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

LOAD = "sys/load/60_load_per_core.sh"
MEMORY = "sys/memory/60_memory_pressure.sh"
PRESSURE = (
    "some avg10=1.50 avg60=0.25 avg300=0.00 total=123456789012\n"
    "full avg10=0.00 avg60=12.34 avg300=0.00 total=42\n"
)
STAT = "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\ncpu10 1 2 3\ncpu11 1 2 3\nctxt 5\nprocs_blocked 3\n"
MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    4000100 kB\n"
    "SwapTotal:       2000000 kB\nSwapFree:         500000 kB\nHugePages_Total:       0\n"
)


def test_load_of_this_machine_is_delivered(run_plugin: Any) -> None:
    values = run_plugin(LOAD).values()
    assert values["load.cores"] == os.sysconf("SC_NPROCESSORS_ONLN")
    per_core = float(Path("/proc/loadavg").read_text().split()[2]) / values["load.cores"]
    assert values["load.15min.per.core"] == pytest.approx(per_core, abs=0.05)


def test_memory_of_this_machine_is_delivered(run_plugin: Any) -> None:
    values = run_plugin(MEMORY).values()
    assert 0 < values["memory.available.percent"] < 100
    assert values["memory.available.bytes"] % 1024 == 0
    try:
        pressure = Path("/proc/pressure/memory").read_text()
    except OSError:
        pressure = ""
    assert values["memory.pressure.supported"] == int("some" in pressure)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("0.00", 0.0),
        ("0.08", 0.02),  # "008" would be a broken octal number to sh
        ("0.09", 0.022),
        ("4.00", 1.0),
        ("10.05", 2.512),
        ("1234.56", 308.64),
    ],
)
def test_load_is_divided_by_the_cores(
    run_plugin: Any, fake_proc: Path, write: Any, load: str, expected: float
) -> None:
    write(fake_proc, {"loadavg": f"{load} 8.00 0.40 7/321 999\n", "stat": STAT})
    values = run_plugin(LOAD, HOST_PROC=str(fake_proc)).values()
    assert values == {
        "load.1min.per.core": expected,
        "load.5min.per.core": 2.0,
        "load.15min.per.core": 0.1,
        "load.cores": 4,
        "load.running": 7,
        "load.blocked": 3,
    }


def test_load_says_what_the_waiting_is_for_where_the_kernel_tells(
    run_plugin: Any, fake_proc: Path, write: Any
) -> None:
    write(fake_proc, {"loadavg": "1.00 1.00 1.00 1/2 3\n", "stat": STAT, "pressure/io": PRESSURE})
    values = run_plugin(LOAD, HOST_PROC=str(fake_proc)).values()
    assert values["load.pressure.io.some.percent"] == 0.25
    assert "load.pressure.cpu.some.percent" not in values


def test_memory_figures_come_from_the_kernels_files(
    run_plugin: Any, fake_proc: Path, write: Any
) -> None:
    files = {"meminfo": MEMINFO, "vmstat": "nr_free_pages 5\noom_kill 17\n"}
    write(fake_proc, {**files, "pressure/memory": PRESSURE})
    ran = run_plugin(MEMORY, HOST_PROC=str(fake_proc))
    assert ran.values() == {
        "memory.available.percent": 25.0,
        "memory.available.bytes": 4000100 * 1024,
        "memory.swap.used.percent": 75.0,
        "memory.oom.kills": 17,
        "memory.pressure.some.10s.percent": 1.5,
        "memory.pressure.some.60s.percent": 0.25,
        "memory.pressure.some.stalled.us": 123456789012,
        "memory.pressure.full.10s.percent": 0.0,
        "memory.pressure.full.60s.percent": 12.34,
        "memory.pressure.full.stalled.us": 42,
        "memory.pressure.supported": 1,
    }
    counters = {row["metric"] for row in ran.rows() if row["counterType"] == "COUNTER"}
    assert counters == {
        "memory.oom.kills",
        "memory.pressure.some.stalled.us",
        "memory.pressure.full.stalled.us",
    }


def test_memory_without_pressure_or_swap_sends_the_rest(
    run_plugin: Any, fake_proc: Path, write: Any
) -> None:
    write(fake_proc, {"meminfo": "MemTotal: 1000 kB\nMemAvailable: 125 kB\nSwapTotal: 0 kB\n"})
    # psi=0 at boot: the file is there, and reading it is refused (as a folder's is).
    (fake_proc / "pressure" / "memory").mkdir(parents=True)
    assert run_plugin(MEMORY, HOST_PROC=str(fake_proc)).values() == {
        "memory.available.percent": 12.5,
        "memory.available.bytes": 128000,
        "memory.pressure.supported": 0,
    }


@pytest.mark.parametrize(
    ("plugin", "files", "reason"),
    [
        (LOAD, {}, "loadavg: is /proc mounted here?"),
        (LOAD, {"loadavg": "1.00 1.00 1.00 1/2 3\n"}, "cannot read the cores from"),
        (MEMORY, {}, "meminfo: is /proc mounted here?"),
        (MEMORY, {"meminfo": "MemTotal: 5 kB\n"}, "has no MemAvailable: this kernel is older"),
        (MEMORY, {"meminfo": "rubbish\n\0\xff $(id)\n"}, "cannot read MemTotal"),
    ],
)
def test_what_cannot_be_read_is_a_reason_and_no_data(
    run_plugin: Any,
    fake_proc: Path,
    write: Any,
    plugin: str,
    files: dict[str, str],
    reason: str,
) -> None:
    write(fake_proc, files)
    assert reason in run_plugin(plugin, HOST_PROC=str(fake_proc)).reason()
