"""Everything that stands in a plugin tree on disk, found without following a single link out of it
(what git can store is the measure: files, execute bits, symbolic links)."""

from __future__ import annotations

import os
import stat

from agentplugin.content import HEAD_BYTES
from agentplugin.problems import Problem, error, shown, warning

FILE = "file"
DIRECTORY = "directory"
LINK = "link"
OTHER = "other"


class Entry:
    """One name in a directory.

    path    relative to the tree's top, "." for the top;  full  on disk
    kind    FILE, DIRECTORY, LINK or OTHER (a device, socket or pipe)
    mode, size  of the entry itself, for a good link of what it points to
    target_kind  FILE or DIRECTORY for a link that stays inside the tree, else ""
    """

    __slots__ = ("full", "kind", "mode", "name", "path", "size", "target_kind")

    def __init__(self, path: str, name: str, full: str, status: os.stat_result) -> None:
        self.path = path
        self.name = name
        self.full = full
        self.mode = status.st_mode
        self.size = status.st_size
        self.kind = _kind(status.st_mode)
        self.target_kind = ""

    @property
    def is_script_like(self) -> bool:
        """Whether an agent would find a file with content here."""
        return FILE in (self.kind, self.target_kind)

    def head(self) -> bytes:
        """The first HEAD_BYTES of its content. Raises OSError."""
        with open(self.full, "rb") as file:
            return file.read(HEAD_BYTES)

    def content(self) -> bytes:
        """All of its content. Raises OSError."""
        with open(self.full, "rb") as file:
            return file.read()


class Directory:
    """A directory of the tree and what it holds, sorted by name."""

    __slots__ = ("entries", "path")

    def __init__(self, path: str, entries: list[Entry]) -> None:
        self.path = path
        self.entries = entries

    def find(self, name: str) -> Entry | None:
        """The entry of that name, or None."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        return None


def scan(root: str) -> tuple[list[Directory], list[Problem]]:
    """All directories from `root` down, parents first, and what is wrong with the entries.

    Raises OSError where `root` itself is no directory that can be read.
    """
    problems: list[Problem] = []
    directories: list[Directory] = []
    top = os.path.realpath(root)
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            found = _entries(top, path, problems)
        except OSError as err:
            if path == ".":
                raise
            problems.append(
                error(
                    path,
                    "unreadable",
                    f"the directory cannot be listed: {err.strerror or err}",
                    "make it readable",
                )
            )
            continue
        directories.append(Directory(path, found))
        below = [entry for entry in found if entry.kind == DIRECTORY]
        waiting.extend(entry.path for entry in reversed(below) if _descend(entry, problems))
    return directories, problems


def _entries(top: str, path: str, problems: list[Problem]) -> list[Entry]:
    folder = top if path == "." else os.path.join(top, path)
    entries: list[Entry] = []
    for name in sorted(os.listdir(folder)):
        full = os.path.join(folder, name)
        inner = name if path == "." else f"{path}/{name}"
        if inner == ".git":
            continue
        try:
            entry = Entry(inner, name, full, os.lstat(full))
        except OSError:
            # Removed since it was listed: then it is not in the tree.
            continue
        if entry.kind == LINK:
            _follow(entry, top, problems)
        elif entry.kind == OTHER:
            problems.append(
                error(
                    inner,
                    "special-file",
                    "this is a device, socket or pipe, which git cannot store",
                    "remove it from the plugin tree",
                )
            )
        entries.append(entry)
    return entries


def _descend(entry: Entry, problems: list[Problem]) -> bool:
    if entry.name == "__pycache__":
        problems.append(
            warning(
                entry.path,
                "compiled-leftovers",
                "compiled Python files do not belong into a plugin tree: an agent would take a "
                "60_name.cpython-311.pyc for a plugin",
                "remove the folder from git and add __pycache__/ to .gitignore",
            )
        )
    return entry.name not in (".git", "__pycache__")


def _follow(entry: Entry, top: str, problems: list[Problem]) -> None:
    """Looks at what a link points to, and says why a link is not good."""
    target = os.readlink(entry.full)
    if os.path.isabs(target):
        problems.append(
            error(
                entry.path,
                "symlink-absolute",
                f"the link points to {shown(target)}, an absolute path: on a host that is another "
                "file, or none",
                "make the link relative, or put the file itself there",
            )
        )
        return
    real = os.path.realpath(entry.full)
    if real != top and not real.startswith(top.rstrip("/") + "/"):
        problems.append(
            error(
                entry.path,
                "symlink-leaves-tree",
                f"the link points to {shown(target)}, outside the plugin tree",
                "put the file itself into the tree",
            )
        )
        return
    if real.startswith(os.path.join(top, ".git") + "/"):
        problems.append(
            error(
                entry.path,
                "symlink-leaves-tree",
                f"the link points to {shown(target)}, inside the repository's own .git",
                "put the file itself into the tree",
            )
        )
        return
    try:
        status = os.stat(real)
    except OSError as err:
        reason = "in a circle" if os.path.lexists(real) else "to nothing"
        problems.append(
            error(
                entry.path,
                "symlink-dangling",
                f"the link points {reason} ({shown(target)}): {err.strerror}",
                "mend or remove the link",
            )
        )
        return
    entry.target_kind = _kind(status.st_mode)
    entry.mode, entry.size = status.st_mode, status.st_size


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return DIRECTORY
    return LINK if stat.S_ISLNK(mode) else OTHER
