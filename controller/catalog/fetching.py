"""Fetching sources into the deploy repository: each exactly once for a deployment, a few at a time."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from controller.catalog.errors import SourceError
from controller.catalog.git import ASKPASS, GitFailed, Repository
from controller.catalog.sources import FetchedSource, Source

# More would finish sooner, but git servers begin to turn connections away.
_AT_ONCE = 8
_MOST_NAMED = 5
# What git says, on either side, of a commit that is on no branch, or that may not be asked for.
_REFUSED = (
    "unadvertised object",
    "not our ref",
    "couldn't find remote ref",
    "no such remote ref",
    "did not send all necessary objects",
)
_COMMIT = re.compile(r"^[0-9a-f]{40}$")


def fetch(
    repository: Repository, sources: Iterable[Source], *, timeout: float
) -> list[FetchedSource]:
    """Fetch every source into the deploy repository, one connection for each, a few at a time.

    A commit that is already there costs no connection; the same URL and ref mounted twice costs
    one.

    Args:
        timeout: seconds that one source's server may take.

    Raises:
        SourceError: a server, URL or ref did not answer with a commit; names up to five.
    """
    wanted = list(sources)
    came = try_each(repository, wanted, timeout=timeout)
    failed = list(dict.fromkeys(str(e) for e in came.values() if isinstance(e, SourceError)))
    if failed:
        more = f"; and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
        raise SourceError("; ".join(failed[:_MOST_NAMED]) + more)
    return [FetchedSource(source, str(came[source.tracking_ref])) for source in wanted]


def try_each(
    repository: Repository,
    sources: Iterable[Source],
    *,
    timeout: float,
    ref_of: Callable[[Source], str] = lambda source: source.tracking_ref,
) -> dict[str, str | SourceError]:
    """What came of fetching each source: its commit, or what was wrong, by its tracking ref.

    Args:
        ref_of: names the ref that keeps a source's commit.
    """

    def one(source: Source) -> str | SourceError:
        try:
            return fetch_one(repository, source, ref_of(source), timeout=timeout)
        except SourceError as error:
            return error

    by_ref: dict[str, Source] = {}
    for source in sources:
        by_ref.setdefault(source.tracking_ref, source)
    if len(by_ref) < 2:
        return {ref: one(source) for ref, source in by_ref.items()}
    with ThreadPoolExecutor(min(_AT_ONCE, len(by_ref)), "fetch") as pool:
        return dict(zip(by_ref, pool.map(one, by_ref.values())))


def fetch_one(repository: Repository, source: Source, ref: str, *, timeout: float) -> str:
    """Fetch one source, keep its commit under a ref of the deploy repository, and return it.

    Raises:
        SourceError: its server, URL or ref did not answer with a commit.
    """
    if _COMMIT.match(source.ref) and repository.has_commit(source.ref):
        return source.ref
    # A redirect could lead a fetch to a machine that nobody named, and askpass would answer it.
    settings = {"http.followRedirects": "false"}
    env = {}
    if source.url.username or source.url.password:
        env = {
            "GIT_ASKPASS": str(ASKPASS),
            "PLUGFLEET_GIT_USERNAME": source.url.username,
            "PLUGFLEET_GIT_PASSWORD": source.url.password,
        }
        # A credential helper of the user's would store what it is given: only askpass answers.
        settings["credential.helper"] = ""
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        try:
            _fetch_refs(repository, source, [f"+{source.ref}:{ref}"], env, timeout)
        except GitFailed as error:
            if not (_COMMIT.match(source.ref) and _is_refusal(error)):
                raise
            _fetch_commit(repository, source, ref, env, timeout)
        return repository.text("rev-parse", "--verify", f"{ref}^{{commit}}")
    except GitFailed as error:
        reason = error.stderr
        if source.url.password:
            reason = reason.replace(source.url.password, "***")
        raise SourceError(
            f"source {source.url.clean} at {source.ref!r} could not be fetched: {reason}"
            f"{_what_to_do(reason)}"
        ) from None


def _fetch_refs(
    repository: Repository,
    source: Source,
    refs: Sequence[str],
    env: Mapping[str, str],
    timeout: float,
) -> None:
    repository.run(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-gc",
        "--",
        source.url.clean,
        *refs,
        env=env,
        isolated=False,
        timeout=timeout,
    )


def _fetch_commit(
    repository: Repository, source: Source, ref: str, env: Mapping[str, str], timeout: float
) -> None:
    """Fetch a commit from a server that answers to names only: with all branches and tags.

    Raises:
        SourceError: it is on none of them.
    """
    scratch = f"refs/fetched/{uuid.uuid4().hex}"
    names = [f"+refs/{kind}/*:{scratch}/{kind}/*" for kind in ("heads", "tags")]
    try:
        _fetch_refs(repository, source, names, env, timeout)
        if not repository.has_commit(source.ref):
            raise SourceError(
                f"source {source.url.clean} has no commit {source.ref} on any branch or tag; "
                "was its history rewritten? Give a ref that it has"
            )
        repository.run("update-ref", ref, source.ref)
    finally:
        with suppress(GitFailed):
            remove_refs(repository, scratch)


def remove_refs(repository: Repository, below: str) -> None:
    """Remove every ref whose name begins with a folder's; what they kept stays in the repository."""
    made = repository.text("for-each-ref", "--format=delete %(refname)", below)
    repository.run("update-ref", "--stdin", data=f"{made}\n".encode() if made else b"")


def _is_refusal(error: GitFailed) -> bool:
    """Whether the server, which was reached, does not give a commit that it was asked for by name."""
    return any(sign in error.stderr for sign in _REFUSED)


def _what_to_do(reason: str) -> str:
    """What helps against the commonest of git's complaints."""
    if "could not read Username" in reason:
        return "; it asks for a user and a password: give the source credentials"
    if re.search(r"returned error: 30[12378]\b", reason):
        return "; it redirects, which is not followed: give the address that it redirects to"
    return ""
