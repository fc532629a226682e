"""The agent's plugin folder as git sees it."""

from __future__ import annotations

import os

from roles.plugin_sync.host import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class State:
    """What git says of a checkout.

    head      its commit, "" where it is no checkout of its own
    branch    "(detached)" or the branch's name
    upstream  "origin/deploy" or ""
    changes   paths that differ from HEAD
    """

    __slots__ = ("branch", "changes", "head", "upstream")

    def __init__(self, porcelain: bytes) -> None:
        self.head = self.branch = self.upstream = ""
        self.changes: list[str] = []
        for entry in porcelain.decode("utf-8", "surrogateescape").split("\0"):
            if entry.startswith("# branch.oid "):
                self.head = entry[13:]
            elif entry.startswith("# branch.head "):
                self.branch = entry[14:]
            elif entry.startswith("# branch.upstream "):
                self.upstream = entry[18:]
            elif entry[:2] in ("1 ", "u ", "? "):
                # "1 XY sub mH mI mW hH hI path", "? path"
                self.changes.append(entry.split(" ", {"1": 8, "u": 10, "?": 1}[entry[0]])[-1])

    def as_wanted(self, commit: str) -> bool:
        """Whether the checkout is the commit, unmodified."""
        return self.head == commit and not self.changes


def place(plan: dict[str, Any]) -> str:
    """Where the plugin folder really is: Open-Falcon's own layout reaches it through a link."""
    folder: str = plan["agent"]["dir"]
    return os.path.realpath(folder)


def state(plan: dict[str, Any]) -> State:
    """Look at the agent's plugin folder."""
    status, output = command.git_bytes(
        plan["agent"]["dir"],
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"],
        plan["user"],
    )
    return State(b"" if status else output)


def last_pull(folder: str) -> tuple[int, ...]:
    """What tells one `git pull` in the folder from the next; () where there was none."""
    try:
        found = os.stat(os.path.join(folder, ".git", "FETCH_HEAD"))
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
