"""Releases as git bundles: how a deploy line reaches another control node (git-bundle(1)).

A release is kept under a ref of its own, so that no release that was handed out is ever lost, and
because a bundle can only carry refs. Its content is proven by the commit's own name.
"""

from __future__ import annotations

from pathlib import Path

from controller.catalog.errors import ReleaseError
from controller.catalog.git import GitFailed, Repository
from controller.catalog.releases import release_ref


def keep(repository: Repository, number: int, commit: str) -> None:
    """Keep a release's commit under its own ref."""
    repository.run("update-ref", release_ref(number), commit)


def bundle(repository: Repository, number: int, commit: str, have: str = "") -> bytes:
    """A bundle that brings a repository with the commit `have`, or none, to a release.

    Raises:
        CatalogError: one of the commits is not in the repository.
    """
    return repository.run(
        "bundle", "create", "--quiet", "-", *_wanted(repository, number, commit, have)
    )


def write_bundle(repository: Repository, number: int, commit: str, have: str, file: Path) -> None:
    """Write what `bundle` returns to a file instead of holding it in memory."""
    repository.run(
        "bundle", "create", "--quiet", str(file), *_wanted(repository, number, commit, have)
    )


def _wanted(repository: Repository, number: int, commit: str, have: str) -> list[str]:
    keep(repository, number, commit)
    # git makes no bundle without an object: who has it all gets a full one.
    return [release_ref(number), *([f"^{have}"] if have and have != commit else [])]


def newest_kept(repository: Repository) -> str:
    """The commit of the newest release that was kept here, or ""."""
    kept = repository.text(
        "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/releases/"
    )
    numbered = [line.split() for line in kept.splitlines()]
    return max(((int(number), commit) for number, commit in numbered), default=(0, ""))[1]


def take(repository: Repository, number: int, commit: str, file: Path) -> None:
    """Bring a bundle's release into a repository.

    Raises:
        ReleaseError: the bundle holds another commit, is broken, or needs what is not there.
    """
    ref = release_ref(number)
    try:
        repository.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc",
            str(file), f"+{ref}:{ref}",
        )  # fmt: skip
        found = repository.text("rev-parse", "--verify", f"{ref}^{{commit}}")
    except GitFailed as error:
        raise ReleaseError(
            f"the bundle of release {number} cannot be taken: {error.stderr}"
        ) from None
    if found != commit:
        repository.run("update-ref", "-d", ref)
        raise ReleaseError(f"the bundle of release {number} holds commit {found}, not {commit}")
