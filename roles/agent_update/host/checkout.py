"""The agent's plugin folder as git sees it."""

from __future__ import annotations

import os
import re

from roles.plugin_sync.host import command
from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# What settings say that decides whether a pull works in this very folder: a sparse checkout is clean
# although plugins are missing, and with a work tree elsewhere git puts that back, not this folder.
SETTINGS = r"^(remote\.origin\.url|core\.(sparsecheckout|worktree)|extensions\.worktreeconfig)$"

# As the agent takes them from a bound directory (agentplugin/names.py): a number before the first "_".
_STEP = re.compile(r"[+-]?[0-9]+_[^/]*$")


def is_run(path: str) -> bool:
    """Whether an agent may run a file for its name alone, e.g. an ignored `60_a.sh.bak`."""
    folder, _, name = path.rpartition("/")
    return bool(_STEP.match(name)) and "__pycache__" not in folder.split("/")


class State:
    """What git says of a checkout.

    head      its commit, "" where it is no checkout of its own
    branch    "(detached)" or the branch's name
    upstream  "origin/deploy" or ""
    changes   paths that differ from HEAD
    ignored   those of them that .gitignore names, and an agent runs all the same
    others    whether there are more that .gitignore names
    """

    __slots__ = ("branch", "changes", "head", "ignored", "others", "upstream")

    def __init__(self, porcelain: bytes) -> None:
        self.head = self.branch = self.upstream = ""
        self.changes: list[str] = []
        self.ignored: list[str] = []
        self.others = False
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
            elif entry[:2] == "! " and is_run(entry[2:]):
                self.ignored.append(entry[2:])
            elif entry[:2] == "! " and "__pycache__" not in entry[2:].split("/"):
                self.others = True
        self.changes += self.ignored

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
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames",
         "--ignored=matching"],
        plan["user"],
    )  # fmt: skip
    return State(b"" if status else output)


def uncover(plan: dict[str, Any]) -> list[str]:
    """Take the marks off that make git overlook edits; returns the paths that had one."""
    folder, user = plan["agent"]["dir"], plan["user"]
    status, output = command.git_bytes(folder, ["ls-files", "-v", "-z"], user)
    # "H path"; a small letter is one that is assumed unchanged, S one that is left out of the tree.
    marked = [] if status else [e for e in output.split(b"\0") if re.match(rb"[a-zS] ", e)]
    names = b"\0".join(entry[2:] for entry in marked)
    for option in ("--no-assume-unchanged", "--no-skip-worktree") if marked else ():
        status, said = command.git(folder, ["update-index", option, "-z", "--stdin"], user, names)
        if status:
            raise StepFailed(f"taking {option[5:]} marks off in {folder}: {said}", "undo-changes")
    return [os.fsdecode(entry[2:]) for entry in marked]


def is_whole(folder: str) -> bool:
    """Whether the folder has its repository in itself, and not only a note of where that is."""
    git_dir = os.path.join(folder, ".git")
    return os.path.isdir(git_dir) and not os.path.islink(git_dir)


def last_pull(folder: str) -> tuple[int, ...]:
    """What tells one `git pull` in the folder from the next; () where there was none."""
    try:
        found = os.stat(os.path.join(folder, ".git", "FETCH_HEAD"))
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
