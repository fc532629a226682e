"""A published tree as `agentplugin` looks at it: read from git, nothing on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agentplugin.plans import Tree
from controller.catalog import compose
from controller.catalog.compose import Entry
from controller.catalog.git import Repository


class GitTree(Tree):
    """The plugin tree of a release.

    Args:
        repository: the deploy repository.
        tree: a tree or commit in it.

    Attributes:
        name: that tree or commit.
    """

    __slots__ = ("_children", "_entries", "_links", "_repository", "name")

    def __init__(self, repository: Repository, tree: str) -> None:
        files = list(compose.entries(repository, tree))
        self._repository = repository
        self.name = tree
        self._entries = {entry.path: entry for entry in files}
        self._links = compose.symlinks(repository, files)
        self._children: dict[str, set[str]] = {"": set()}
        for path in self._entries:
            child = path
            for parent in [*compose.parents(path), ""]:
                self._children.setdefault(parent, set()).add(child.rpartition("/")[2])
                child = parent

    def real(self, path: str) -> str | None:
        """A path with its links followed, "" for the tree itself; None where it leaves the tree."""
        try:
            return compose.follow(path, self._links)
        except LookupError:
            return None

    def listdir(self, path: str) -> list[str]:
        real = self.real(path)
        if real is None or real not in self._children:
            raise FileNotFoundError(2, "no such folder in the plugin tree", path)
        return sorted(self._children[real])

    def isfile(self, path: str) -> bool:
        return self.real(path) in self._entries

    def isdir(self, path: str) -> bool:
        return self.real(path) in self._children

    def read(self, path: str) -> bytes:
        real = self.real(path)
        if real is None or real not in self._entries:
            raise FileNotFoundError(2, "no such file in the plugin tree", path)
        return self._repository.run("cat-file", "blob", self._entries[real].blob)

    def files(self) -> Mapping[str, Entry]:
        """Every file by its path, links among them as they are."""
        return self._entries

    def file(self, path: str) -> Entry | None:
        """The file that a path leads to, links followed; None where there is none."""
        real = self.real(path)
        return None if real is None else self._entries.get(real)

    def read_all(self, files: Iterable[Entry]) -> dict[str, bytes]:
        """The contents of files by their object names, read at once."""
        return compose.blobs(self._repository, (entry.blob for entry in files))

    def paths(self) -> list[str]:
        """Every folder and file that a binding could name, links resolved by `isfile` and `isdir`."""
        return sorted({*self._entries, *(path or "." for path in self._children)})
