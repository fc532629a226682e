"""The state of the agent's checkout, as `git status --porcelain=v2 --branch -z` tells it."""

from __future__ import annotations


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
