"""`--supervise`, `--restart`, `--stop`, `--status`: a parent that restarts the daemon, for hosts that have no
systemd.

It leaves the SSH session that starts it (a new session, two forks), and its pid file names the
process by start time and boot as well: the agent's control script was known to kill whoever had
got an old pid.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from executor.errors import ExecutorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executor.config import Config

_BACK_OFF_MOST = 60.0
_SOUND_AFTER = 60.0
_STOP_SECONDS = 10.0
# A daemon that fails right after it got its lock: its first bind, its first look at the plugins.
_UP_SECONDS = 0.3
_NOT_RUNNING = 3


def run(action: str, configuration: Config, command: list[str]) -> int:
    """Exit code as of the command line."""
    state = configuration["executor.state"]
    if action == "--status":
        return _status(state)
    if action == "--stop":
        print("stopped" if stop(state) else "was not running")
        return 0
    pid = supervisor_pid(state)
    if pid and action == "--supervise":
        print(f"already running (pid {pid})")
        return 0
    stop(state)  # also a daemon whose supervisor was killed: one of its own takes over
    log = os.path.join(configuration["plugin.logs"], "executor.log")
    try:
        os.makedirs(state, mode=0o750, exist_ok=True)
        os.makedirs(os.path.dirname(log), mode=0o750, exist_ok=True)
    except OSError as error:
        raise ExecutorError(f"{error.filename}: {error.strerror}") from None
    return _detach([*command, "--log", log], state, log)


def supervisor_pid(state: str) -> int:
    """The supervisor of this state folder, 0 if none lives."""
    try:
        with open(_pid_file(state), encoding="ascii") as stream:
            words = stream.read().split()
    except (OSError, ValueError):
        return 0
    if len(words) != 3 or not words[0].isdigit():
        return 0
    pid = int(words[0])
    started = _start_time(pid)
    return pid if started and words[1:] == [started, _boot_id()] else 0


def daemon_pid(state: str) -> int:
    """The daemon that holds the state folder's lock, 0 if none does."""
    try:
        fd = os.open(os.path.join(state, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return 0


def stop(state: str) -> bool:
    """End supervisor and daemon of this state folder; whether there was one."""
    found = False
    for find in (supervisor_pid, daemon_pid):
        pid = find(state)
        if not pid:
            continue
        found = True
        _kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while find(state) == pid and time.monotonic() < deadline:
            time.sleep(0.05)
        if find(state) == pid:
            _kill(pid, signal.SIGKILL)
    return found


def _status(state: str) -> int:
    supervisor, daemon = supervisor_pid(state), daemon_pid(state)
    if not daemon and not supervisor:
        print("not running")
        return _NOT_RUNNING
    print(f"running (pid {daemon or 'restarting'}, supervisor {supervisor or 'none'})")
    return 0


def _detach(command: list[str], state: str, log: str) -> int:
    """Fork twice, wait for word from the grandchild."""
    read, write = os.pipe()
    first = os.fork()
    if first:
        os.close(write)
        os.waitpid(first, 0)
        with os.fdopen(read, encoding="utf-8") as stream:
            said = stream.read().strip()
        if said.startswith("started"):
            print(said)
            return 0
        raise ExecutorError(f"did not stay up ({said or 'no word from it'}): see {log}")
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    # What Python itself says before the daemon's log is open must not be lost.
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), 2)
    os.closerange(3, write)
    os.closerange(write + 1, 64)
    try:
        _Supervisor(command, state, write).run()
    finally:
        os._exit(0)


class _Supervisor:
    """Keeps one daemon alive."""

    def __init__(self, command: list[str], state: str, report: int) -> None:
        self._command = command
        self._state = state
        self._report = report
        self._daemon = 0
        self._stopping = False

    def run(self) -> None:
        os.chdir("/")
        _write_pid_file(self._state)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hang_up)
        failures = 0
        while not self._stopping:
            began = time.monotonic()
            self._daemon = os.posix_spawn(self._command[0], self._command, os.environ)
            code = self._wait_first() if self._report >= 0 else self._wait()
            self._daemon = 0
            if code is None or self._stopping:
                break
            failures = 1 if time.monotonic() - began > _SOUND_AFTER else failures + 1
            self._sleep(min(_BACK_OFF_MOST, 0.5 * 2.0 ** min(failures, 10)))
        os.unlink(_pid_file(self._state))

    def _wait_first(self) -> int | None:
        """The first time, the command that started us waits: say "started" once it holds its lock.

        One that does not come up at all is not restarted for ever: its reason is on the log.
        """
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline and daemon_pid(self._state) != self._daemon:
            pid, status = os.waitpid(self._daemon, os.WNOHANG)
            if pid:
                self._say(f"exit code {os.WEXITSTATUS(status)}")
                return None
            time.sleep(0.02)
        settled = time.monotonic() + _UP_SECONDS
        while time.monotonic() < settled:
            pid, status = os.waitpid(self._daemon, os.WNOHANG)
            if pid:
                self._say(f"exit code {os.WEXITSTATUS(status)}")
                return None
            time.sleep(0.02)
        self._say(f"started (pid {self._daemon}, supervisor {os.getpid()})")
        return self._wait()

    def _say(self, text: str) -> None:
        os.write(self._report, text.encode("utf-8"))
        os.close(self._report)
        self._report = -1

    def _wait(self) -> int | None:
        """The daemon's exit code; None if it ended in peace."""
        while True:
            try:
                _pid, status = os.waitpid(self._daemon, 0)
            except ChildProcessError:
                return 1
            return None if status == 0 else 1

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(0.1)

    def _on_stop(self, _number: int, _frame: Any) -> None:
        self._stopping = True
        _kill(self._daemon, signal.SIGTERM)

    def _on_hang_up(self, _number: int, _frame: Any) -> None:
        _kill(self._daemon, signal.SIGHUP)


def _kill(pid: int, number: int) -> None:
    if pid > 0:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ExecutorError(
                f"pid {pid} belongs to another user: run this as that user"
            ) from None


def _pid_file(state: str) -> str:
    return os.path.join(state, "supervisor.pid")


def _write_pid_file(state: str) -> None:
    path = _pid_file(state)
    with open(path + ".tmp", "w", encoding="ascii") as stream:
        stream.write(f"{os.getpid()} {_start_time(os.getpid())} {_boot_id()}\n")
    os.replace(path + ".tmp", path)


def _start_time(pid: int) -> str:
    """Clock ticks between boot and the process' start, "" if there is none: with the boot, unique
    for ever.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


if sys.platform != "linux":
    raise ExecutorError("the executor runs on Linux")
