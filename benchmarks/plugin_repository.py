"""The repository that the deploy benchmark deploys: 200 files, 2 MB, 300 commits."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

FILES, SIZE, COMMITS = 200, 10_000, 300
_HEAD = "#!/bin/sh\necho '[]'\nexit 0\n"


class PluginRepository:
    """A bare repository that grows by one changed file at a time.

    Args:
        path: where it is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._random = random.Random(20261121)
        self._commits = 0
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True
        )
        # git daemon serves only what says so, and refuses an owner that is not its own.
        (path / "git-daemon-export-ok").touch()
        stream = [self._commit({self._name(n): self._content() for n in range(FILES)})]
        stream += [self._commit(self._one_change()) for _ in range(COMMITS - 1)]
        self._import(b"".join(stream))

    def change_one_file(self) -> None:
        """Commit a new content of one file."""
        self._import(self._commit(self._one_change(), append=True))

    def _one_change(self) -> dict[str, bytes]:
        return {self._name(self._random.randrange(FILES)): self._content()}

    @staticmethod
    def _name(number: int) -> str:
        return f"group{number // 20}/60_plugin{number}.sh"

    def _content(self) -> bytes:
        # Scripts compress about threefold; so does this.
        words = " ".join(f"{self._random.randrange(10**6):06d}" for _ in range(SIZE // 7))
        return (_HEAD + "# " + words + "\n").encode()

    def _commit(self, files: dict[str, bytes], *, append: bool = False) -> bytes:
        self._commits += 1
        lines = [b"commit refs/heads/main\n"]
        lines.append(b"committer bench <bench@localhost> %d +0000\n" % (1795290000 + self._commits))
        lines.append(b"data 6\nchange\n")
        if append and self._commits:
            lines.append(b"from refs/heads/main^0\n")
        for name, content in files.items():
            lines.append(b"M 100755 inline %s\ndata %d\n" % (name.encode(), len(content)))
            lines.append(content + b"\n")
        return b"".join(lines)

    def _import(self, stream: bytes) -> None:
        subprocess.run(
            ["git", "--git-dir", str(self.path), "fast-import", "--quiet"],
            input=stream,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
        )
        # Settled on the server, so that serving it costs the same each time.
        subprocess.run(["git", "--git-dir", str(self.path), "repack", "-adq"], check=True)
