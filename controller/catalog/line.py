"""The deploy line and the table of releases: brought together, whichever of them was ahead.

A release is a commit on the line and a row. A controller may die between the two, another controller may
have published, and a folder may be lost: what the line has and the table lacks is adopted, what the table
has and the line lacks comes back out of the bundles that are kept with the rows.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from controller.auth.principal import CONTROLLER, Principal
from controller.auth.vault import Vault
from controller.bindings import releasing
from controller.bindings.configs import manifests_of
from controller.catalog import bundles, releaserows, releases
from controller.catalog.approval import Approvals
from controller.catalog.errors import CatalogError, ReleaseError
from controller.catalog.git import GitFailed
from controller.catalog.models import ReleaseRow
from controller.catalog.publish import Catalog
from controller.catalog.releaserows import Made
from controller.catalog.releases import Release
from controller.catalog.tree import GitTree
from controller.database.engine import Database
from controller.errors import PlugfleetError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DeployLine:
    """A controller's deploy line; holds no transaction while git works."""

    database: Database
    vault: Vault
    catalog: Catalog

    def keep(self, session: Session, by: Principal, made: Made) -> ReleaseRow:
        """Make the row of a release, and seal what its manifests call a password.

        Raises:
            Conflict: another controller published a release of that number.
        """
        row = releaserows.keep(session, by, made)
        releasing.move_passwords(session, by, self.vault, manifests_of(self.tree(row.commit)))
        return row

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

        What somebody is publishing here at this moment is left to them: it may have to be taken back.

        Raises:
            CatalogError: git or a kept bundle does not work.
            Conflict: another controller published in this very moment.
        """
        with self.catalog.publishing(wait=False) as nobody_else:
            self.follow(adopt=nobody_else)

    def follow(self, *, adopt: bool) -> None:
        """`sync`, for whoever has the turn to publish, or knows that somebody else has it.

        Args:
            adopt: make rows of what stands on the line without one.
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
            made = self._unknown(last) if adopt else []
            if rows:
                made = Approvals(self.database, self.vault, self.catalog).fitting(made)
        with self.database.write() as session:
            for entry in made:
                log.info("adopted a release", number=entry.release.number)
                self.keep(session, CONTROLLER, entry)

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
            made.append(self.read(release, linted=not made))
        return made[::-1]

    def read(self, release: Release, *, linted: bool = True) -> Made:
        """What a release's row is made of; without `linted` its findings are left open."""
        catalog, previous = self.catalog, ""
        if release.number > 1:
            previous = releases.at(catalog.repository, f"{release.commit}^").commit
        return Made(
            release,
            catalog.problems(release.tree) if linted else None,
            catalog.changes(release),
            bundles.bundle(catalog.repository, release.number, release.commit, previous),
        )
