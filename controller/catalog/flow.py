"""Publishing for a fleet: the deploy line is moved by git, and only then told to the database.

A controller may die between the two, lose its catalog folder, or share its database with another
one that published meanwhile. So before each publish, and when a controller starts, both are brought
together (`Publisher.sync`): what the line has and the table lacks is adopted; what the table
has and the line lacks comes back out of the bundles that are kept with the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from agentplugin.agents import judged
from controller.auth.principal import CONTROLLER, Principal
from controller.auth.vault import Vault
from controller.bindings import fitting
from controller.bindings import service as bindings
from controller.catalog import bundles, releaserows, releases, service
from controller.catalog.errors import CatalogError, ReleaseError
from controller.catalog.git import GitFailed
from controller.catalog.hold import still_withdrawn
from controller.catalog.models import ReleaseRow
from controller.catalog.publish import Catalog, Published
from controller.catalog.releaserows import Made
from controller.catalog.releases import Release
from controller.catalog.sources import FetchedSource
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.errors import Conflict, PlugfleetError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Publisher:
    """Moves a fleet's deploy line; holds no transaction while git works.

    Attributes:
        timeout: seconds that one source's server may take.
    """

    database: Database
    vault: Vault
    catalog: Catalog
    timeout: float

    def publish(
        self, by: Principal, *, dry_run: bool, force: bool, fix: bool = False
    ) -> tuple[Published, Made | None]:
        """Publish the newest state of all sources.

        Args:
            dry_run: only say what would be published.
            fix: correct what can be, in the tree and not in the sources (see controller.catalog.fixing).
            force: publish also what a rollback took back (see controller.catalog.hold).

        Returns:
            What it came to, and the new release for `releaserows.keep`, if there is one.

        Raises:
            Conflict: there is no source; or the line is held and `force` is not given.
            Invalid: a binding names what the tree would not have.
            CatalogError: a source, or what it holds, keeps it from being published.
        """
        by.need_whole_fleet("publishing")
        self.sync()
        with self.database.read() as session:
            sources = service.all_sources(session, self.vault)

        def approve(tree: GitTree, fetched: Sequence[FetchedSource]) -> None:
            if not force:
                _check_hold(releases.history(self.catalog.repository), fetched)
            self._check_bindings(tree)

        published = self.catalog.publish(
            sources,
            timeout=self.timeout,
            dry_run=dry_run,
            by=by.name,
            fix=fix,
            judge=self._judged,
            approve=approve,
        )
        return published, self._made(published, published.problems, dry_run=dry_run)

    def rollback(
        self, by: Principal, number: int, *, dry_run: bool
    ) -> tuple[Published, Made | None]:
        """Publish an older release's tree as the next release; arguments as in `publish`.

        Raises:
            NotFound: there is no such release.
            Invalid: a binding names what that tree does not have.
        """
        by.need_whole_fleet("rolling back")
        self.sync()
        with self.database.read() as session:
            known = releaserows.find(session, number).problems

        def approve(tree: GitTree, _: Sequence[FetchedSource]) -> None:
            self._check_bindings(tree)
            with self.database.read() as session:
                fit = fitting.of_fleet(session)
            found = fit.refused(known or [], tree)
            fitting.need(found, "body.number", f"going back to release {number}")

        published = self.catalog.rollback(number, dry_run=dry_run, by=by.name, approve=approve)
        return published, self._made(published, known, dry_run=dry_run)

    def _judged(self, problems: list[dict[str, Any]], tree: GitTree) -> list[dict[str, Any]]:
        """Findings as they count for the agents that run at this moment."""
        with self.database.read() as session:
            fit = fitting.of_fleet(session)
        return fit.judged(problems, tree)

    def _check_bindings(self, tree: GitTree) -> None:
        """Hold the bindings against a tree as they are now: while sources were fetched, which may take
        minutes, some may have been made or removed."""
        with self.database.read() as session:
            wanted = bindings.by_hostgroup(session)
        bindings.check_all(wanted, tree)

    def lint(
        self, by: Principal, name: str, ref: str, agents: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Fetch one source at a ref and lint it; see `Catalog.lint`.

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

        return self.catalog.lint(source, timeout=self.timeout, judge=judge)

    def newest_tree(self) -> GitTree | None:
        """The tree of the newest release, or None where nothing was published yet."""
        with self.database.read() as session:
            row = releaserows.newest(session)
        return self.tree(row.commit) if row else None

    def tree(self, commit: str) -> GitTree:
        """The tree of a release, which another controller may have published."""
        if not self.catalog.repository.path.exists():
            self.sync()
        try:
            return self.catalog.tree(commit)
        except GitFailed:
            self.sync()
            return self.catalog.tree(commit)

    def bring(self, commit: str) -> None:
        """Have a release in this controller's deploy repository, whichever controller published it.

        What keeps it from being there is only logged: the role plugin_source tells the run.
        """
        try:
            if not self.catalog.repository.path.exists() or not self.catalog.repository.has_commit(
                commit
            ):
                self.sync()
        except (CatalogError, PlugfleetError) as error:
            log.warning("a release could not be brought here", commit=commit, error=str(error))

    def problems(self, row: ReleaseRow) -> list[dict[str, Any]]:
        """What the lint found in a release; call it without a session, as it may lint the tree now.

        Raises:
            CatalogError: it was never linted, and its tree is neither here nor in the database.
        """
        if row.problems is not None:
            return row.problems
        self.tree(row.commit)
        return self.catalog.problems(row.tree)

    def write_bundle(self, number: int, commit: str, have: str, file: Path) -> None:
        """Write the bundle that brings a repository from the release `have`, or none, to another."""
        self.tree(commit)
        bundles.write_bundle(self.catalog.repository, number, commit, have, file)

    def sync_at_start(self) -> None:
        """`sync`, but what keeps it from working is only logged: publishing tells it again."""
        try:
            self.sync()
        except (CatalogError, PlugfleetError) as error:
            log.warning("releases were not brought together", error=str(error))

    def sync(self) -> None:
        """Bring the deploy line and the table of releases together.

        Raises:
            CatalogError: git or a kept bundle does not work.
            Conflict: another controller published in this very moment.
        """
        with self.database.read() as session:
            rows = releaserows.commits(session)
        last = max(rows, default=0)
        with self.catalog.locked():
            head = releases.head(self.catalog.repository)
            if head is None and not rows:
                return
            if head is not None and rows.get(last) == head.commit:
                return
            self._restore(rows)
            made = self._unknown(last)
        with self.database.write() as session:
            for entry in made:
                log.info("adopted a release", number=entry.release.number)
                releaserows.keep(session, CONTROLLER, entry)

    def _restore(self, rows: dict[int, str]) -> None:
        """Bring what only the table has to the deploy line; where they differ, the table is right."""
        repository = self.catalog.repository
        line = releases.history(repository)
        for number in releaserows.missing(rows, line):
            if repository.has_commit(rows[number]):
                continue
            with self.database.read() as session:
                kept = releaserows.bundle(session, number)
            if kept is None:
                raise ReleaseError(
                    f"release {number} ({rows[number][:12]}) is neither in {self.catalog.folder} nor kept "
                    "in the database; restore that folder from a backup"
                )
            with tempfile.NamedTemporaryFile(dir=self.catalog.folder, suffix=".bundle") as file:
                file.write(kept)
                file.flush()
                bundles.take(repository, number, rows[number], Path(file.name))
        last = max(rows, default=0)
        if last and all(release.commit != rows[last] for release in line):
            releases.move_line(repository, rows[last])

    def _unknown(self, last: int) -> list[Made]:
        """What stands on the deploy line after the table's last release, oldest first."""
        made: list[Made] = []
        for release in releases.history(self.catalog.repository):
            if release.number <= last:
                break
            # A lint takes a second or more: a hundred of them would hold up the controller's start.
            made.append(self._read(release, linted=not made))
        return made[::-1]

    def _read(self, release: Release, *, linted: bool = True) -> Made:
        catalog, previous = self.catalog, ""
        if release.number > 1:
            previous = releases.at(catalog.repository, f"{release.commit}^").commit
        return Made(
            release,
            catalog.problems(release.tree) if linted else None,
            catalog.changes(release),
            bundles.bundle(catalog.repository, release.number, release.commit, previous),
        )

    def _made(
        self, published: Published, problems: list[dict[str, Any]] | None, *, dry_run: bool
    ) -> Made | None:
        """The new release; `problems` as they were judged, for the fleet is another one any moment."""
        if dry_run or not published.changed or published.release is None:
            return None
        made = self._read(published.release, linted=problems is None)
        return made if problems is None else replace(made, problems=problems)


def _check_hold(line: Sequence[Release], fetched: Sequence[FetchedSource]) -> None:
    held = still_withdrawn(line, fetched)
    if held:
        raise Conflict(
            f"release {line[0].number} went back to release {line[0].rollback_to}, and "
            f"{', '.join(held)}, which that took back: publishing would undo the rollback",
            hint="correct the source, pin its ref to what is to run, or publish with force",
        )
