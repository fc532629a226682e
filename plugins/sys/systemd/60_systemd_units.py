#!/usr/bin/env python3
"""Failed systemd units, and the state of the units that are given.

Arguments: unit names (sshd or sshd.service; a name without a suffix is a service).
Source: systemctl list-units and systemctl show. Needs systemd as process 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib

# --- what every Python script of this tree agrees with the agent on (plugins/README.md) ---
TYPE_CHECKING = False  # typing itself would cost milliseconds on every run
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def fail(reason: str) -> NoReturn:
    """Leave with one line of reason on stderr, no data and exit code 1."""
    line = f"{os.path.basename(sys.argv[0])}: {' '.join(reason.split())}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(1)  # a thread that is stuck in a name look-up must not hold the exit up


def step_of(path: str) -> int:
    """Return the step in seconds that a script's file name begins with, as the agent reads it."""
    head = os.path.basename(path).split("_", 1)[0]
    head = head[1:] if head.startswith("+") else head
    if not (head.isascii() and head.isdigit() and int(head) > 0):
        fail("the file name must begin with its step in seconds and a _, as in 60_name.py")
    return int(head)


STEP = step_of(sys.argv[0])
ENDPOINT = os.environ.get("FALCON_ENDPOINT") or os.uname().nodename


def arguments() -> list[str]:
    """Return the binding's arguments; an agent passes one empty argument when there are none."""
    given = [text.strip() for text in sys.argv[1:] if text.strip()]
    if given[:1] == ["--help"]:
        print(__doc__)
        sys.exit(0)
    return given


def within(limit: float) -> float:
    """Return the seconds to work in: `limit`, or less where the step's timeout comes sooner."""
    return min(limit, max(0.2, (STEP - 0.5) * 0.6))


def tag(text: str) -> str:
    """Return `text` as a tag's value: none of Falcon's own signs, 160 bytes at most."""
    kept = (c if c.isprintable() and c not in ',= "\\' else "_" for c in text)
    clean = "".join(kept).encode("utf-8")
    if len(clean) > 160:
        return f"{clean[:150].decode('utf-8', 'ignore')}-{zlib.crc32(clean):08x}"
    return clean.decode("utf-8") or "_"


def row(metric: str, value: float, kind: str = "GAUGE", **tags: str) -> dict[str, object]:
    """Return one metric; `kind` is GAUGE, or COUNTER for a number that only grows."""
    return {
        "endpoint": ENDPOINT,
        "metric": metric,
        "value": value,
        "step": STEP,
        "counterType": kind,
        "tags": ",".join(f"{name}={tag(text)}" for name, text in tags.items()),
        "timestamp": int(time.time()),
    }


def push(rows: list[dict[str, object]]) -> NoReturn:
    """Print all metrics as one JSON list and leave; stdout carries nothing else."""
    if not rows:
        fail("nothing was measured")
    data = json.dumps(rows, allow_nan=False).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def run(main: Callable[[], NoReturn]) -> NoReturn:
    """Run `main`; what nobody foresaw becomes one line of reason too."""
    try:
        main()
    except Exception as error:
        fail(f"unexpected {type(error).__name__}: {error}")


# --- end of the agreement ---

SUFFIXES = (
    ".automount", ".device", ".mount", ".path", ".scope", ".service", ".slice", ".socket",
    ".swap", ".target", ".timer",
)  # fmt: skip
MOST_FAILED = 20  # failed units that are named; the count is always complete
PROPERTIES = "ActiveState,LoadState,NRestarts"


def systemctl(*words: str) -> str:
    """Return what systemctl prints, or fail with its own reason."""
    program = shutil.which("systemctl")
    if program is None:
        fail("there is no systemctl: this host does not run systemd, unbind the plugin here")
    environment = dict(os.environ, LC_ALL="C", SYSTEMD_COLORS="0", SYSTEMD_PAGER="")
    try:
        done = subprocess.run(
            [program, "--no-pager", "--no-ask-password", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within(10.0) / 2,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        fail(f"systemctl {words[0]} gave no answer in {within(10.0) / 2:.0f} s")
    except OSError as error:
        fail(f"cannot run {program}: {error.strerror}")
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        fail(f"systemctl {words[0]}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")


def unit_name(text: str) -> str:
    """Return a unit's whole name; patterns are refused, as one may stand for many units."""
    if re.search(r"[*?\[\]\s/]", text) or text.startswith("-"):
        fail(f"{text!r} is no unit name: give each unit by its name, as sshd or backup.timer")
    return text if text.endswith(SUFFIXES) else text + ".service"


def failed_units() -> list[str]:
    """Return the names of all failed units."""
    listed = systemctl("list-units", "--state=failed", "--all", "--plain", "--no-legend", "--full")
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def states(units: list[str]) -> dict[str, dict[str, str]]:
    """Return the properties of each unit."""
    shown = systemctl("show", "--property=" + PROPERTIES, "--", *units).strip()
    blocks = [
        dict(line.partition("=")[::2] for line in block.splitlines())
        for block in re.split(r"\n\n+", shown)
    ]
    if len(blocks) != len(units):
        fail(f"systemctl show answered for {len(blocks)} of {len(units)} units")
    return {unit: blocks[index] for index, unit in enumerate(units)}


def rows_of(unit: str, state: dict[str, str]) -> list[dict[str, object]]:
    """Return the metrics of one unit."""
    rows = [
        row("systemd.unit.active", int(state.get("ActiveState") == "active"), unit=unit),
        row("systemd.unit.loaded", int(state.get("LoadState") == "loaded"), unit=unit),
    ]
    restarts = state.get("NRestarts", "")  # services only, since systemd 235
    if restarts.isdigit():
        rows.append(row("systemd.unit.restarts", int(restarts), unit=unit))
    return rows


def main() -> NoReturn:
    units = list(dict.fromkeys(unit_name(text) for text in arguments()))
    failed = failed_units()
    rows = [row("systemd.failed.count", len(failed))]
    rows += [row("systemd.unit.failed", 1, unit=unit) for unit in failed[:MOST_FAILED]]
    for unit, state in (states(units) if units else {}).items():
        rows += rows_of(unit, state)
    push(rows)


if __name__ == "__main__":
    run(main)
