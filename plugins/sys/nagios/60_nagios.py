#!/usr/bin/env python3
"""Run a Nagios check and send its status and performance data as metrics.

Arguments: the check's command line, a word each, or one argument that holds the whole line; %2C
stands for a comma. name=NAME in front is the metrics' tag instead of the check's file name. A
check without a path is looked for where Nagios checks are installed, then on PATH.
Rules: the Monitoring Plugins Development Guidelines (exit codes, performance data).
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import signal
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

UNKNOWN = 3
# Labels have an end and begin where a word begins, or rubbish would be searched for hours.
LABELLED = re.compile(r"(?<!\S)(?:'((?:[^']|''){1,200})'|([^\s='|]{1,200}))=(\S*)")
FOLDERS = (
    "/usr/lib/nagios/plugins",
    "/usr/lib64/nagios/plugins",
    "/usr/lib/monitoring-plugins",
    "/usr/local/lib/nagios/plugins",
    "/usr/local/nagios/libexec",
)
MOST_OUTPUT = 64 * 1024
MOST_VALUES = 200
# UOM: the unit that is sent, and what the value is divided by to get it.
UNITS = {
    "": ("", 1.0),
    "s": ("s", 1.0),
    "ms": ("s", 1e3),
    "us": ("s", 1e6),
    "ns": ("s", 1e9),
    "%": ("percent", 1.0),
    "b": ("bytes", 1.0),
    "kb": ("bytes", 1 / 1024),
    "mb": ("bytes", 1 / 1024**2),
    "gb": ("bytes", 1 / 1024**3),
    "tb": ("bytes", 1 / 1024**4),
    "kib": ("bytes", 1 / 1024),
    "mib": ("bytes", 1 / 1024**2),
    "gib": ("bytes", 1 / 1024**3),
    "tib": ("bytes", 1 / 1024**4),
}


def command_line(given: list[str]) -> tuple[str, list[str]]:
    """Return the tag's value and the words to execute."""
    name = ""
    if given[:1] and given[0].startswith("name="):
        name = given.pop(0)[len("name=") :].strip()
    if len(given) == 1:
        try:
            given = shlex.split(given[0])
        except ValueError as error:
            fail(f"cannot split the command line {given[0]!r}: {error}")
    words = [word.replace("%2C", ",") for word in given]
    if not words:
        fail("no check is given: bind it with one, as 60_nagios.py(check_load,-w,5%2C4%2C3)")
    if "/" in words[0]:
        program = words[0] if os.access(words[0], os.X_OK) else None
    else:
        program = shutil.which(words[0], path=os.pathsep.join(FOLDERS)) or shutil.which(words[0])
    if program is None or os.path.isdir(program):
        fail(f"there is no check {words[0]!r} that may be executed here: is its package installed?")
    return name or os.path.basename(words[0]), [program, *words[1:]]


def execute(words: list[str], limit: float) -> tuple[int | None, bytes]:
    """Return the check's exit code (None: it had to be killed) and the start of its output."""
    stopped: list[int] = []
    # Set before the check is there, and only noted: a check that was just forked is not lost.
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    try:
        # A session of its own, so that a check that hangs is killed with all that it started.
        check = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(os.environ, LC_ALL="C"),
        )
    except OSError as error:
        fail(f"cannot execute {words[0]!r}: {error.strerror} (is its first line right?)")
    assert check.stdout is not None
    deadline = time.monotonic() + limit
    output, pipe, ended = b"", check.stdout.fileno(), False
    while time.monotonic() < deadline and not stopped:
        # Looked at before reading, so that nothing written before the end is missed; and not
        # reaped yet, so that its number is still that of its group.
        ended = os.waitid(os.P_PID, check.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        if select.select([pipe], [], [], 0.0 if ended else 0.05)[0]:
            data = os.read(pipe, 65536)
            output += data[: MOST_OUTPUT - len(output)]
            if not data and not ended:
                time.sleep(0.01)  # it has closed its output and goes on
        if ended:
            break  # one read takes all that a pipe holds; who writes now is not the check
    os.killpg(check.pid, signal.SIGKILL)  # also what it left behind, which may hold the pipe
    if stopped:
        fail("stopped by the agent")
    return (check.wait() if ended else None), output


def performance_data(output: str) -> str:
    """Return what stands after the bars: of the first line, and of all from a later bar on."""
    first, _, rest = output.partition("\n")
    return first.partition("|")[2] + " " + rest.partition("|")[2].replace("\n", " ")


def values(text: str) -> dict[str, tuple[float, str, bool]]:
    """Return value, unit and whether it is a counter, by label."""
    found: dict[str, tuple[float, str, bool]] = {}
    for quoted, plain, item in LABELLED.findall(text):
        number = re.match(r"([-+]?[0-9]*[.,]?[0-9]+(?:[eE][-+]?[0-9]+)?)([^0-9;]*)(?:;|\Z)", item)
        if number is None:
            continue  # U: the check could not tell
        value, uom = float(number.group(1).replace(",", ".")), number.group(2)
        unit, divisor = UNITS.get(uom.replace("\u00b5", "u").lower(), (uom, 1.0))
        if abs(value) < 1e300 and len(found) < MOST_VALUES:
            entry = (value, "", True) if uom == "c" else (value / divisor, unit, False)
            found.setdefault(quoted.replace("''", "'") or plain, entry)
    return found


def main() -> NoReturn:
    name, words = command_line(arguments())
    started = time.monotonic()
    code, output = execute(words, within(30.0))
    seconds = round(time.monotonic() - started, 3)
    status = code if code in (0, 1, 2) else UNKNOWN
    rows = [
        row("nagios.status", status or 0, check=name),
        row("nagios.timeout", int(code is None), check=name),
        row("nagios.seconds", seconds, check=name),
    ]
    data = values(performance_data(output.decode("utf-8", "replace")))
    for label, (value, unit, counts) in data.items():
        tags = {"check": name, "label": label}
        if unit:
            tags["unit"] = unit
        number = int(value) if value.is_integer() else value
        rows.append(row("nagios.value", number, "COUNTER" if counts else "GAUGE", **tags))
    push(rows)


if __name__ == "__main__":
    run(main)
