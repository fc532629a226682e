"""This checkout as a git repository that AWX can fetch, with what is not committed yet."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_WHO = ("-c", "user.name=t", "-c", "user.email=t@localhost")


def files() -> list[str]:
    """Every file of the project: those that git knows or would add."""
    named = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(named, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    found = {name for name in told.split("\0") if name}
    # Some may be removed, and not be committed so yet.
    return sorted(name for name in found if os.path.lexists(CHECKOUT / name))


def copy(target: Path) -> None:
    """Copy the project's files into a new folder."""
    for name in files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target / name, follow_symlinks=False)


def make(target: Path) -> str:
    """Make a repository of the project, with one commit; returns its URL."""
    copy(target)
    for command in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all", "--force"),
        ("commit", "--quiet", "--message", "the project"),
    ):
        subprocess.run(["git", *_WHO, *command], cwd=target, check=True, capture_output=True)
    return f"file://{target}"
