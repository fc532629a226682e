"""Holding a release against what is bound, and against the agents that there are, until it has its row.

While git works, somebody may bind what the release before had. So a release's row is made while nobody
can change plans, and only if they are what it was held against; else it is held against them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings import fitting, releasing
from controller.catalog import releaserows, releases
from controller.catalog.errors import CatalogError
from controller.catalog.git import GitFailed
from controller.catalog.publish import Catalog
from controller.catalog.releaserows import Made
from controller.catalog.releases import Release
from controller.catalog.tree import GitTree
from controller.database import counters
from controller.database.engine import Database
from controller.errors import Invalid, Unavailable

log = structlog.get_logger(__name__)

# Times that plans may change while a release is held against them; then they must wait for it.
_FREE_CHECKS = 3
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Approved:
    """A new release that stands on the deploy line and is to get its row.

    Attributes:
        problems: what the lint found in it.
        plans: the counter of plans when it was held against them.
    """

    made: Made
    tree: GitTree
    problems: Sequence[dict[str, Any]]
    plans: int

    @property
    def release(self) -> Release:
        """The release itself."""
        return self.made.release


class _Overtaken(Exception):
    """Plans have changed since a release was held against them."""


@dataclass(frozen=True)
class Approvals:
    """Says which releases fit."""

    database: Database
    vault: Vault
    catalog: Catalog

    def check(self, tree: GitTree, problems: Sequence[dict[str, Any]], rollback_to: int = 0) -> int:
        """Hold a tree against plans as they are now; returns their counter.

        Raises:
            Invalid: something bound would not be there, or an agent would be harmed.
        """
        with self.database.read() as session:
            self._check(session, tree, problems, rollback_to)
            return counters.count(session, counters.PLANS)

    def fitting(self, made: Sequence[Made]) -> list[Made]:
        """Of releases that stand on the line without a row, oldest first, those that may get one.

        A controller that died over it, or lost its database, left them there: no host was given them. The
        caller has locked the catalog.
        """
        left = list(made)
        while left:
            release = left[-1].release
            tree = self.catalog.tree(release.commit)
            try:
                self.check(tree, left[-1].problems or [], release.rollback_to)
            except Invalid as error:
                log.warning("a release is taken back", release=release.number, error=str(error))
                releases.take_back(self.catalog.repository, release)
                left.pop()
            else:
                break
        return left

    def record(
        self, approved: Approved | None, work: Callable[[Session, Made | None], Answer]
    ) -> Answer:
        """Let `work` make the row of a new release, if that still fits.

        Raises:
            Invalid: it does not fit what is bound, or its agents, any more; the deploy line is as before.
        """
        if approved is None:
            with self.database.write() as session:
                return work(session, None)
        try:
            return self._record(approved, work)
        except Unavailable:
            raise  # it may have its row; the next sync knows
        except BaseException:
            self._take_back(approved.release)
            raise

    def _record(self, approved: Approved, work: Callable[[Session, Made | None], Answer]) -> Answer:
        tree, problems = approved.tree, approved.problems
        for _ in range(_FREE_CHECKS):
            try:
                with self.database.write() as session:
                    counters.lock(session, counters.PLANS)
                    if counters.count(session, counters.PLANS) != approved.plans:
                        raise _Overtaken
                    return work(session, approved.made)
            except _Overtaken:
                plans = self.check(tree, problems, approved.release.rollback_to)
                approved = replace(approved, plans=plans)
        with self.database.write() as session:
            counters.lock(session, counters.PLANS)
            self._check(session, tree, problems, approved.release.rollback_to)
            return work(session, approved.made)

    def _take_back(self, release: Release) -> None:
        """Let the deploy line end before a release that got no row, and that no host has therefore."""
        try:
            with self.catalog.locked():
                releases.take_back(self.catalog.repository, release)
        except CatalogError as error:
            log.warning("a release stays on the line", release=release.number, error=str(error))

    def _check(
        self,
        session: Session,
        tree: GitTree,
        problems: Sequence[dict[str, Any]],
        rollback_to: int,
    ) -> None:
        bound = releasing.in_use(session, self.vault)
        releasing.check_all(session, self.vault, bound, tree, self._newest(session))
        found = fitting.of_fleet(session).refused(problems, tree)
        what = f"going back to release {rollback_to}" if rollback_to else "this release"
        fitting.need(found, "body.number" if rollback_to else "sources", what)

    def _newest(self, session: Session) -> GitTree | None:
        newest = releaserows.newest(session)
        try:
            return self.catalog.tree(newest.commit) if newest else None
        except GitFailed:
            return None  # another controller published it at this moment
