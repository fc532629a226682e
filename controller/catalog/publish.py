"""From sources to a release: fetch, compose, lint, publish, in one locked step on one machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agentplugin
from agentplugin.lint import lint_tree
from controller.catalog import compose, releases
from controller.catalog.errors import LintError, ReleaseError
from controller.catalog.git import Repository
from controller.catalog.releases import Release
from controller.catalog.sources import Source, fetch
from controller.catalog.tree import GitTree

Approve = Callable[[GitTree], None]


@dataclass(frozen=True)
class Published:
    """What publishing came to.

    Attributes:
        release: the newest release; with `dry_run` the newest one there is, or None.
        tree: the tree of the release, or with `dry_run` of the one that would be published.
        changed: whether the release is (or would be) a new one.
        problems: the lint's findings below errors, as dictionaries.
        changes: "A path", "M path", "D path" against the release before.
    """

    release: Release | None
    tree: str
    changed: bool
    problems: list[dict[str, Any]]
    changes: list[str]


class Catalog:
    """The deploy repository and what belongs to it, in one folder of the control node.

    Args:
        folder: made if it is not there, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository(folder / "deploy.git")

    def publish(
        self,
        sources: Sequence[Source],
        *,
        timeout: float = 60,
        dry_run: bool = False,
        by: str = "",
        approve: Approve | None = None,
    ) -> Published:
        """Fetch, compose and lint the sources, and publish them as the next release.

        Args:
            timeout: seconds one source's server may take.
            dry_run: stop before the deploy line moves.
            by: who asks for it.
            approve: called with the tree before the deploy line moves; what it raises prevents that.

        Raises:
            CatalogError: nothing was published; the message names the source or the file.
        """
        with self._locked():
            fetched = fetch(self.repository, sources, timeout=timeout)
            tree = compose.compose(self.repository, fetched)
            problems = self._lint(tree)
            if approve:
                approve(GitTree(self.repository, tree))
            before = releases.head(self.repository)
            if dry_run:
                changed = before is None or before.tree != tree
                return Published(before, tree, changed, problems, self._changes(before, tree))
            release, changed = releases.publish(self.repository, tree, fetched, by=by)
            return Published(release, tree, changed, problems, self._changes(before, tree))

    def rollback(
        self, number: int, *, dry_run: bool = False, by: str = "", approve: Approve | None = None
    ) -> Published:
        """Publish an older release's tree again, as the next release; arguments as in `publish`.

        Raises:
            ReleaseError: there is no such release.
        """
        with self._locked():
            before = releases.head(self.repository)
            old = releases.find(self.repository, number)
            if approve:
                approve(GitTree(self.repository, old.tree))
            changes = self._changes(before, old.tree)
            if dry_run:
                return Published(before, old.tree, bool(changes), [], changes)
            release, changed = releases.rollback(self.repository, number, by=by)
            return Published(release, old.tree, changed, [], changes)

    def newest(self) -> Release:
        """The newest release.

        Raises:
            ReleaseError: nothing was published yet.
        """
        release = releases.head(self.repository) if self.repository.path.exists() else None
        if release is None:
            raise ReleaseError(f"nothing was published yet in {self.folder}")
        return release

    def _changes(self, before: Release | None, tree: str) -> list[str]:
        if before is None:
            return [f"A {entry.path}" for entry in compose.entries(self.repository, tree)]
        if before.tree == tree:
            return []
        raw = self.repository.run(
            "diff-tree", "-r", "-z", "--no-renames", "--name-status", before.tree, tree
        ).decode("utf-8", "surrogateescape")
        fields = raw.split("\0")[:-1]
        return [f"{status} {path}" for status, path in zip(fields[::2], fields[1::2], strict=True)]

    def _lint(self, tree: str) -> list[dict[str, Any]]:
        """Lint a tree; the findings of a tree already seen come from a file."""
        kept = self.folder / "lint" / f"{tree}-{_rules_digest()}.json"
        try:
            problems: list[dict[str, Any]] = json.loads(kept.read_text())
        except (OSError, ValueError):
            with tempfile.TemporaryDirectory(prefix="plugfleet-lint-") as scratch:
                compose.export(self.repository, tree, Path(scratch))
                problems = lint_tree(scratch).as_dict()["problems"]
            kept.parent.mkdir(exist_ok=True)
            partial = kept.with_suffix(".tmp")
            partial.write_text(json.dumps(problems))
            partial.replace(kept)
        if any(problem["severity"] == "error" for problem in problems):
            raise LintError(problems)
        return problems

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other runs on this machine out while the deploy line may move."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.repository.ensure()
            yield


def _rules_digest() -> str:
    """A digest of the lint's own source, so that findings of older rules are not used again."""
    digest = hashlib.sha256()
    for path in sorted(Path(agentplugin.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
