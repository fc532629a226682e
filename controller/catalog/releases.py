"""The deploy line: every release is a commit whose parent is the release before it.

So the line only moves forward, a rollback is a new release with an old tree, and the `git pull`
of an unmodified Open-Falcon agent always fast-forwards (tried with a real agent: install, newer,
back to older, three times `success`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from controller.catalog.errors import ReleaseError
from controller.catalog.git import GitFailed, Repository
from controller.catalog.sources import FetchedSource

DEPLOY_BRANCH = "deploy"
_DEPLOY_REF = f"refs/heads/{DEPLOY_BRANCH}"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "plugfleet",
    "GIT_AUTHOR_EMAIL": "plugfleet@localhost",
    "GIT_COMMITTER_NAME": "plugfleet",
    "GIT_COMMITTER_EMAIL": "plugfleet@localhost",
}
_TRAILER = re.compile(r"^Plugin-(Release|Source|Fix|Rollback-To|By): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """One published state of the whole plugin tree.

    Attributes:
        number: 1 for the first release of a deploy line, then one more for each.
        commit: its commit on the deploy line.
        tree: the tree's object name; equal trees are equal plugin trees.
        sources: "path url ref commit" of each source, as in the commit's trailers.
        created: seconds since the epoch.
        rollback_to: number of the release whose tree this one has again, or 0.
        by: who asked for it.
        fixes: "fix path" of each file that publishing corrected, as in the commit's trailers.
    """

    number: int
    commit: str
    tree: str
    sources: tuple[str, ...] = ()
    created: int = 0
    rollback_to: int = 0
    by: str = field(default="", compare=False)
    fixes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The release as plain data."""
        return asdict(self) | {"sources": list(self.sources), "fixes": list(self.fixes)}


def published_fixes(release: Release) -> list[dict[str, str]]:
    """What was corrected in a release's files: `{"path", "fix"}` each."""
    split = (line.partition(" ") for line in release.fixes)
    return [{"path": path, "fix": name} for name, _, path in split]


def release_ref(number: int) -> str:
    """The ref that keeps a release's commit, whatever becomes of the deploy line."""
    return f"refs/releases/{number}"


def head(repository: Repository) -> Release | None:
    """The newest release, or None where nothing was published yet."""
    newest = history(repository, limit=1)
    return newest[0] if newest else None


def at(repository: Repository, commit: str) -> Release:
    """The release that a commit is.

    Raises:
        ReleaseError: it is not in the repository, or is none.
    """
    try:
        return history(repository, limit=1, start=commit)[0]
    except (GitFailed, IndexError):
        raise ReleaseError(f"commit {commit} is not in {repository.path}") from None


def move_line(repository: Repository, commit: str) -> None:
    """Let the deploy line end at another release; where it ended before is kept under a ref."""
    before = head(repository)
    if before:
        repository.run("update-ref", f"refs/displaced/{before.commit}", before.commit)
    repository.run("update-ref", _DEPLOY_REF, commit)


def take_back(repository: Repository, release: Release) -> None:
    """Let the deploy line end before its last release, which nobody was given; does nothing to another."""
    last = head(repository)
    if last is None or last.commit != release.commit:
        return
    if release.number == 1:
        repository.run("update-ref", "-d", _DEPLOY_REF, release.commit)
    else:
        repository.run("update-ref", _DEPLOY_REF, f"{release.commit}^", release.commit)
    repository.run("update-ref", "-d", release_ref(release.number))


def history(repository: Repository, *, limit: int = 0, start: str = _DEPLOY_REF) -> list[Release]:
    """Releases up to `start`, newest first; `limit` 0 means all."""
    try:
        raw = repository.run(
            "log",
            "--first-parent",
            "-z",
            "--format=%H%n%T%n%ct%n%B",
            *([f"--max-count={limit}"] if limit else []),
            start,
            "--",
        )
    except GitFailed as error:
        if "bad revision" in error.stderr or "does not have any commits" in error.stderr:
            return []
        raise
    return [_parse(record) for record in raw.decode("utf-8", "replace").split("\0") if record]


def _parse(record: str) -> Release:
    commit, tree, created, message = record.split("\n", 3)
    trailers: dict[str, list[str]] = {}
    for name, value in _TRAILER.findall(message):
        trailers.setdefault(name, []).append(value)
    try:
        number = int(trailers["Release"][0])
        rollback_to = int(trailers.get("Rollback-To", ["0"])[0])
    except (KeyError, ValueError):
        raise ReleaseError(
            f"commit {commit} on the deploy line is not a release (no Plugin-Release trailer): "
            "somebody else wrote to this repository; use a folder of plugfleet's own"
        ) from None
    return Release(
        number=number,
        commit=commit,
        tree=tree,
        sources=tuple(trailers.get("Source", [])),
        created=int(created),
        rollback_to=rollback_to,
        by=" ".join(trailers.get("By", [""])),
        fixes=tuple(trailers.get("Fix", [])),
    )


def find(repository: Repository, number: int) -> Release:
    """The release of a number.

    Raises:
        ReleaseError: there is none.
    """
    releases = history(repository)
    for release in releases:
        if release.number == number:
            return release
    newest = releases[0].number if releases else 0
    raise ReleaseError(f"there is no release {number}; the newest is {newest}")


def publish(
    repository: Repository,
    tree: str,
    sources: Sequence[FetchedSource],
    *,
    by: str = "",
    fixes: Sequence[Mapping[str, str]] = (),
) -> tuple[Release, bool]:
    """Make a tree the newest release.

    Args:
        fixes: what was corrected in it: `{"path", "fix"}` each.

    Returns:
        The release, and whether it is a new one: a tree that is already the newest release's
        publishes nothing.
    """
    lines = tuple(
        f"{f.source.path or '.'} {f.source.url.clean} {f.source.ref} {f.commit}" for f in sources
    )
    fixed = tuple(f"{fix['fix']} {fix['path']}" for fix in fixes)
    return _advance(repository, tree, lines, fixed, by=by)


def rollback(repository: Repository, number: int, *, by: str = "") -> tuple[Release, bool]:
    """Publish the tree of an older release as the newest one.

    Raises:
        ReleaseError: there is no such release.
    """
    old = find(repository, number)
    return _advance(repository, old.tree, old.sources, old.fixes, by=by, rollback_to=number)


def _advance(
    repository: Repository,
    tree: str,
    sources: tuple[str, ...],
    fixes: tuple[str, ...],
    *,
    by: str,
    rollback_to: int = 0,
) -> tuple[Release, bool]:
    previous = head(repository)
    if previous and previous.tree == tree:
        return previous, False
    number = previous.number + 1 if previous else 1
    title = f"Release {number}" + (f": back to release {rollback_to}" if rollback_to else "")
    trailers = [f"Plugin-Release: {number}"]
    trailers += [f"Plugin-Source: {line}" for line in sources]
    trailers += [f"Plugin-Fix: {line}" for line in fixes]
    if rollback_to:
        trailers.append(f"Plugin-Rollback-To: {rollback_to}")
    who = " ".join(by.split())
    if who:
        trailers.append(f"Plugin-By: {who}")
    # A clock that went back must not make a release older than its parent: agents' git and
    # people sort by this date.
    created = max(int(time.time()), previous.created if previous else 0)
    date = f"{created} +0000"
    commit = (
        repository.run(
            "commit-tree",
            tree,
            *(["-p", previous.commit] if previous else []),
            data=(title + "\n\n" + "\n".join(trailers) + "\n").encode(),
            env={**_IDENTITY, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        .decode()
        .strip()
    )
    try:
        repository.run("update-ref", _DEPLOY_REF, commit, previous.commit if previous else "0" * 40)
    except GitFailed as error:
        raise ReleaseError(
            f"the deploy line moved while release {number} was made; run again ({error.stderr})"
        ) from None
    return Release(number, commit, tree, sources, created, rollback_to, who, fixes), True
