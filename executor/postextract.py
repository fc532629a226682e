"""Runs one postExtract and lets nothing of it escape: a time limit, a bound for what it writes, no
file outside its copy (where the kernel has Landlock), and no process that outlives it, whatever it
forks. Runs in a process of its own, a copy of the daemon, as the update does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sys
import time

from executor.landlock import restrict_writes
from executor.manifest_interpreters import by_shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LIMIT_CODE = 124
"""Exit code when a limit ended it, as timeout(1) has it; the last line of stderr says which."""

MAX_PROCESSES = 256
LEAST_FREE = 256 << 20
"""Bytes that it must leave free on the disk, whoever fills it."""

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
    disk = _Disk(folder, home, limits.max_bytes)
    pid = os.fork()
    if pid == 0:
        _become(argv, folder, home, env, limits)
    try:
        code, reason = _watch(pid, disk, limits)
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
        restrict_writes([folder, home], devices)
        try:
            os.execve(argv[0], argv, env)
        except OSError as error:
            shell = by_shell(argv) if error.errno == errno.ENOEXEC else []
            if not shell:
                raise
            os.execve(shell[0], shell, env)
    except OSError as error:
        os.write(2, f"postExtract cannot be started: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _watch(pid: int, disk: _Disk, limits: Limits) -> tuple[int, str]:
    """(exit code, "") or (LIMIT_CODE, which limit)."""
    deadline = time.monotonic() + limits.seconds
    look_at_disk = time.monotonic() + _LOOK_SECONDS
    pause = 0.005
    while True:
        status = _reap(pid)
        if status is not None:
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            if code == -signal.SIGXFSZ:
                return LIMIT_CODE, f"wrote a file of more than {limits.max_bytes} bytes"
            return (128 - code if code < 0 else code), ""
        now = time.monotonic()
        if now > deadline:
            return LIMIT_CODE, f"did not end within {limits.seconds:g} s and was killed"
        alive, ended = _descendants()
        if len(alive) + len(ended) > MAX_PROCESSES:
            return LIMIT_CODE, f"started more than {MAX_PROCESSES} processes and was killed"
        if now > look_at_disk:
            look_at_disk = now + _DISK_LOOK_SECONDS
            reason = disk.exceeded(alive)
            if reason:
                return LIMIT_CODE, f"{reason} and was killed"
        time.sleep(pause)
        pause = min(_LOOK_SECONDS, pause * 2)


def _reap(wanted: int = 0) -> int | None:
    """Collect children that have ended: orphans of the postExtract are ours. The status of the
    `wanted` one, once it is among them. ChildProcessError when none is left at all.
    """
    while True:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found == wanted and wanted:
            return status
        if not found:
            return None


def _descendants() -> tuple[list[int], list[int]]:
    """Everything that has us above it: what lives, and what has ended and is not collected."""
    parents: dict[int, list[int]] = {}
    ended = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                state, parent = stream.read().rpartition(b")")[2].split(None, 2)[:2]
        except OSError:
            continue
        parents.setdefault(int(parent), []).append(int(entry))
        if state in (b"Z", b"X"):
            ended.add(int(entry))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found.extend(children)
        waiting.extend(children)
    return [pid for pid in found if pid not in ended], [pid for pid in found if pid in ended]


def _end_descendants() -> None:
    """Kill until none is left. The kernel may hold one for longer than we wait."""
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            alive, _ended = _descendants()
            # All are stopped before the first is killed, or they would fork meanwhile.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in alive:
                    with contextlib.suppress(OSError):
                        os.kill(pid, number)
            _reap()
            time.sleep(0.005)


def _stopped(_number: int, _frame: object) -> None:
    _end_descendants()
    os._exit(LIMIT_CODE)


class _Disk:
    """What a postExtract takes of the disk: in its folders, in files that it holds open and has
    removed, and of what is free at all.
    """

    __slots__ = ("_before", "_folder", "_home", "_least_free", "_most")

    def __init__(self, folder: str, home: str, most: int) -> None:
        self._folder = folder
        self._home = home
        self._most = most
        self._before = _used(folder)
        # On a disk that is almost full already, half of the rest.
        self._least_free = min(LEAST_FREE, _free(folder) // 2)

    def exceeded(self, pids: list[int]) -> str:
        """What is too much, or ""."""
        grown = _used(self._folder) + _used(self._home) - self._before
        if grown + _held(pids, os.stat(self._folder).st_dev) > self._most:
            return f"wrote more than {self._most} bytes"
        if _free(self._folder) < self._least_free:
            return f"ran while the disk had less than {self._least_free} bytes left"
        return ""


def _free(folder: str) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


def _held(pids: list[int], device: int) -> int:
    """Bytes of files on a device that these processes have open and that have no name any more."""
    found: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{fd}")
                    if about.st_dev == device and not about.st_nlink:
                        found[about.st_ino] = about.st_blocks * 512
    return sum(found.values())


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
