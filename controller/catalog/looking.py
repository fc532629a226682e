"""Looking at sources without publishing anything: linting one, reading its submodules, fetching many."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from controller.catalog import compose
from controller.catalog.errors import Busy, SourceError
from controller.catalog.fetching import fetch_one, remove_refs, try_each
from controller.catalog.git import GitFailed, Repository
from controller.catalog.lintreports import Reports
from controller.catalog.sources import FetchedSource, Source
from controller.catalog.submodules import Submodule, read_submodules
from controller.catalog.tree import GitTree

_AT_ONCE = 4
Judge = Callable[[list[dict[str, Any]], GitTree], list[dict[str, Any]]]


class Looks:
    """Fetches sources under refs that are gone afterwards; a few callers at a time.

    Args:
        ensure: makes the repository if it is not there.
    """

    def __init__(
        self, repository: Repository, reports: Reports, ensure: Callable[[], None]
    ) -> None:
        self._repository = repository
        self._reports = reports
        self._ensure = ensure
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def lint(self, source: Source, *, timeout: float, judge: Judge | None = None) -> dict[str, Any]:
        """Fetch one source and lint what it brings to the plugin tree; publishes nothing.

        Takes no lock: publishing does not wait for a source that somebody only wants linted.

        Args:
            timeout: seconds the source's server may take.
            judge: as in `Catalog.publish`.

        Returns:
            `commit`, `plugins`, `problems` and `fixes`, the latter three as the lint prints them.

        Raises:
            Busy: as many are being looked at as may be at a time; a server that hangs holds up no more.
            CatalogError: it cannot be fetched, or holds what no tree may.
        """
        with self._looking_in(source, timeout) as commit:
            tree = compose.compose(self._repository, [FetchedSource(source, commit)])
            report = self._reports.of(tree)
            if judge:
                report["problems"] = judge(report["problems"], GitTree(self._repository, tree))
            return {"commit": commit, **report}

    def submodules(self, source: Source, *, timeout: float) -> list[Submodule]:
        """The submodules that a repository pins at its ref; nothing is checked out, nothing published.

        Raises:
            Busy: as `lint`.
            CatalogError: it cannot be fetched, or has none.
        """
        with self._looking_in(source, timeout) as commit:
            return read_submodules(self._repository, commit, source.url.clean)

    def unfetchable(self, sources: Sequence[Source], *, timeout: float) -> dict[str, str]:
        """Fetch sources, and say what is wrong with those that do not answer with a commit.

        What came stays, so that the next publish need not fetch a pinned commit again.

        Args:
            timeout: seconds that one source's server may take.

        Returns:
            The reason by the source's path.

        Raises:
            Busy: as `lint`.
        """
        with self._turn(), self._scratch_refs() as scratch:
            came = try_each(
                self._repository,
                sources,
                timeout=timeout,
                ref_of=lambda source: source.tracking_ref.replace("refs", scratch, 1),
            )
        wrong = {ref: str(e) for ref, e in came.items() if isinstance(e, SourceError)}
        return {s.path: wrong[s.tracking_ref] for s in sources if s.tracking_ref in wrong}

    @contextmanager
    def _looking_in(self, source: Source, timeout: float) -> Iterator[str]:
        """A source's commit, in the repository until the block ends."""
        with self._turn(), self._scratch_refs() as scratch:
            yield fetch_one(self._repository, source, f"{scratch}/source", timeout=timeout)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(blocking=False):
            raise Busy(f"{_AT_ONCE} sources are being looked at at this moment; try again")
        try:
            self._ensure()
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _scratch_refs(self) -> Iterator[str]:
        """The start of names of refs that are gone when the block ends."""
        scratch = f"refs/lint/{uuid.uuid4().hex}"
        try:
            yield scratch
        finally:
            with suppress(GitFailed):
                remove_refs(self._repository, scratch)
