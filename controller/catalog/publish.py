"""From sources to a release: fetch, compose, lint, publish, in one locked step on one machine."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from controller.catalog import compose, fixing, releases
from controller.catalog.errors import Busy, LintError, ReleaseError
from controller.catalog.fetching import fetch
from controller.catalog.git import Repository
from controller.catalog.lintreports import Reports
from controller.catalog.looking import Judge, Looks
from controller.catalog.releases import Release
from controller.catalog.sources import FetchedSource, Source
from controller.catalog.tree import GitTree

Approve = Callable[[GitTree, Sequence[FetchedSource]], None]


@dataclass(frozen=True)
class Published:
    """What publishing came to.

    Attributes:
        release: the newest release; with `dry_run` the newest one there is, or None.
        tree: the tree of the release, or with `dry_run` of the one that would be published.
        changed: whether the release is (or would be) a new one.
        problems: the lint's findings below errors, as dictionaries.
        changes: "A path", "M path", "D path" against the release before.
        fixes: what was corrected, `{"path", "fix"}` each.
        unfixed: what could not be, with why: `{"path", "fix", "left"}` each.
    """

    release: Release | None
    tree: str
    changed: bool
    problems: list[dict[str, Any]]
    changes: list[str]
    fixes: list[dict[str, str]] = field(default_factory=list)
    unfixed: list[dict[str, str]] = field(default_factory=list)


class Catalog:
    """The deploy repository and what belongs to it, in one folder of the control node.

    Args:
        folder: made if it is not there, readable by its owner only.
        wait: seconds to wait for another run that works on the deploy line; None is for ever.
    """

    def __init__(self, folder: Path, *, wait: float | None = None) -> None:
        self.folder = folder
        self.repository = Repository(folder / "deploy.git")
        self._reports = Reports(folder / "lint", self.repository)
        self._wait = wait
        self.looks = Looks(self.repository, self._reports, self.ensure)
        self._publishing = threading.Lock()
        # Reading a tree costs two git processes; the newest release's is asked for all the time.
        self._trees = lru_cache(maxsize=4)(lambda commit: GitTree(self.repository, commit))

    def tree(self, commit: str) -> GitTree:
        """The plugin tree of a release.

        Raises:
            CatalogError: the commit is not in the deploy repository.
        """
        return self._trees(commit)

    def publish(
        self,
        sources: Sequence[Source],
        *,
        timeout: float = 60,
        dry_run: bool = False,
        by: str = "",
        fix: bool = False,
        judge: Judge | None = None,
        approve: Approve | None = None,
    ) -> Published:
        """Fetch, compose and lint the sources, and publish them as the next release.

        Args:
            timeout: seconds one source's server may take.
            dry_run: stop before the deploy line moves.
            by: who asks for it.
            fix: correct in the tree what can be corrected without knowing a plugin (see fixing).
            judge: says of the lint's findings how grave each one is for the agents that there are.
            approve: called with the tree and the fetched sources before the deploy line moves; what
                it raises prevents that.

        Raises:
            CatalogError: nothing was published; the message names the source or the file.
        """
        with self.locked():
            fetched = fetch(self.repository, sources, timeout=timeout)
            tree = compose.compose(self.repository, fetched)
            fixes: list[dict[str, str]] = []
            if fix:
                tree, fixes = fixing.fix_tree(
                    self.repository, tree, self._reports.of(tree)["fixes"]
                )
            looked_at = GitTree(self.repository, tree)
            problems = self._lint(tree, looked_at, judge)
            if approve:
                approve(looked_at, fetched)
            unfixed = self._unfixed(tree) if fix else []
            before = releases.head(self.repository)
            changes = self._changes(before, tree)
            if dry_run:
                changed = before is None or before.tree != tree
                return Published(before, tree, changed, problems, changes, fixes, unfixed)
            release, changed = releases.publish(self.repository, tree, fetched, by=by, fixes=fixes)
            return Published(release, tree, changed, problems, changes, fixes, unfixed)

    def rollback(
        self, number: int, *, dry_run: bool = False, by: str = "", approve: Approve | None = None
    ) -> Published:
        """Publish an older release's tree again, as the next release; arguments as in `publish`.

        Raises:
            ReleaseError: there is no such release.
        """
        with self.locked():
            before = releases.head(self.repository)
            old = releases.find(self.repository, number)
            if approve:
                approve(GitTree(self.repository, old.tree), ())
            changes = self._changes(before, old.tree)
            if dry_run:
                return Published(before, old.tree, bool(changes), [], changes)
            release, changed = releases.rollback(self.repository, number, by=by)
            return Published(release, old.tree, changed, [], changes)

    def _unfixed(self, tree: str) -> list[dict[str, str]]:
        """What a corrected tree still has that could not be corrected; says why."""
        by_git = "the tree's .gitattributes make git change it at checkout"
        return [{**fix, "left": fix["left"] or by_git} for fix in self._reports.of(tree)["fixes"]]

    def newest(self) -> Release:
        """The newest release.

        Raises:
            ReleaseError: nothing was published yet.
        """
        release = releases.head(self.repository) if self.repository.path.exists() else None
        if release is None:
            raise ReleaseError(f"nothing was published yet in {self.folder}")
        return release

    def problems(self, tree: str) -> list[dict[str, Any]]:
        """The lint's findings in a tree, errors among them."""
        found: list[dict[str, Any]] = self._reports.of(tree)["problems"]
        return found

    def changes(self, release: Release) -> list[str]:
        """ "A path", "M path", "D path" of a release against the one before it."""
        try:
            before = releases.at(self.repository, f"{release.commit}^")
        except ReleaseError:
            before = None
        return self._changes(before, release.tree)

    def _changes(self, before: Release | None, tree: str) -> list[str]:
        if before is None:
            return [f"A {entry.path}" for entry in compose.entries(self.repository, tree)]
        if before.tree == tree:
            return []
        raw = self.repository.run(
            "diff-tree", "-r", "-z", "--no-renames", "--name-status", before.tree, tree
        ).decode("utf-8", "surrogateescape")
        fields = raw.split("\0")[:-1]
        return [f"{status} {path}" for status, path in zip(fields[::2], fields[1::2])]

    def _lint(self, tree: str, looked_at: GitTree, judge: Judge | None) -> list[dict[str, Any]]:
        problems = self.problems(tree)
        if judge:
            problems = judge(problems, looked_at)
        if any(problem["severity"] == "error" for problem in problems):
            raise LintError(problems)
        return problems

    @contextmanager
    def publishing(self, *, wait: bool = True) -> Iterator[bool]:
        """A block in which nobody else of this process publishes; yields whether that is so.

        Raises:
            Busy: with `wait`, another one did not end in time.
        """
        seconds = -1 if self._wait is None else self._wait
        mine = (
            self._publishing.acquire(timeout=seconds) if wait else self._publishing.acquire(False)
        )
        if wait and not mine:
            raise Busy(f"another publish has been going on for {seconds:g} s; try again")
        try:
            yield mine
        finally:
            if mine:
                self._publishing.release()

    def ensure(self) -> None:
        """Make the repository if it is not there."""
        if not (self.repository.path / "HEAD").exists():
            with self.locked():
                pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs on this machine out while the deploy line may move.

        Raises:
            Busy: another one did not end in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.folder / "lock", "w") as lock:
            self._take(lock.fileno())
            self.repository.ensure()
            self.repository.tidy()
            yield

    def _take(self, lock: int) -> None:
        if self._wait is None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return
        deadline = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"another publish has been going on for {self._wait:g} s; try again"
                    ) from None
                time.sleep(0.05)
