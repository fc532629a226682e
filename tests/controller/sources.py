"""Source repositories, made by real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.controller.server import Api

SCRIPT = '#!/bin/sh\necho \'[{"endpoint":"h","metric":"m","value":1,"step":60,'
SCRIPT += '"counterType":"GAUGE","tags":"","timestamp":1795294024}]\'\n'


class SourceRepository:
    """A work tree that a person commits plugins to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *args: str) -> str:
        """Run git there and return its output."""
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *args],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        )
        return done.stdout.strip()

    def write(self, name: str, content: str | bytes = SCRIPT, mode: int = 0o755) -> None:
        """Put a file into the work tree."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def commit(self, message: str = "change") -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


def publish(api: Api, source: SourceRepository, **more: Any) -> Any:
    """Make a repository a controller's one source, and publish it; returns the answer."""
    if not api.get("sources")["items"]:
        body = {"name": "plugins", "url": str(source.path), "ref": "main"}
        api.send("POST", "sources", 201, json=body)
    return api.send("POST", "releases", 201, json=more)
