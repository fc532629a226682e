"""The plugin tree as the planning sees it: an abstraction, and the one on disk."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod


class Tree(ABC):
    """A plugin tree to look things up in; paths are relative to its top, "." is the top itself."""

    __slots__ = ()

    @abstractmethod
    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted. Raises OSError where it cannot be read."""

    @abstractmethod
    def isfile(self, path: str) -> bool:
        """Whether a regular file is there, inside the tree, symbolic links followed."""

    @abstractmethod
    def isdir(self, path: str) -> bool:
        """Whether a directory is there, inside the tree, symbolic links followed."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file's content. Raises OSError where there is none inside the tree."""


class FsTree(Tree):
    """A tree on disk. A symbolic link that leads out of it leads nowhere."""

    __slots__ = ("_prefix", "root")

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._prefix = self.root.rstrip("/") + "/"

    def _inside(self, path: str) -> str | None:
        real = os.path.realpath(os.path.join(self.root, path))
        return real if real == self.root or real.startswith(self._prefix) else None

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self._real(path)))

    def isfile(self, path: str) -> bool:
        real = self._inside(path)
        return real is not None and os.path.isfile(real)

    def isdir(self, path: str) -> bool:
        real = self._inside(path)
        return real is not None and os.path.isdir(real)

    def read(self, path: str) -> bytes:
        with open(self._real(path), "rb") as file:
            return file.read()

    def _real(self, path: str) -> str:
        real = self._inside(path)
        if real is None:
            raise FileNotFoundError(2, "not inside the plugin tree", path)
        return real
