"""Releases as rows: what the deploy line's commits came to, and which of them is the newest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.catalog.hold import published_sources
from controller.catalog.models import ReleaseBundle, ReleaseRow
from controller.catalog.releases import Release, published_fixes
from controller.database import counters
from controller.errors import Conflict, NotFound
from controller.fleet.models import Host


@dataclass(frozen=True)
class Made:
    """A release that stands on the deploy line, and all that its row keeps.

    Attributes:
        problems: the lint's findings, or None where they are found out when somebody asks.
        changes: "A path", "M path", "D path" against the release before.
        bundle: its objects, as a git bundle on top of the release before.
    """

    release: Release
    problems: list[dict[str, Any]] | None
    changes: list[str]
    bundle: bytes


def find(session: Session, number: int) -> ReleaseRow:
    """A release by its number.

    Raises:
        NotFound: there is none.
    """
    row = session.get(ReleaseRow, number)
    if row is None:
        last = newest(session)
        known = f"the newest is {last.number}" if last else "nothing was published yet"
        raise NotFound(f"there is no release {number}; {known}")
    return row


def newest(session: Session) -> ReleaseRow | None:
    """The newest release, or None where nothing was published yet."""
    return session.scalar(select(ReleaseRow).order_by(ReleaseRow.number.desc()).limit(1))


def commits(session: Session) -> dict[int, str]:
    """The commit of every release, by number from the first to the newest."""
    rows = session.execute(select(ReleaseRow.number, ReleaseRow.commit).order_by(ReleaseRow.number))
    return {number: commit for number, commit in rows}


def bundle(session: Session, number: int) -> bytes | None:
    """The bundle that is kept of a release."""
    return session.scalar(select(ReleaseBundle.bundle).where(ReleaseBundle.number == number))


def keep(session: Session, by: Principal, made: Made) -> ReleaseRow:
    """Make the row of a release; the one that is there already is left as it is.

    Raises:
        Conflict: another controller published a release of that number.
    """
    release = made.release
    # First, as every change of a host does: in another order two of them could wait for each other.
    counters.lock(session, counters.PLANS)
    row = session.get(ReleaseRow, release.number)
    if row is None:
        row = ReleaseRow(
            number=release.number,
            commit=release.commit,
            tree=release.tree,
            sources=[source.as_dict() for source in published_sources(release)],
            problems=made.problems,
            fixes=published_fixes(release),
            changes=made.changes,
            rollback_to=release.rollback_to or None,
            by=release.by[:200],
            created=datetime.fromtimestamp(release.created, UTC),
        )
        session.add(row)
        _flush(session, release)
        session.add(ReleaseBundle(number=release.number, bundle=made.bundle))
        session.execute(update(Host).values(wanted_release=release.number))
        counters.advance(session, counters.PLANS)
        action = "release.rollback" if release.rollback_to else "release.publish"
        record(session, by, action, "release", str(release.number), None, describe(row))
    if row.commit != release.commit:
        raise _taken(release)
    return row


def describe(row: ReleaseRow) -> dict[str, object]:
    """A release as the audit log keeps it."""
    return {
        "commit": row.commit,
        "sources": row.sources,
        "rollback_to": row.rollback_to,
        "changes": len(row.changes),
        "fixes": row.fixes,
        "by": row.by,
    }


def _flush(session: Session, release: Release) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise _taken(release) from None


def _taken(release: Release) -> Conflict:
    return Conflict(
        f"another controller published release {release.number} at the same moment",
        hint="look at what it published, then publish again",
    )


def missing(rows: dict[int, str], line: Sequence[Release]) -> list[int]:
    """The numbers of the releases that a deploy line lacks, or has with another commit."""
    there = {release.number: release.commit for release in line}
    return [number for number, commit in rows.items() if there.get(number) != commit]
