"""Starting the runs of waves as copies of one process that has imported what they need.

To import it takes a second of processor time (SQLAlchemy above all), a copy takes milliseconds. Each
run is a process of its own all the same, in a session of its own. The process that is copied does
nothing else and has no threads, so that nothing is held while it is copied; it ends with the
controller, and the copies do not (see `controller.deployments.run`).

`python -m controller.deployments.spawner` is that process. Its standard input is a socket: each
message brings two pipes, one for the run's standard input, and one by which its pid is told at once,
and its exit status when it has ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

UNSEEN = 255
"""Exit status of a run that nobody saw end, as the process that it was copied from was gone."""

_PACKAGES = Path(__file__).resolve().parents[2]
_PATIENCE = 30.0  # seconds that a copy may take; the first one waits until all is imported
_TOLD = struct.Struct("cq")  # what kind of number, and the number
_PID, _STATUS = b"p", b"s"


class Copy:
    """A run's process.

    Attributes:
        pid: of the process.
        orders: the end to write to of the pipe that is its standard input.
    """

    def __init__(self, pid: int, orders: int, told: int) -> None:
        self.pid = pid
        self.orders = open(orders, "wb", buffering=0)  # noqa: SIM115  (the owner closes it)
        self._told = told
        self._process = -1
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its status is told
            self._process = os.pidfd_open(pid)
        self._status: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None if it does not end in this time."""
        if self._status is None and _readable(self._told, seconds):
            if said := os.read(self._told, _TOLD.size):
                _, self._status = _TOLD.unpack(said)
            elif self._process < 0 or _readable(self._process, seconds):
                self._status = UNSEEN
        return self._status

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            if self._process >= 0:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Let it go: nothing more is told to it or asked of it."""
        with contextlib.suppress(BrokenPipeError):
            self.orders.close()
        for descriptor in (self._told, self._process):
            if descriptor >= 0:
                os.close(descriptor)
        self._told = self._process = -1


class Spawner:
    """The controller's end; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def prepare(self) -> None:
        """Have the process ready that runs are copied from; does not wait for it."""
        with self._lock:
            self._prepare()

    def start(self) -> Copy:
        """Start the process of a run.

        Raises:
            OSError: the machine has no room for it.
        """
        with self._lock:
            with contextlib.suppress(_Gone):
                return self._copy()
            # Somebody has killed it, or it hangs.
            self._end()
            try:
                return self._copy()
            except _Gone as error:
                raise OSError("the process that runs are copied from does not start") from error

    def close(self) -> None:
        """End the process that runs are copied from; runs go on."""
        with self._lock:
            self._end()

    def _prepare(self) -> socket.socket:
        if self._process is None or self._link is None or self._process.poll() is not None:
            self._end()
            self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "controller.deployments.spawner"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd=_PACKAGES,
                    env=environment(),
                    start_new_session=True,  # a terminal's Ctrl-C is for the controller
                )
        return self._link

    def _copy(self) -> Copy:
        link = self._prepare()
        theirs, orders = os.pipe()
        told, tells = os.pipe()
        try:
            socket.send_fds(link, [b"copy"], [theirs, tells])
        except OSError as error:
            os.close(orders)
            os.close(told)
            raise _Gone from error
        finally:
            os.close(theirs)
            os.close(tells)
        # A process that is stopped, or whose disk hangs, must not keep all others waiting.
        in_time = _readable(told, _PATIENCE)
        said = os.read(told, _TOLD.size) if in_time else b""
        if said[:1] == _PID:
            return Copy(_TOLD.unpack(said)[1], orders, told)
        os.close(orders)
        os.close(told)
        if not in_time or self._has_ended():
            raise _Gone
        raise OSError("the machine has no room for the process of a run")

    def _has_ended(self) -> bool:
        assert self._process is not None
        try:
            # Its pipes are closed a moment before its end is seen.
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.kill()  # it would end by itself, once all is imported
            self._process.wait()
        self._link = self._process = None


class _Gone(Exception):
    """The process that runs are copied from has ended, or does not answer."""


def environment() -> dict[str, str]:
    """This process's environment without what is the controller's own, which may be secret."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PLUGFLEET_")}


def _readable(descriptor: int, seconds: float) -> bool:
    # Not select(), which knows no descriptor above 1023.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def serve(link: socket.socket, work: Callable[[], int]) -> None:
    """Copy this process for each message, until the controller is gone; a copy does `work`, and ends with
    the status that it returns.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                if key.fileobj is not link:
                    _reap(selector, key)
                    continue
                said, descriptors, *_ = socket.recv_fds(link, 16, 2)
                if not said:
                    return
                if len(descriptors) == 2:
                    _copy(selector, work, *descriptors)


def _copy(
    selector: selectors.BaseSelector, work: Callable[[], int], orders: int, tells: int
) -> None:
    """Make one copy; where the machine has no room for it, whoever asked is told by the pipe's end."""
    try:
        pid = _fork(work, orders, tells)
        try:
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, tells))
        except OSError:
            # Nobody would see how it ends.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    except OSError as error:
        print(f"no process for a run: {error.strerror}", file=sys.stderr)
        os.close(tells)
    finally:
        os.close(orders)


def _reap(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, tells = key.data
    _, status = os.waitpid(pid, 0)
    selector.unregister(key.fileobj)
    os.close(key.fd)
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(tells, _TOLD.pack(_STATUS, os.waitstatus_to_exitcode(status)))
    os.close(tells)


def _fork(work: Callable[[], int], orders: int, tells: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(orders, 0)
        os.write(tells, _TOLD.pack(_PID, os.getpid()))
        # The pipes of others among them, whose end tells that the process that is copied is gone.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        # Every thread that writes is through; to take the interpreter down would cost a tenth of a second.
        os._exit(status)


def main() -> None:
    """Be the process that runs are copied from."""
    from controller.deployments import run  # not in the controller, which has no use for it

    # Copies share what is never written to.
    gc.collect()
    gc.freeze()
    # A service manager sends it to all processes of a service; this one is needed to the last.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Ignored, as whoever started the controller may have it, it would hide how copies end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=0) as link:
        serve(link, run.main)


if __name__ == "__main__":
    main()
