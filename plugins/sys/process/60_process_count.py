#!/usr/bin/env python3
"""Number, memory and age of the processes with a given name; without a name, totals of the host.

Arguments: names. A name is that of the program (nginx), of the script that an interpreter runs
(backup.py), or ~ and a regular expression that is searched in the whole command line
(~java.*kafka). Source: /proc (HOST_PROC moves it).
"""

from __future__ import annotations

import json
import os
import re
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

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
COMM_LENGTH = 15  # the kernel cuts a process's own name here


class Process:
    """What /proc tells of one process; `started` in seconds since boot, `rss` in bytes."""

    __slots__ = ("comm", "command", "pid", "rss", "started", "state", "threads")

    def __init__(self, pid: int, stat: str, command: list[str]) -> None:
        # The name stands in parentheses and may itself hold spaces and parentheses.
        self.pid = pid
        self.comm = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        self.state = fields[0]
        self.threads = int(fields[17])
        self.started = int(fields[19]) / TICKS
        self.rss = int(fields[21]) * PAGE
        self.command = command


def read(path: str) -> str:
    """Return a file of /proc as text; bytes that are no UTF-8 survive a comparison."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def processes(proc: str) -> list[Process]:
    """Return all processes but this plugin's own runs."""
    try:
        pids = [int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit()]
    except OSError as error:
        fail(f"cannot read {proc}: {error.strerror}")
    if 1 not in pids:
        fail(
            f"{proc} shows no process 1: it is not mounted, or hides others' processes (hidepid); "
            "a count would be wrong"
        )
    script = os.path.basename(sys.argv[0])
    found = []
    for pid in pids:
        try:
            stat = read(os.path.join(proc, str(pid), "stat"))
            command = read(os.path.join(proc, str(pid), "cmdline")).rstrip("\0").split("\0")
            process = Process(pid, stat, command)
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        # Our own arguments hold every name that is looked for; so do those of a parallel run.
        if pid != os.getpid() and script not in map(os.path.basename, command):
            found.append(process)
    return found


def is_named(process: Process, name: str) -> bool:
    """Tell whether a process goes by this name."""
    if name.startswith("~"):
        return re.search(name[1:], " ".join(process.command)) is not None
    if process.comm == name[:COMM_LENGTH] and len(name) <= COMM_LENGTH:
        return True
    # A daemon may write a title ("nginx: master process") where its arguments were.
    first = process.command[0].split(": ", 1)[0]
    if os.path.basename(first) == name:
        return True
    interpreted = re.match(r"(python|perl|ruby|node|php|bash|dash|sh)[0-9.]*\Z", process.comm)
    # env(1), -u and the like come before the script; the first plain word is it.
    words = [word for word in process.command[1:] if not word.startswith("-")]
    return bool(interpreted and words) and os.path.basename(words[0]) == name


def rows_of(name: str, matching: list[Process], uptime: float) -> list[dict[str, object]]:
    """Return the metrics of the processes with one name."""
    label = name[1:] if name.startswith("~") else name
    rows = [
        row("process.count", len(matching), name=label),
        row("process.rss.bytes", sum(process.rss for process in matching), name=label),
        row("process.threads", sum(process.threads for process in matching), name=label),
    ]
    if matching:
        ages = [max(0.0, round(uptime - process.started, 2)) for process in matching]
        rows.append(row("process.oldest.seconds", max(ages), name=label))
        rows.append(row("process.youngest.seconds", min(ages), name=label))
    return rows


def main() -> NoReturn:
    names = list(dict.fromkeys(arguments()))
    for name in names:
        try:
            re.compile(name[1:] if name.startswith("~") else "")
        except re.error as error:
            fail(f"{name!r} is no regular expression: {error}")
    proc = os.environ.get("HOST_PROC", "/proc")
    everyone = processes(proc)
    try:
        uptime = float(read(os.path.join(proc, "uptime")).split()[0])
    except (OSError, ValueError, IndexError):
        fail(f"cannot read {proc}/uptime: is /proc mounted here?")
    if not names:
        push(
            [
                row("process.total", len(everyone)),
                row("process.total.threads", sum(process.threads for process in everyone)),
                row("process.zombies", sum(process.state == "Z" for process in everyone)),
                row("process.blocked", sum(process.state == "D" for process in everyone)),
            ]
        )
    rows = []
    for name in names:
        # A zombie does no work any more: a dead daemon must not count as one that runs.
        matching = [one for one in everyone if one.state != "Z" and is_named(one, name)]
        rows += rows_of(name, matching, uptime)
    push(rows)


if __name__ == "__main__":
    run(main)
