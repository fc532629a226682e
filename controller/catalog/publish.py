"""From sources to a release: fetch, compose, lint, publish, in one locked step on one machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import agentplugin
from agentplugin.lint import lint_tree
from controller.catalog import compose, releases
from controller.catalog.errors import Busy, LintError, ReleaseError
from controller.catalog.git import GitFailed, Repository
from controller.catalog.releases import Release
from controller.catalog.sources import FetchedSource, Source, fetch, fetch_one
from controller.catalog.tree import GitTree

_LINTS_AT_ONCE = 4
_MOST_REPORTS = 100  # of the lint that are kept: of trees that are looked at again and again
_PARTIAL_FOR = 3600.0  # seconds after which a report that is being written was given up
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
        wait: seconds to wait for another run that works on the deploy line; None is for ever.
    """

    def __init__(self, folder: Path, *, wait: float | None = None) -> None:
        self.folder = folder
        self.repository = Repository(folder / "deploy.git")
        self._wait = wait
        self._lints = threading.BoundedSemaphore(_LINTS_AT_ONCE)
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
        approve: Approve | None = None,
    ) -> Published:
        """Fetch, compose and lint the sources, and publish them as the next release.

        Args:
            timeout: seconds one source's server may take.
            dry_run: stop before the deploy line moves.
            by: who asks for it.
            approve: called with the tree and the fetched sources before the deploy line moves; what
                it raises prevents that.

        Raises:
            CatalogError: nothing was published; the message names the source or the file.
        """
        with self.locked():
            fetched = fetch(self.repository, sources, timeout=timeout)
            tree = compose.compose(self.repository, fetched)
            problems = self._lint(tree)
            if approve:
                approve(GitTree(self.repository, tree), fetched)
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

    def lint(self, source: Source, *, timeout: float) -> dict[str, Any]:
        """Fetch one source and lint what it brings to the plugin tree; publishes nothing.

        Takes no lock: publishing does not wait for a source that somebody only wants linted.

        Args:
            timeout: seconds the source's server may take.

        Returns:
            `commit`, `plugins` and `problems`, the latter two as the lint prints them.

        Raises:
            Busy: as many are being linted as may be at a time; a server that hangs holds up no more.
            CatalogError: it cannot be fetched, or holds what no tree may.
        """
        if not self._lints.acquire(blocking=False):
            raise Busy(f"{_LINTS_AT_ONCE} sources are being linted at this moment; try again")
        try:
            return self._lint_source(source, timeout)
        finally:
            self._lints.release()

    def _lint_source(self, source: Source, timeout: float) -> dict[str, Any]:
        if not (self.repository.path / "HEAD").exists():
            with self.locked():
                pass
        ref = f"refs/lint/{uuid.uuid4().hex}"
        try:
            commit = fetch_one(self.repository, source, ref, timeout=timeout)
            tree = compose.compose(self.repository, [FetchedSource(source, commit)])
            return {"commit": commit, **self._report(tree)}
        finally:
            with suppress(GitFailed):
                self.repository.run("update-ref", "-d", ref)

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
        found: list[dict[str, Any]] = self._report(tree)["problems"]
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
        return [f"{status} {path}" for status, path in zip(fields[::2], fields[1::2], strict=True)]

    def _lint(self, tree: str) -> list[dict[str, Any]]:
        problems = self.problems(tree)
        if any(problem["severity"] == "error" for problem in problems):
            raise LintError(problems)
        return problems

    def _report(self, tree: str) -> dict[str, Any]:
        """Lint a tree; the report on a tree already seen comes from a file."""
        kept = self.folder / "lint" / f"{tree}{_report_suffix()}"
        try:
            report: dict[str, Any] = json.loads(kept.read_text())
        except (OSError, ValueError):
            with tempfile.TemporaryDirectory(prefix="plugfleet-lint-") as scratch:
                compose.export(self.repository, tree, Path(scratch))
                report = lint_tree(scratch).as_dict()
            kept.parent.mkdir(exist_ok=True)
            partial = kept.with_suffix(f".{uuid.uuid4().hex}.tmp")
            partial.write_text(json.dumps(report))
            partial.replace(kept)
            self._forget_reports(kept.parent)
        return report

    @staticmethod
    def _forget_reports(folder: Path) -> None:
        """Remove reports of older rules, of runs that were killed, and all but the newest of the others.

        Releases keep their findings in their rows; these only save the time of linting a tree twice.
        """
        dated = []
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # another controller's process tidies up too
                dated.append((file.stat().st_mtime, file))
        current = [
            file for _, file in sorted(dated, reverse=True) if file.name.endswith(_report_suffix())
        ]
        wanted = set(current[:_MOST_REPORTS])
        late = time.time() - _PARTIAL_FOR
        for written, file in dated:
            if file not in wanted and (file.suffix != ".tmp" or written < late):
                file.unlink(missing_ok=True)

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


@lru_cache(maxsize=1)
def _report_suffix() -> str:
    """How names of reports end: with a digest of the lint's own source, so that findings of older
    rules are not used again.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(agentplugin.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return f"-{digest.hexdigest()[:16]}.report.json"
