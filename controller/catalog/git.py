"""Running git on the control node so that no repository, URL or user setting can run a command.

Hooks, filters, fsmonitor and remote helpers are off in every call; nothing prompts; credentials
go to git through an askpass program that reads them from the environment, so they are in no
process list and in no file of the repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from controller.catalog.errors import CatalogError, NoRoom
from controller.catalog.urls import redact

ASKPASS = Path(__file__).with_name("askpass.sh")

# Set on the command line, so that they win over the repository's and the user's configuration.
_INERT = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "protocol.git.allow=always",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "gc.auto=0",
    "advice.detachedHead=false",
)


_LEFT_BEHIND = 3600.0  # seconds
_LEFTOVERS = ("*.lock", "refs/**/*.lock", "objects/tmp_*", "objects/??/tmp_*", "objects/pack/tmp_*")
_MANY_LOOSE, _MANY_PACKS = 1000, 20
# What git says, in the words of the C library, when it could not write.
_NO_ROOM = ("No space left on device", "Disk quota exceeded")


class GitFailed(CatalogError):
    """git ended with an error; the message holds its last words, without credentials."""

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        self.returncode = returncode
        self.stderr = redact(stderr.strip())
        super().__init__(f"git {command}: {self.stderr or f'exit status {returncode}'}")


class Repository:
    """A bare git repository on the control node.

    Args:
        path: its folder; made by `ensure`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ensure(self) -> None:
        """Make the repository, or finish one whose making was killed: objects that are there stay.

        Safe to call at any time by whoever holds the catalog's lock.
        """
        head = self.path / "HEAD"
        if head.is_file() and not head.stat().st_size:
            head.unlink()  # git takes any HEAD for a finished repository's
        parts = (head, self.path / "config", self.path / "objects", self.path / "refs")
        if not all(part.exists() for part in parts):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for stale in ("HEAD.lock", "config.lock"):
                (self.path / stale).unlink(missing_ok=True)
            # No template: a user's template folder may hold hooks.
            self.run("init", "--quiet", "--bare", "--template=", str(self.path), inside=False)

    def tidy(self) -> None:
        """Remove what a git that was killed left an hour ago or more: half objects, and locks that would
        keep everybody out for ever. None runs for so long. Pack what lies about loose.
        """
        latest = time.time() - _LEFT_BEHIND
        for pattern in _LEFTOVERS:
            for path in self.path.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    if path.lstat().st_mtime < latest:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._pack()

    def _pack(self) -> None:
        """Pack all objects once there are many: who hands releases on would pack them anew each time
        (a bundle of 50 releases of 1 MB: 0.18 s of CPU before, 0.009 s after). What nothing leads to stays for
        two weeks, as somebody may be about to refer to it.
        """
        objects = self.path / "objects"
        # As git's own upkeep counts (git-gc(1)): names are hashes, so one folder is a fair sample.
        loose = 256 * len(list((objects / "17").glob("?*")))
        if loose > _MANY_LOOSE or len(list((objects / "pack").glob("*.pack"))) > _MANY_PACKS:
            # It is only upkeep: whoever comes next tries again.
            with contextlib.suppress(CatalogError):
                self.run("repack", "-a", "-d", "-k", "-q", timeout=600)
                self.run("prune", "--expire=2.weeks.ago")

    def run(
        self,
        *args: str,
        data: bytes | None = None,
        env: Mapping[str, str] | None = None,
        isolated: bool = True,
        timeout: float = 120,
        inside: bool = True,
    ) -> bytes:
        """Run git and return its standard output.

        Args:
            args: git's arguments; the first one is the sub-command.
            data: standard input.
            env: variables to add.
            isolated: ignore the user's and the system's git configuration. Only fetching needs
                them (proxies, certificate authorities).
            timeout: seconds; git is killed after that.
            inside: run against this repository.

        Raises:
            GitFailed: git ended with an error or ran out of time.
            NoRoom: it could not write.
        """
        command = ["git"]
        for setting in _INERT:
            command += ["-c", setting]
        if inside:
            command += ["--git-dir", str(self.path)]
        command += args
        # GIT_* variables of the caller (a hook, a rebase) would point git at another repository.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        for kept in ("GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"):
            if not isolated and kept in os.environ:
                environment[kept] = os.environ[kept]
        environment.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="", SSH_ASKPASS="")
        environment.update(env or {})
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        if isolated:
            environment.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A session of its own: no terminal to prompt on, and one group to end.
                start_new_session=True,
            )
        except FileNotFoundError:
            raise CatalogError("git is not installed on the control node") from None
        try:
            output, errors = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            # git's helpers (ssh, git-remote-https) would outlive a kill of git alone.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise GitFailed(args[0], -1, f"no answer within {timeout:g} s") from None
        if process.returncode:
            failed = GitFailed(args[0], process.returncode, errors.decode("utf-8", "replace"))
            if any(sign in failed.stderr for sign in _NO_ROOM):
                raise NoRoom(f"the disk with {self.path} is full: {failed}")
            raise failed
        return output

    def text(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Run git and return its output as one stripped text."""
        return self.run(*args, env=env).decode("utf-8", "surrogateescape").strip()

    def has_commit(self, commit: str) -> bool:
        """Whether a commit is in the repository."""
        try:
            self.run("cat-file", "-e", f"{commit}^{{commit}}")
        except GitFailed:
            return False
        return True
