"""The engine that plays on another machine: ansible-runner's transmit, worker and process over SSH.

Everything is sent: project, inventory, releases. The other machine needs ansible-runner, ansible-core,
git and ssh; nothing stays there (see `controller.deployments.engines.keeper`).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ansible_runner  # type: ignore[import-untyped]  # it has no types

from controller.deployments.engines.base import Put
from controller.deployments.job import Job, holds_key
from controller.deployments.presence import ENDING, SILENCE
from controller.deployments.rundir import RunDir
from controller.deployments.tracking import JobOver, Stopped
from controller.settings import Settings, split_address

# What is sent runs with no file of ours on the other machine.
_BOOT = """\
import json, sys, types
given = json.loads(sys.stdin.buffer.readline())
for name, source in given.pop("modules"):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(given)
"""
_MODULES = ("controller.deployments.processes", "controller.deployments.engines.keeper")
_TOP = Path(__file__).resolve().parents[3]
_NOT_SENT = ("tests", "docs", "demo", "benchmarks", "plugins", "__pycache__", "*.egg-info")
_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ControlPath=none",
)
# Seconds that the other machine goes on with nothing heard of us: less than ssh takes to give up
# (ServerAlive...), so that nothing is done there any more when this end lets go of its hosts.
_MOST = 10.0
_BROKEN = 255  # ssh's exit status where the connection was never made, or broke
_TICK = 0.5  # seconds between two words to it
_PATIENCE = 3.0  # seconds that ansible-playbook may take to end by itself
_CLEANING = 3.0  # seconds that the keeper may take to remove what was sent
_WORDS = 5  # lines that explain what went wrong


class RemoteEngine:
    """Plays a wave on `remote_host`.

    Args:
        sure: gives the moment (`time.monotonic`) for which the controller was last proven to be alive.
    """

    left = False

    def __init__(
        self,
        settings: Settings,
        job: Job,
        folder: RunDir,
        mark: str,
        put: Put,
        sure: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._job = job
        self._folder = folder
        self._mark = f"r{mark}"  # another one: the machine may be the same
        self._put = put
        self._sure = sure
        self._releases = folder.path / "releases.tar"
        self._stopped: Stopped | None = None
        self._stopped_at = 0.0
        self._ssh: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()  # to take what is sent, there
        self._sent = False
        self._over = threading.Event()
        self._words: list[str] = []

    def prepare(self) -> None:
        """Put together what is sent."""
        inventory = self._job.inventory
        everything = dict(inventory["all"])
        # Where the releases are on the other machine is its role's default (PLUGFLEET_DATA_DIR).
        everything["vars"] = {
            name: value
            for name, value in everything["vars"].items()
            if name != "plugin_source_folder"
        }
        self._folder.make({**inventory, "all": everything})
        # ansible-runner packs into a temporary file, which holds secrets.
        tempfile.tempdir = str(self._folder.temporary)
        sent = self._folder.path / "sent"
        sent.mkdir(mode=0o700)
        for part in ("inventory", "env"):
            shutil.move(self._folder.path / part, sent / part)
        shutil.copytree(
            self._settings.project_dir,
            sent / "project",
            ignore=shutil.ignore_patterns(".*", *_NOT_SENT),
            symlinks=True,
        )
        self._pack()

    def _pack(self) -> None:
        """Put the releases together: as they are, since what git has packed only costs time to pack again."""
        releases = self._settings.catalog_dir / "deploy.git"
        if not releases.exists():
            return
        copy = self._folder.path / "deploy.git"
        subprocess.run(
            ["git", "clone", "--quiet", "--mirror", str(releases), str(copy)],
            check=True,
            capture_output=True,
        )
        with tarfile.open(self._releases, "w") as archive:
            archive.add(copy, "catalog/deploy.git", filter=_of_nobody)
        shutil.rmtree(copy)

    def play(self) -> int | None:
        """Play it there; returns the exit status, or None where it was killed."""
        stream = self._folder.path / "stream"
        self._transmit(stream)
        shutil.rmtree(self._folder.path / "sent")
        if self._stopped:
            return None
        self._ssh = ssh = subprocess.Popen(
            ssh_command(self._settings, f"exec python3 -c {shlex.quote(_BOOT)}"),
            bufsize=0,  # what is sent is sent, and who closes the pipe waits for nobody
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        threads = [
            threading.Thread(target=self._speak, args=(ssh, stream), name="speak"),
            threading.Thread(target=self._listen, args=(ssh,), name="listen"),
        ]
        for thread in threads:
            thread.start()
        try:
            played = ansible_runner.run(
                streamer="process",
                _input=io.BufferedReader(cast(io.RawIOBase, ssh.stdout)),
                private_data_dir=str(self._folder.path / "back"),
                ident="run",
                quiet=True,
                event_handler=self._on_event,
            )
        finally:
            self._over.set()
            self._hang_up()
            ended = ssh.wait()
            for thread in threads:
                thread.join()
        return self._exit_status(str(played.status), ended)

    def stop(self, stopped: Stopped, *, hurry: bool) -> None:
        """End the run there: its keeper does, as soon as it hears nothing any more."""
        if self._stopped is None:
            self._stopped, self._stopped_at = stopped, time.monotonic()
            self._hang_up()
        patience = self._settings.lease * ENDING if hurry else _PATIENCE + _CLEANING
        if self._ssh and time.monotonic() - self._stopped_at > patience:
            self._ssh.kill()

    def _transmit(self, stream: Path) -> None:
        with stream.open("wb") as file:
            ansible_runner.run(
                streamer="transmit",
                _output=file,
                private_data_dir=str(self._folder.path / "sent"),
                playbook="deploy-plugins.yml",
                ident="run",
                forks=self._settings.forks,
                cmdline="--check --diff" if self._job.check else None,
                skip_tags="report",  # the journal tells it, as on this machine
                fact_cache_type="memory",
                envvars=self._environment(),
                suppress_env_files=True,
                quiet=True,
            )

    def _environment(self) -> dict[str, str]:
        variables = {
            "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
        }
        if holds_key(self._job):
            variables["ANSIBLE_SSH_AGENT"] = "auto"
        return variables

    def _speak(self, ssh: subprocess.Popen[bytes], stream: Path) -> None:
        """Send everything, then until when to go on, for as long as this controller is alive."""
        modules = [(name, _source(name)) for name in _MODULES]
        given = {
            "modules": modules,
            "mark": self._mark,
            "runner": self._settings.remote_runner,
            "releases": self._releases.stat().st_size if self._releases.exists() else 0,
            "stream": stream.stat().st_size,
            "now": time.monotonic(),
            "until": self._until(),
            "patience": min(_PATIENCE, self._settings.lease * ENDING),
        }
        assert ssh.stdin is not None
        # A closed pipe or connection is noticed by whoever reads from it.
        with contextlib.suppress(OSError, ValueError):
            ssh.stdin.write(json.dumps(given).encode() + b"\n")
            while not self._ready.wait(_TICK):
                if self._over.is_set():
                    return
            self._sent = True
            for part in (self._releases, stream):
                if part.exists():
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, ssh.stdin)
                    part.unlink()
            ssh.stdin.flush()
            while not self._over.wait(_TICK):
                ssh.stdin.write(b"%r\n" % self._until())
                ssh.stdin.flush()

    def _until(self) -> float:
        """Until when the other machine may go on by itself, by this one's clock."""
        return min(time.monotonic() + _MOST, self._sure() + self._settings.lease * SILENCE)

    def _listen(self, ssh: subprocess.Popen[bytes]) -> None:
        """Keep the journal, and what is said by ssh and by the other machine."""
        assert ssh.stderr is not None
        with self._folder.journal.open("ab") as journal:
            for line in io.BufferedReader(cast(io.RawIOBase, ssh.stderr)):
                try:
                    told = json.loads(line)
                    entry, said = told.get("journal"), str(told.get("said", ""))
                    if told.get("ready") == self._mark:
                        self._ready.set()
                except (ValueError, AttributeError):
                    entry, said = None, line.decode("utf-8", "replace")
                if isinstance(entry, str):
                    journal.write(entry.encode() + b"\n")
                    journal.flush()
                elif said.strip():
                    self._words = [*self._words, said.strip()][-_WORDS:]

    def _hang_up(self) -> None:
        if self._ssh and self._ssh.stdin:
            with contextlib.suppress(OSError, ValueError):
                self._ssh.stdin.close()

    def _on_event(self, event: dict[str, Any]) -> bool:
        """Keep an event for the recorder; no file is written for it. Never raises, never waits."""
        with contextlib.suppress(Exception):
            self._put(event)
        return False

    def _exit_status(self, status: str, ended: int) -> int | None:
        """The playbook's exit status; `ended` is ssh's, which is the keeper's where that had the last word."""
        hosts, broken = list(self._job.plans), ended < 0 or ended == _BROKEN
        if self._stopped:
            if broken:
                self._put(JobOver(0, hosts, self._stopped, blind=self._sent))
            return None
        with contextlib.suppress(OSError, ValueError):
            return int((self._folder.path / "back" / "artifacts" / "run" / "rc").read_text())
        words = re.sub(r"\s+", " ", "; ".join(self._words)) or f"ansible-runner says {status!r}"
        trouble = f"the run on {self._settings.remote_host} broke off: {words}"
        self._put(JobOver(0, hosts, trouble=trouble, blind=self._sent and broken))
        return 1


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """What is unpacked belongs to who unpacks it: git refuses a repository of somebody else's."""
    return entry.replace(uid=0, gid=0, uname="", gname="", deep=False)


def ssh_command(settings: Settings, command: str) -> list[str]:
    """What runs a command on `remote_host`."""
    user, _, place = settings.remote_host.rpartition("@")
    address, port = split_address(place, 0)
    # Of an option that is given twice, ssh takes the first.
    given = ["-T", *shlex.split(settings.remote_ssh_args)]
    given += [word for option in _OPTIONS for word in ("-o", option)]
    given += ["-p", str(port)] if port else []
    given += ["-l", user] if user else []
    return ["ssh", *given, "--", address, command]


def _source(module: str) -> str:
    return (_TOP / module.replace(".", "/")).with_suffix(".py").read_text()
