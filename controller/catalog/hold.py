"""The hold after a rollback: what was rolled back does not come again by itself.

A rollback gives the fleet an older tree, while the sources still have what was rolled back. So
as long as the newest release is a rollback, publishing asks of every source: is it still at a
commit that the rollback took back? If so, `force` must say that this is meant. A source that moved
on (the fault was corrected), or was pinned to the older commit, is published as always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from controller.catalog.releases import Release
from controller.catalog.sources import FetchedSource

# "path url ref commit" of a release's trailers; path and url may hold spaces.
_LINE = re.compile(
    r"(?P<path>.+?) (?P<url>(?:/|[a-z]+://|[^/: ]+:).*) (?P<ref>\S+) (?P<commit>[0-9a-f]{40})"
)


@dataclass(frozen=True)
class PublishedSource:
    """A source as a release's trailer has it; `path` is "" for the root of the tree."""

    path: str
    url: str
    ref: str
    commit: str

    def as_dict(self) -> dict[str, str]:
        """As plain data."""
        return asdict(self)


def published_sources(release: Release) -> list[PublishedSource]:
    """The sources that a release was made of; lines that nobody can read are left out."""
    found = []
    for line in release.sources:
        match = _LINE.fullmatch(line)
        if match:
            path = "" if match["path"] == "." else match["path"]
            found.append(PublishedSource(path, match["url"], match["ref"], match["commit"]))
    return found


def still_withdrawn(line: Sequence[Release], fetched: Sequence[FetchedSource]) -> list[str]:
    """The sources that would bring back what the newest release took back.

    Args:
        line: the releases, newest first.
        fetched: the sources as they are now.

    Returns:
        For each a few words, e.g. "sys is at 0123456789ab"; empty where nothing is held.
    """
    if not line or not line[0].rollback_to:
        return []
    back_to = line[0].rollback_to
    kept = {s.path: s.commit for r in line if r.number == back_to for s in published_sources(r)}
    withdrawn = {
        (source.path, source.commit)
        for release in line[1:]
        if release.number > back_to
        for source in published_sources(release)
        if source.commit != kept.get(source.path)
    }
    return [
        f"{f.source.path or f.source.url.clean} is at {f.commit[:12]}"
        for f in fetched
        if (f.source.path, f.commit) in withdrawn
    ]
