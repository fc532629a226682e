"""Git servers that count: `git daemon` (git://), and smart HTTP with credentials and TLS.

Rules: git-daemon(1), git-http-backend(1), and git's trace2 events, which tell a visit that found
nothing new from one that was sent objects.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from . import debian, ledger, procs, ready, removal, tls
from .errors import FleetError
from .loopback import reserve_port
from .switch import CONTROL_ADDRESS, Switch


class CountingServer(ABC):
    """Serves `repos` (name -> bare or non-bare repository), read-only, as `NAME.git`.

    On 127.0.0.1, or where all hosts of a switched fleet reach it. `folder` must be empty or absent.
    """

    scheme: str

    def __init__(
        self, repos: Mapping[str, Path], folder: Path, *, switch: Switch | None = None
    ) -> None:
        debian.require("git")
        for name, path in repos.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise FleetError(f"{name!r}: a repository's name is letters, digits, _ and -")
            if not path.is_dir():
                raise FleetError(f"{path}: is not a repository")
        ledger.sweep()
        self._switch = switch
        self._reserved: socket.socket | None = None
        self._repos = dict(repos)
        if switch is None:
            self._reserved = reserve_port("127.0.0.1")
            self.address, self.port = self._reserved.getsockname()
        else:
            self.address, self.port = CONTROL_ADDRESS, switch.port()
        self.ledger = ledger.Ledger(f"git {self.scheme}", folder.absolute())
        try:
            self.folder = self.ledger.folder(folder.absolute())
            self.traces = self.folder / "traces"
            self.traces.mkdir()
            self.repositories = self.folder / "repositories"
            self.repositories.mkdir()
            for name, path in repos.items():
                (self.repositories / f"{name}.git").symlink_to(path.absolute())
            self._start()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def command(self) -> list[str]:
        """What runs the server."""

    @abstractmethod
    def fetches(self, repo: str) -> int:
        """How often a client came for `repo` (clone, fetch or ls-remote), new objects or not."""

    @abstractmethod
    def packs(self, repo: str) -> int:
        """How often a client was sent objects of `repo`."""

    def url(self, repo: str) -> str:
        """Where `repo` is served."""
        return f"{self.scheme}://{self.address}:{self.port}/{repo}.git"

    def freeze(self) -> None:
        """The server takes connections and says nothing more, until `thaw`."""
        procs.send(self._identity, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undoes `freeze`."""
        procs.send(self._identity, signal.SIGCONT)

    def close(self) -> None:
        """Ends the server and removes its folder; the repositories stay."""
        self.ledger.close()
        if hasattr(self, "_process"):
            self._process.wait()
        if self._reserved is not None:
            self._reserved.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        environment = {
            **os.environ,
            removal.MARKER: self.ledger.id,
            # Whoever made the repositories: a test's git may run as another user.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        argv = self.command() if self._switch is None else self._switch.control(self.command())
        self.log = self.folder / "server.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._identity = self.ledger.process(self._process.pid)
        pairs = [(self.address, self.port)]
        silent = (
            ready.wait(pairs, 10, "")
            if self._switch is None
            else self._switch.unready(pairs, 10, "")
        )
        if silent:
            said = self.log.read_text(errors="replace").strip()[-500:]
            raise FleetError(f"the git server at {self.address}:{self.port} did not start: {said}")

    def _check(self, repo: str) -> str:
        if repo not in self._repos:
            raise FleetError(f"{repo}: is not served here; {', '.join(self._repos)} are")
        return repo


class GitServer(CountingServer):
    """`git daemon`: git://, no credentials."""

    scheme = "git"

    def command(self) -> list[str]:
        found = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
        exec_path = found.stdout.strip()
        trace = ["env", f"GIT_TRACE2_EVENT={self.traces}"]
        options = ["--reuseaddr", "--export-all", "--verbose", "--log-destination=stderr"]
        # With the default of 32 connections the daemon kills the oldest of 50 at once.
        where = ["--max-connections=0", f"--listen={self.address}", f"--port={self.port}"]
        # Not `git daemon`: that is a parent which only waits, and a signal would hit it alone.
        where.append(f"--base-path={self.repositories}")
        return [*trace, f"{exec_path}/git-daemon", *options, *where]

    def fetches(self, repo: str) -> int:
        return len(self._handlers(repo))

    def packs(self, repo: str) -> int:
        return sum(handler in self._senders() for handler in self._handlers(repo))

    def _handlers(self, repo: str) -> list[int]:
        """The pids of the daemon's children that served `repo`, from its log."""
        line = rf"^\[(\d+)\] Request upload-pack for '/{self._check(repo)}(?:\.git)?'$"
        text = self.log.read_text(errors="replace")
        return [int(pid) for pid in re.findall(line, text, re.MULTILINE)]

    def _senders(self) -> set[int]:
        """The pids of the daemon's children whose upload-pack packed objects, from its traces."""
        # A trace's id is the chain of its ancestors: daemon / child / upload-pack.
        return {int(sid.split("/")[-2].rpartition("-P")[2], 16) for sid in pack_traces(self.traces)}


class GitHttpServer(CountingServer):
    """https:// (with the test's own authority) or http://, with or without users and passwords."""

    def __init__(
        self,
        repos: Mapping[str, Path],
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        encrypted: bool = True,
        switch: Switch | None = None,
    ) -> None:
        self.scheme = "https" if encrypted else "http"
        self._users = dict(users or {})
        super().__init__(repos, folder, switch=switch)

    def command(self) -> list[str]:
        certificate = None
        if self.scheme == "https":
            certificate = tls.make(self.folder / "tls", [self.address], self.ledger.environment)
            self.authority = certificate.authority
        self.requests = self.folder / "requests.jsonl"
        config = self.folder / "config.json"
        config.touch(mode=0o600)
        config.write_text(
            json.dumps(
                {
                    "address": self.address,
                    "port": self.port,
                    "repositories": str(self.repositories),
                    "traces": str(self.traces),
                    "log": str(self.requests),
                    "users": self._users,
                    "chain": str(certificate.chain) if certificate else "",
                    "key": str(certificate.key) if certificate else "",
                }
            )
        )
        program = Path(__file__).with_name("git_http.py")
        return [sys.executable, "-I", "-S", str(program), str(config)]

    def url(self, repo: str, *, user: str = "", password: str = "") -> str:
        """Where `repo` is served; with credentials in the URL if given."""
        login = f"{user}:{password}@" if user else ""
        return f"{self.scheme}://{login}{self.address}:{self.port}/{repo}.git"

    def fetches(self, repo: str) -> int:
        visit = f"/{self._check(repo)}.git/info/refs?service=git-upload-pack"
        return sum(line["path"] == visit and line["status"] == 200 for line in self._lines())

    def packs(self, repo: str) -> int:
        return len(pack_traces(self.traces / self._check(repo)))

    def refusals(self) -> int:
        """How many requests came with credentials that were wrong."""
        return sum(line["status"] == 401 and line["authorized"] is True for line in self._lines())

    def _lines(self) -> list[dict[str, str | int | bool]]:
        if not self.requests.exists():
            return []
        return [json.loads(line) for line in self.requests.read_text().splitlines()]


def pack_traces(folder: Path) -> set[str]:
    """The ids of the upload-packs, traced in `folder`, that started a pack-objects."""
    found = set()
    for path in folder.iterdir() if folder.is_dir() else []:
        for line in path.read_text(errors="replace").splitlines():
            if '"child_start"' in line and '"pack-objects"' in line:
                found.add(str(json.loads(line)["sid"]))
    return found
