"""Finding and ending every process of a wave's run.

Since ansible-core 2.19 each worker of ansible-playbook is a session of its own, so ending a process
group leaves workers that go on. What a run starts carries the run's mark in its environment, by
which it is found whatever became of its parents. Connections that ssh keeps open for a minute
(ControlPersist) are left alone: the next run, of any deployment, is faster by them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

VARIABLE = "PLUGFLEET_WAVE"
CANCEL, STOP, SURE = b"cancel", b"stop", b"sure"
"""Lines that a controller says to a run; the end of the pipe says that it is gone. `SURE` is followed by the
moment (`time.monotonic`) for which it was last proven that the controller counts as alive."""
LEFT = 75
"""Exit status of a run that leaves jobs of another machine to whoever comes next (sysexits.h, EX_TEMPFAIL)."""
_PROC = Path("/proc")
_STEP = 0.05  # seconds


def mark(wave_id: int, database: str) -> str:
    """What the processes of a wave are known by; waves of other databases have other marks."""
    return f"{wave_id}-{hashlib.sha256(database.encode()).hexdigest()[:12]}"


def marked(wanted: str, spare: Collection[int] = (), *, idle: bool = False) -> list[int]:
    """Pids of the living processes that carry a mark.

    Args:
        idle: also of ssh that only keeps a connection open.
    """
    entry = f"{VARIABLE}={wanted}".encode()
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) in spare:
            continue
        # A process that ends meanwhile, or is somebody else's.
        with contextlib.suppress(OSError):
            if _carries(folder, entry, _name(wanted), idle):
                found.append(int(folder.name))
    return found


def _carries(folder: Path, entry: bytes, name: bytes, idle: bool) -> bool:
    if (folder / "comm").read_bytes().strip() == name:
        return True
    if entry not in (folder / "environ").read_bytes().split(b"\0"):
        return False
    if idle:
        return True
    # ssh that holds a connection open for the next run does nothing by itself.
    words = (folder / "cmdline").read_bytes()
    return not (words.startswith(b"ssh: ") and b"[mux]" in words)


def carry(wanted: str) -> None:
    """Let this process, and all that it starts from now on, carry a mark."""
    os.environ[VARIABLE] = wanted
    # Its own environment is seen as it was when it began, before the wave was known.
    (_PROC / "self" / "comm").write_bytes(_name(wanted))


def _name(wanted: str) -> bytes:
    """A process's name with the mark, as far as the kernel keeps names (15 bytes)."""
    return f"pf{wanted}"[:15].encode()


def children(wanted: str) -> list[int]:
    """Pids of this process's own children that carry a mark."""
    # Not at the top: this file is sent to machines that do not have it (engines.remote).
    import psutil

    own = psutil.Process().children()
    return sorted({child.pid for child in own} & set(marked(wanted)))


def end_marked(
    wanted: str, *, patience: float, spare: Collection[int] = (), idle: bool = False
) -> None:
    """End what carries a mark: wait for it to end by itself, then kill it.

    Args:
        patience: seconds to wait.
        spare: pids that are left alone.
        idle: end connections that are kept open, too.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and marked(wanted, spare):
        time.sleep(_STEP)
    # A process may start another between being found and being killed.
    for _ in range(100):
        found = marked(wanted, spare, idle=idle)
        if not found:
            return
        kill(found)
        time.sleep(_STEP)


def end_playbook(playbook: int, wanted: str, *, patience: float) -> None:
    """End an ansible-playbook and all that it started, as measured with ansible-core 2.16 to 2.21.

    It passes SIGTERM on to its workers, from 2.19 on; before, and where it hangs, they are killed.

    Args:
        playbook: its pid.
        patience: seconds that it may take to end by itself.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(playbook, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and playbook in marked(wanted, {os.getpid()}):
        time.sleep(_STEP)
    end_marked(wanted, patience=0, spare={os.getpid()})


def kill(pids: Collection[int]) -> None:
    """SIGKILL processes, and the groups that they lead."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
