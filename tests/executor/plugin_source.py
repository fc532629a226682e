"""Where a host's plugin directory comes from, and what an update made of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.executor.harness import Host, prints


class Source:
    """A repository with a deploy line and the bare mirror of it that a host would have."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "source"
        self.mirror = root / "mirror.git"
        self.tree.mkdir(parents=True)
        self.git("init", "-q", "-b", "deploy")
        self.git("config", "user.email", "dev@example.org")
        self.git("config", "user.name", "dev")
        subprocess.run(["git", "init", "-q", "--bare", str(self.mirror)], check=True)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.tree), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def release(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Commit these files (None removes) and put them into the mirror; the commit."""
        for name, text in files.items():
            path = self.tree / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "-f", str(self.mirror), "HEAD:refs/heads/deploy")
        return self.git("rev-parse", "HEAD")


def update(host: Host) -> str:
    return host.run("--update").stdout.strip()


def head(host: Host) -> str:
    done = subprocess.run(
        ["git", "-C", str(host.root / "plugin"), "rev-parse", "HEAD"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def status(host: Host) -> str:
    done = subprocess.run(
        ["git", "-C", str(host.root / "plugin"), "status", "--porcelain=v2", "--ignored"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def script(text: str) -> str:
    return "#!/bin/sh\n" + prints() + f"# {text}\n"
