"""Delta packs: what a host's mirror lacks, made once for each commit that hosts are at."""

from __future__ import annotations

import re
import threading

from controller.catalog.git import GitFailed, Repository

_COMMIT = re.compile(r"^[0-9a-f]{40}$")


class Packs:
    """Makes the packs that bring mirrors to one release.

    Args:
        repository: the deploy repository.
        commit: the release's commit.
    """

    def __init__(self, repository: Repository, commit: str) -> None:
        self._repository = repository
        self._commit = commit
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def since(self, base: str) -> bytes:
        """The pack for a mirror at `base`; everything for a mirror at "" or at an unknown commit."""
        with self._lock:
            if base not in self._made:
                known = bool(_COMMIT.match(base)) and self._knows(base)
                self._made[base] = self._pack(base if known else "")
            return self._made[base]

    def _knows(self, commit: str) -> bool:
        try:
            self._repository.run("cat-file", "-e", f"{commit}^{{commit}}")
        except GitFailed:
            return False
        return True

    def _pack(self, base: str) -> bytes:
        wanted = self._commit + "\n" + (f"^{base}\n" if base else "")
        return self._repository.run(
            "pack-objects",
            "--revs",
            "--stdout",
            "--quiet",
            "--delta-base-offset",
            *(["--thin"] if base else []),
            data=wanted.encode(),
        )
