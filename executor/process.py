"""Child processes: spawned with posix_spawn into a group of their own, read without blocking,
reaped on SIGCHLD.

posix_spawn costs a third of a fork of this process, and needs no `subprocess` (1.1 MB resident;
both measured). It cannot change directory, so the executor itself lives where the plugins run, and
steps aside for the few others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from executor.pipes import Pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.loop import Loop

READ_BYTES = 65536
# Lines of more than a page do not fill a pipe's pages: what reads half of one may find it full again at once.
_MUCH = READ_BYTES // 4
_DRAIN_BYTES = 2 << 20
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
_HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, *_RESET_SIGNALS)


class Child:
    """One running child and what to do with its output.

    on_stdout(bytes), on_stderr(bytes): each piece as it comes; the child may be killed from there.
    on_exit(child): once, after the last piece. Then `code` (exit code, or minus the signal's
    number) and `left_behind` (names of processes of its group that outlived it, and were killed)
    are set.
    """

    __slots__ = ("_pause", "_streams", "code", "left_behind", "on_exit", "pid")

    def __init__(
        self,
        pid: int,
        on_exit: Callable[[Child], None],
        pause: Callable[[Child, bool], None],
    ) -> None:
        self.pid = pid
        self.on_exit = on_exit
        self.code: int | None = None
        self.left_behind: list[str] = []
        self._streams: dict[int, Callable[[bytes], None]] = {}
        self._pause = pause

    def pause(self, paused: bool) -> None:
        """Stop reading its output, so that it has to wait once the pipes are full, or go on."""
        self._pause(self, paused)

    def signal_group(self, number: int) -> None:
        """Send a signal to the whole group; safe at any time, as an unreaped leader keeps the
        group's number.
        """
        if self.code is None:
            # Gone already, or it became another user: then SIGKILL of the rest is not ours to do.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Children:
    """Spawns, reads and reaps; one for the whole daemon."""

    __slots__ = ("_by_pid", "_loop", "_pipes")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pipes = Pipes(loop)
        self._by_pid: dict[int, Child] = {}
        loop.on_signal(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        argv: list[str],
        env: dict[str, str],
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_exit: Callable[[Child], None],
        cwd: str = "",
        stdin: int = 0,
    ) -> Child:
        """Start `argv[0]`; OSError when it cannot be executed, with nothing left open."""
        return self._start(
            lambda out, err: _posix_spawn(argv, env, (stdin, out, err), cwd),
            on_stdout,
            on_stderr,
            on_exit,
        )

    def fork(
        self,
        work: Callable[[], int],
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_exit: Callable[[Child], None],
    ) -> Child:
        """Run `work` in a copy of this process, which ends with the exit code it returns.

        A copy has the modules loaded: a new interpreter would compile them first (65 ms, measured).
        """
        return self._start(lambda out, err: _fork(work, out, err), on_stdout, on_stderr, on_exit)

    def _start(
        self,
        launch: Callable[[int, int], int],
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_exit: Callable[[Child], None],
    ) -> Child:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        try:
            err_read, err_write = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(out_read)
            os.close(out_write)
            raise
        try:
            pid = launch(out_write, err_write)
        except BaseException:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        child = Child(pid, on_exit, self._pause)
        self._by_pid[pid] = child
        for fd, sink in ((out_read, on_stdout), (err_read, on_stderr)):
            os.set_blocking(fd, False)
            child._streams[fd] = sink
            self._pipes.watch(fd, _Reader(self, child, fd))
        return child

    def _pause(self, child: Child, paused: bool) -> None:
        for fd in child._streams:
            if paused:
                self._pipes.unwatch(fd)
            else:
                self._pipes.watch(fd, _Reader(self, child, fd))

    def running(self) -> list[Child]:
        return list(self._by_pid.values())

    def _read(self, child: Child, fd: int) -> int:
        """Hand one piece on, of so many bytes; 0 when there is no more for now."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if data:
            child._streams[fd](data)
        else:
            self._close(child, fd)
        return len(data)

    def _close(self, child: Child, fd: int) -> None:
        if child._streams.pop(fd, None) is not None:
            self._pipes.unwatch(fd)
            os.close(fd)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = self._by_pid.pop(found.si_pid, None)
            if child is not None:
                self._loop.guarded(self._drain, child)
            status = os.waitpid(found.si_pid, 0)[1]
            if child is not None:
                self._loop.guarded(self._finish, child, status)

    def _drain(self, child: Child) -> None:
        # What the child itself printed is in the pipes by now; a process that it left behind may
        # hold them open for ever, so nothing waits for end-of-file.
        for fd in list(child._streams):
            left = _DRAIN_BYTES
            while left > 0 and (size := self._read(child, fd)):
                left -= size
            self._close(child, fd)

    @staticmethod
    def _finish(child: Child, status: int) -> None:
        child.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        child.left_behind = _kill_rest(child.pid)
        child.on_exit(child)


class _Reader:
    """What reads one pipe; a class because it is lighter than a closure per run."""

    __slots__ = ("_child", "_children", "_fd")

    def __init__(self, children: Children, child: Child, fd: int) -> None:
        self._children = children
        self._child = child
        self._fd = fd

    def __call__(self) -> bool:
        return self._children._read(self._child, self._fd) >= _MUCH


def _posix_spawn(
    argv: list[str], env: dict[str, str], files: tuple[int, int, int], cwd: str
) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files) if fd]
    if not cwd:
        return os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=actions,
            setpgroup=0,
            setsigdef=_RESET_SIGNALS,
            setsigmask=(),
        )
    home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(cwd)
        return os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=actions,
            setpgroup=0,
            setsigdef=_RESET_SIGNALS,
            setsigmask=(),
        )
    finally:
        os.fchdir(home)
        os.close(home)


def _fork(work: Callable[[], int], out: int, err: int) -> int:
    """The pid of a copy of this process that runs `work` with nothing open but its output."""
    pid = os.fork()
    if pid:
        # By whichever of the two comes first: a signal to the group must never miss.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in _HANDLED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        with open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
            code = work()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(code)


def _kill_rest(pgid: int) -> list[str]:
    """Kill what is left of a group whose leader is reaped; the names of what was alive."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return []
    except PermissionError:
        pass
    names = [name for _pid, name, group, _session in processes() if group == pgid]
    if names:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pgid, signal.SIGKILL)
    return names


def processes() -> list[tuple[int, str, int, int]]:
    """(pid, name, process group, session) of every process that is not a zombie."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
        # The name may hold anything, parentheses too: the fields begin after the last one.
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        if fields[0] not in ("Z", "X"):
            found.append((int(entry), head.partition("(")[2], int(fields[2]), int(fields[3])))
    return found
