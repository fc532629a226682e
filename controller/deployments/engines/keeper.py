"""The keeper of a run on another machine: starts ansible-runner there, and leaves nothing behind.

It is sent there (see `controller.deployments.engines.remote`), so it needs the standard library and
`controller.deployments.processes` alone. It reads from its standard input what to do, the releases, the stream
for `ansible-runner worker`, and then until when it may go on; the end of that, a broken connection, or silence
ends the run. Standard output is the worker's; standard error carries lines of JSON: `ready`, as soon as the
stream can be taken, `journal` and `said`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from controller.deployments.processes import VARIABLE, carry, end_marked, end_playbook, marked

_MEMORY = Path("/dev/shm")
_LOOK = 0.1  # seconds
_CHUNK = 1 << 16
_START = "plugfleet-remote-"
_ROOM = 6  # times the stream's bytes: as it comes, and unpacked


class Keeper:
    """Keeps one run.

    Args:
        given: `mark`, `runner`, bytes of `releases` (a tar archive, or nothing) and of the `stream`, `now` and
            `until` by the sender's clock, and `patience` that the playbook may take to end.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._mark = str(given["mark"])
        self._ahead = time.monotonic() - float(given["now"])
        self._until = float(given["until"]) + self._ahead
        self._allowed = float(given["until"]) - float(given["now"])
        self._alone = threading.Event()
        self._telling = threading.Lock()
        for base in _bases():
            _sweep(base)
        name = f"{_START}{os.getpid()}-{_birth(os.getpid())}-{self._mark}"
        self._folder = _bases()[0] / name
        self._journal = self._folder / "journal"
        self._needed = int(given["releases"]) + _ROOM * int(given["stream"])
        self._told = 0

    def keep(self) -> int:
        """Run it to its end; returns the worker's exit status, or 1 where it was ended."""
        os.umask(0o077)
        carry(self._mark)
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(sign, lambda *_: self._alone.set())
        try:
            self._make()
            return self._run()
        except OSError as error:
            self._say(said=self._sentence(error))
            return 1
        finally:
            end_marked(self._mark, patience=0, spare={os.getpid()}, idle=True)
            self._tell_journal()
            shutil.rmtree(str(self._folder), ignore_errors=True)

    def _make(self) -> None:
        """Make the folder of the run: in memory where there is room, as what is sent holds secrets."""
        trouble = None
        for base in _bases():
            self._folder = base / self._folder.name
            self._journal = self._folder / "journal"
            try:
                if shutil.disk_usage(str(base)).free < self._needed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(base))
                for name in ("", "tmp", "data", "releases"):
                    (self._folder / name).mkdir(0o700)
            except OSError as error:
                shutil.rmtree(str(self._folder), ignore_errors=True)
                trouble = error
            else:
                return
        assert trouble is not None
        raise trouble

    def _sentence(self, error: OSError) -> str:
        if error.errno != errno.ENOSPC:
            return "{}: {}".format(error.filename or self._given["runner"], error.strerror or error)
        base = self._folder.parent
        free = shutil.disk_usage(str(base)).free
        return f"there is no room for a run in {base}: {free} bytes are free, {self._needed} may be needed"

    def _run(self) -> int:
        worker = subprocess.Popen(
            [self._given["runner"], "worker", "--private-data-dir", str(self._folder / "data")],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )
        assert worker.stdin is not None and worker.stderr is not None
        self._say(ready=self._mark)
        threading.Thread(target=self._obey, args=(worker.stdin,), daemon=True).start()
        threading.Thread(target=self._repeat, args=(worker.stderr,), daemon=True).start()
        while worker.poll() is None:
            self._tell_journal()
            if self._alone.wait(_LOOK) or time.monotonic() > self._until:
                for pid in self._playbooks():
                    end_playbook(pid, self._mark, patience=float(self._given["patience"]))
                return 1
        return worker.returncode

    def _environment(self) -> dict[str, str]:
        runner = self._given["runner"]
        path = os.environ.get("PATH", os.defpath)
        return {
            **os.environ,
            VARIABLE: self._mark,
            "PATH": f"{os.path.dirname(runner)}:{path}" if "/" in runner else path,
            "TMPDIR": str(self._folder / "tmp"),
            "ANSIBLE_CONFIG": str(self._folder / "data/project/ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self._folder / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._folder / "tmp"),
            "PLUGFLEET_DATA_DIR": str(self._folder / "releases"),
            "PLUGFLEET_JOURNAL": str(self._journal),
        }

    def _obey(self, worker: IO[bytes]) -> None:
        """Unpack the releases, hand the stream to the worker, then hear until when to go on."""
        given = sys.stdin.buffer
        try:
            if size := int(self._given["releases"]):
                self._unpack(_Part(given, size, self._hear))
            stream = _Part(given, int(self._given["stream"]), self._hear)
            while some := stream.read(_CHUNK):
                worker.write(some)
            worker.flush()
            while line := given.readline():
                self._until = float(line) + self._ahead
        except (OSError, ValueError, tarfile.TarError):
            pass
        self._alone.set()

    def _hear(self) -> None:
        # A long stream is no silence; the worker begins nothing before its end.
        self._until = max(self._until, time.monotonic() + self._allowed)

    def _unpack(self, part: _Part) -> None:
        with tarfile.open(fileobj=part, mode="r|") as archive:  # type: ignore[call-overload]  # it needs read() alone
            # The filter came with Python 3.11.4, and is the default from 3.14 on.
            told = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(str(self._folder / "releases"), **told)
        while part.read(_CHUNK):
            """What fills the archive's last block."""

    def _repeat(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._say(said=line.decode("utf-8", "replace").rstrip())

    def _tell_journal(self) -> None:
        try:
            with self._journal.open("rb") as file:
                file.seek(self._told)
                whole, _, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        if whole:
            self._told += len(whole) + 1
            for line in whole.split(b"\n"):
                self._say(journal=line.decode("utf-8", "replace"))

    def _say(self, **told: str) -> None:
        with self._telling:
            try:
                sys.stderr.write(json.dumps(told) + "\n")
                sys.stderr.flush()
            except OSError:
                self._alone.set()

    def _playbooks(self) -> list[int]:
        """Pids of the ansible-playbook that the worker has started, which ends its own workers."""
        found = []
        for pid in marked(self._mark, {os.getpid()}):
            try:
                words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(os.path.basename(word) == b"ansible-playbook" for word in words[:3]):
                found.append(pid)
        return found[:1]


class _Part:
    """The next bytes of a stream, as a file of their own.

    Args:
        heard: is called for whatever arrives.
    """

    def __init__(self, stream: IO[bytes], size: int, heard: Callable[[], None]) -> None:
        self._stream = stream
        self._left = size
        self._heard = heard

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at its end."""
        some = self._stream.read(min(size, self._left))
        self._left -= len(some)
        self._heard()
        return some


def _bases() -> list[Path]:
    """Where the folder of a run may be, the best first."""
    bases = [_MEMORY, Path(tempfile.gettempdir())]
    return [base for base in bases if os.access(str(base), os.W_OK)] or bases[1:]


def _birth(pid: int) -> str:
    """When a process began, in ticks since the machine did (proc(5), stat); empty where there is none."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _sweep(base: Path) -> None:
    """Remove what keepers left that were killed: nobody else could."""
    for folder in base.glob(_START + "*"):
        pid, birth, mark = (*folder.name[len(_START) :].split("-", 2), "", "")[:3]
        try:
            ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
        except OSError:
            continue
        # Another process may have got its pid since.
        if ours and pid.isdigit() and _birth(int(pid)) != birth:
            end_marked(mark, patience=0, idle=True)
            shutil.rmtree(str(folder), ignore_errors=True)


def main(given: dict[str, Any]) -> None:
    """Keep a run, and end this process with its status."""
    status = Keeper(given).keep()
    # A thread may wait for more input for ever, which the interpreter's end would choke on.
    os._exit(status)
