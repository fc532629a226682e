"""Processes by identity (pid and start time): a pid that was given away again is never touched."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """One process: its pid, and its start in clock ticks since boot (/proc/PID/stat, field 22)."""

    pid: int
    start: int


class Status(NamedTuple):
    """The fields of /proc/PID/stat that a fleet needs; `ticks` is its CPU and reaped children's."""

    process: Process
    parent: int
    state: str
    ticks: int


def status(pid: int) -> Status | None:
    """What the kernel says about `pid`; None when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name is in parentheses and may itself hold blanks and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(field) for field in fields[11:15])
    return Status(Process(pid, int(fields[19])), int(fields[1]), fields[0], ticks)


def identify(pid: int) -> Process | None:
    """The identity of the process that has `pid` now; None when there is none."""
    found = status(pid)
    return found.process if found else None


def alive(process: Process) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    found = status(process.pid)
    return found is not None and found.process == process and found.state not in "ZX"


def everyone() -> list[Status]:
    """All processes of this machine (of this pid namespace) as they are now."""
    pids = (int(entry) for entry in os.listdir(PROC) if entry.isdigit())
    return [found for found in map(status, pids) if found is not None]


def descendants(roots: Iterable[Process], known: Iterable[Status] | None = None) -> list[Process]:
    """`roots` that still live and every process below them, parents first."""
    table = {found.process.pid: found for found in (everyone() if known is None else known)}
    children: dict[int, list[int]] = {}
    for found in table.values():
        children.setdefault(found.parent, []).append(found.process.pid)
    queue = [root.pid for root in roots if root.pid in table and table[root.pid].process == root]
    result: list[Process] = []
    while queue:
        pid = queue.pop(0)
        result.append(table[pid].process)
        queue.extend(children.get(pid, []))
    return result


def marked(name: str, value: str) -> list[Process]:
    """The processes with `name=value` in their environment, and the sshd with `value` in its title.

    sshd overwrites its environment with its title, which shows its arguments. Only processes of
    one's own user can be read, and only those can carry the mark.
    """
    entry, word = f"{name}={value}".encode(), value.encode()
    result = []
    for found in everyone():
        folder = PROC / str(found.process.pid)
        try:
            title = (folder / "cmdline").read_bytes()
            carries = b"sshd" in title and word in title
            carries = carries or entry in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if carries and found.process.pid != os.getpid():
            result.append(found.process)
    return result


def send(process: Process, number: signal.Signals) -> bool:
    """Signals exactly this process; False when it is gone already. A pidfd closes the race."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if identify(process.pid) != process:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.01) -> bool:
    """Looks at `condition` until it holds; False when it does not within `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def kill_all(find: Callable[[], list[Process]], timeout: float = 10.0) -> list[Process]:
    """SIGKILLs what `find` returns until nothing of it lives; returns who would not die."""
    left: list[Process] = []

    def done() -> bool:
        left[:] = [process for process in find() if alive(process)]
        for process in left:
            send(process, signal.SIGKILL)
        return not left

    wait_until(done, timeout)
    return left
