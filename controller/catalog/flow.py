"""Publishing for a fleet: the deploy line is moved by git, and only then told to the database.

Before each publish both are brought together; see controller.catalog.line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.orm import Session

from agentplugin.agents import judged
from controller.auth.principal import Principal
from controller.bindings import fitting, releasing
from controller.bindings.configs import manifests_of
from controller.catalog import releaserows, releases, service
from controller.catalog.approval import Answer, Approvals, Approved
from controller.catalog.hold import still_withdrawn
from controller.catalog.line import DeployLine
from controller.catalog.publish import Published
from controller.catalog.releaserows import Made
from controller.catalog.releases import Release
from controller.catalog.sources import FetchedSource
from controller.catalog.tree import GitTree
from controller.errors import Conflict

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Publisher(DeployLine):
    """Moves a fleet's deploy line; holds no transaction while git works.

    Attributes:
        timeout: seconds that one source's server may take.
    """

    timeout: float

    @property
    def _approvals(self) -> Approvals:
        return Approvals(self.database, self.vault, self.catalog)

    def publish(
        self, by: Principal, *, dry_run: bool, force: bool, fix: bool = False
    ) -> tuple[Published, Approved | None]:
        """Publish the newest state of all sources; call it, and `record`, within `turn`.

        Args:
            dry_run: only say what would be published.
            fix: correct what can be, in the tree and not in the sources (see controller.catalog.fixing).
            force: publish also what a rollback took back (see controller.catalog.hold).

        Returns:
            What it came to, and the new release for `record`, if there is one.

        Raises:
            Conflict: there is no source; or the line is held and `force` is not given.
            Invalid: a binding names what the tree would not have.
            CatalogError: a source, or what it holds, keeps it from being published.
        """
        by.need_whole_fleet("publishing")
        self.follow(adopt=True)
        with self.database.read() as session:
            sources = service.all_sources(session, self.vault)

        def approve(tree: GitTree, fetched: Sequence[FetchedSource]) -> None:
            if not force:
                _check_hold(releases.history(self.catalog.repository), fetched)
            plans.append(self._approvals.check(tree, found))

        found: list[dict[str, Any]] = []
        plans: list[int] = []

        def judge(problems: list[dict[str, Any]], tree: GitTree) -> list[dict[str, Any]]:
            found.extend(problems)
            return self._judged(problems, tree)

        published = self.catalog.publish(
            sources,
            timeout=self.timeout,
            dry_run=dry_run,
            by=by.name,
            fix=fix,
            judge=judge,
            approve=approve,
        )
        made = self._made(published, published.problems, dry_run=dry_run)
        return published, self._approved(made, found, plans)

    def rollback(
        self, by: Principal, number: int, *, dry_run: bool
    ) -> tuple[Published, Approved | None]:
        """Publish an older release's tree as the next release; all else as in `publish`.

        Raises:
            NotFound: there is no such release.
            Invalid: a binding names what that tree does not have.
        """
        by.need_whole_fleet("rolling back")
        self.follow(adopt=True)
        with self.database.read() as session:
            row = releaserows.find(session, number)
        known = self.problems(row)  # an adopted release may never have been linted
        plans: list[int] = []

        def approve(tree: GitTree, _: Sequence[FetchedSource]) -> None:
            plans.append(self._approvals.check(tree, known, number))

        published = self.catalog.rollback(number, dry_run=dry_run, by=by.name, approve=approve)
        made = self._made(published, known, dry_run=dry_run)
        return published, self._approved(made, known, plans)

    def record(
        self, approved: Approved | None, work: Callable[[Session, Made | None], Answer]
    ) -> Answer:
        """Let `work` make the row of a new release; see `Approvals.record`."""
        return self._approvals.record(approved, work)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A block in which nobody else on this controller publishes, or adopts what is being published.

        Raises:
            Busy: another publish did not end in time.
        """
        with self.catalog.publishing():
            yield

    def _approved(
        self, made: Made | None, problems: Sequence[dict[str, Any]], plans: Sequence[int]
    ) -> Approved | None:
        if made is None:
            return None
        tree = self.catalog.tree(made.release.commit)
        with self.database.read() as session:
            bound = releasing.in_use(session, self.vault)
        releasing.look_at(bound, manifests_of(tree))  # for `keep`, which must not wait for git
        return Approved(made, tree, problems, plans[-1])

    def _judged(self, problems: list[dict[str, Any]], tree: GitTree) -> list[dict[str, Any]]:
        """Findings as they count for the agents that run at this moment."""
        with self.database.read() as session:
            fit = fitting.of_fleet(session)
        return fit.judged(problems, tree)

    def lint(
        self, by: Principal, name: str, ref: str, agents: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Fetch one source at a ref and lint it; see `Looks.lint`.

        Args:
            agents: versions that findings are judged for; None is those of the fleet, where what
                the source brings is bound.

        Raises:
            NotFound: there is no such source.
            CatalogError: it cannot be fetched, or holds what no tree may.
        """
        by.need_whole_fleet("a source")
        with self.database.read() as session:
            source = service.as_source(self.vault, service.find(session, name), ref)

        def judge(problems: list[dict[str, Any]], tree: GitTree) -> list[dict[str, Any]]:
            return self._judged(problems, tree) if agents is None else judged(problems, agents)

        return self.catalog.looks.lint(source, timeout=self.timeout, judge=judge)

    def _made(
        self, published: Published, problems: list[dict[str, Any]] | None, *, dry_run: bool
    ) -> Made | None:
        """The new release; `problems` as they were judged, for the fleet is another one any moment."""
        if dry_run or not published.changed or published.release is None:
            return None
        made = self.read(published.release, linted=problems is None)
        return made if problems is None else replace(made, problems=problems)


def _check_hold(line: Sequence[Release], fetched: Sequence[FetchedSource]) -> None:
    held = still_withdrawn(line, fetched)
    if held:
        raise Conflict(
            f"release {line[0].number} went back to release {line[0].rollback_to}, and "
            f"{', '.join(held)}, which that took back: publishing would undo the rollback",
            hint="correct the source, pin its ref to what is to run, or publish with force",
        )
