"""Runs one postExtract and lets nothing of it escape: a time limit, a bound for what it writes, no
file outside its copy (where the kernel has Landlock), and no process that outlives it, whatever it
forks. Runs in a process of its own, a copy of the daemon, as the update does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time

from executor.landlock import restrict_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LIMIT_CODE = 124
"""Exit code when a limit ended it, as timeout(1) has it; the last line of stderr says which."""

MAX_PROCESSES = 256

_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0
_DISK_LOOK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")


class Limits:
    """`seconds` it may take; `max_bytes` that its folders may grow by."""

    __slots__ = ("max_bytes", "seconds")

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes


def run(argv: list[str], folder: str, home: str, env: dict[str, str], limits: Limits) -> int:
    """The exit code of `argv`, run in `folder` with `home` as its home and scratch folder."""
    libc = ctypes.CDLL(None)
    # Every descendant becomes our child when its parent ends, so that we can find and end it.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stopped)
    # kill -9 of the daemon: then nothing of this goes on either.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _empty(home)
    env = dict(env, HOME=home, TMPDIR=home)
    before = _used(folder)
    pid = os.fork()
    if pid == 0:
        _become(argv, folder, home, env, limits)
    try:
        code, reason = _watch(pid, folder, home, before, limits)
    finally:
        _end_descendants()
        _empty(home)
        with contextlib.suppress(OSError):
            os.rmdir(home)
    if reason:
        sys.stderr.write(f"postExtract {reason}\n")
    return code


def _become(
    argv: list[str], folder: str, home: str, env: dict[str, str], limits: Limits
) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.max_bytes, limits.max_bytes))
        devices = [path for path in _DEVICES if os.path.exists(path)]
        if not restrict_writes([folder, home], devices):
            os.write(2, b"this kernel has no Landlock: only the unit's sandbox holds it\n")
        os.execve(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"postExtract cannot be started: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _watch(pid: int, folder: str, home: str, before: int, limits: Limits) -> tuple[int, str]:
    """(exit code, "") or (LIMIT_CODE, which limit)."""
    deadline = time.monotonic() + limits.seconds
    look_at_disk = time.monotonic() + _LOOK_SECONDS
    pause = 0.005
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            if code == -signal.SIGXFSZ:
                return LIMIT_CODE, f"wrote a file of more than {limits.max_bytes} bytes"
            return (128 - code if code < 0 else code), ""
        now = time.monotonic()
        if now > deadline:
            return LIMIT_CODE, f"did not end within {limits.seconds:g} s and was killed"
        if now > look_at_disk:
            look_at_disk = now + _DISK_LOOK_SECONDS
            if _used(folder) + _used(home) - before > limits.max_bytes:
                return LIMIT_CODE, f"wrote more than {limits.max_bytes} bytes and was killed"
        if len(_descendants()) > MAX_PROCESSES:
            return LIMIT_CODE, f"started more than {MAX_PROCESSES} processes and was killed"
        time.sleep(pause)
        pause = min(_LOOK_SECONDS, pause * 2)


def _descendants() -> list[int]:
    """Everything that has us above it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                state, parent = stream.read().rpartition(b")")[2].split(None, 2)[:2]
        except OSError:
            continue
        if state not in (b"Z", b"X"):
            parents.setdefault(int(parent), []).append(int(entry))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found.extend(children)
        waiting.extend(children)
    return found


def _end_descendants() -> None:
    """Kill until none is left: what forks meanwhile is stopped first. The kernel may hold one for
    longer than we wait.
    """
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        alive = _descendants()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in alive:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.005)
            continue
        return


def _stopped(_number: int, _frame: object) -> None:
    _end_descendants()
    os._exit(LIMIT_CODE)


def _used(folder: str) -> int:
    """Bytes that a folder takes on disk."""
    total = 0
    for top, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(top, name)).st_blocks * 512
    return total


def _empty(home: str) -> None:
    import shutil

    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home, mode=0o700, exist_ok=True)
