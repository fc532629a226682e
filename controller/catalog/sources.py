"""Sources: where plugins come from, and fetching each one exactly once for a deployment."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.catalog.errors import SourceError
from controller.catalog.git import ASKPASS, GitFailed, Repository
from controller.catalog.urls import SourceUrl, check_ref, parse_source_url

_KEYS = {"path", "url", "ref", "subdir"}
_COMMIT = re.compile(r"^[0-9a-f]{40}$")


@dataclass(frozen=True)
class Source:
    """A git repository with plugins, mounted at a path of the plugin tree.

    Attributes:
        path: the mount point, e.g. "sys"; "" is the root of the tree.
        url: the repository.
        ref: branch, tag or full commit.
        subdir: the folder of the repository that is mounted; "" is all of it.
    """

    path: str
    url: SourceUrl
    ref: str = "HEAD"
    subdir: str = ""

    @property
    def tracking_ref(self) -> str:
        """The ref in the deploy repository that keeps what was last fetched for this source."""
        identity = "\0".join((self.url.clean, self.ref))
        return "refs/sources/" + hashlib.sha256(identity.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class FetchedSource:
    """A source together with the commit that was fetched for it."""

    source: Source
    commit: str


def parse_sources(items: Any, *, base: Path) -> list[Source]:
    """Read a `plugin_sources` list.

    Args:
        items: a list of `{path, url, ref, subdir}`; only `url` is required.
        base: folder that relative paths are resolved against.

    Raises:
        SourceError: names the entry and the field.
    """
    if not isinstance(items, list) or not items:
        raise SourceError(
            "plugin_sources must be a list with at least one {path, url, ref}; "
            f"it is {'an empty list' if items == [] else kind(items)}"
        )
    sources = [_parse_source(item, number, base) for number, item in enumerate(items)]
    seen: dict[str, int] = {}
    for number, source in enumerate(sources):
        if source.path in seen:
            raise SourceError(
                f"plugin_sources[{number}] and plugin_sources[{seen[source.path]}] are both "
                f"mounted at {source.path or 'the root'!r}; give each its own path"
            )
        seen[source.path] = number
    return sources


def kind(value: Any) -> str:
    """What a value from YAML is, in YAML's words."""
    for types, word in (
        ((str,), "a text"),
        ((bool,), "true or false"),
        ((Mapping,), "a mapping"),
        ((list, tuple), "a list"),
        ((int, float), "a number"),
    ):
        if isinstance(value, types):
            return word
    return "nothing" if value is None else type(value).__name__


def _parse_source(item: Any, number: int, base: Path) -> Source:
    where = f"plugin_sources[{number}]"
    if not isinstance(item, Mapping):
        raise SourceError(
            f"{where} must be a mapping with url, path and ref, not {kind(item)}; "
            "write `- url: ...`"
        )
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        raise SourceError(f"{where} has unknown keys {unknown}; known are {sorted(_KEYS)}")
    for key, value in item.items():
        if not isinstance(value, str):
            raise SourceError(f"{where}.{key} must be a text, not {kind(value)}; quote it")
    if "url" not in item:
        raise SourceError(f"{where} has no url")
    try:
        return Source(
            path=tree_path(item.get("path", "")),
            url=parse_source_url(item["url"], base=base),
            ref=check_ref(item.get("ref") or "HEAD"),
            subdir=tree_path(item.get("subdir", "")),
        )
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from None


def tree_path(path: str) -> str:
    """Normalise a path inside the tree; "" and "." are its root.

    Raises:
        SourceError: it leads out of the tree, or git could take it for something else.
    """
    clean = posixpath.normpath(path.strip("/")) if path.strip("/") else ""
    if clean == ".":
        return ""
    parts = clean.split("/")
    if ".." in parts or any(p.lower() == ".git" or p.startswith("-") for p in parts):
        raise SourceError(f"path {path!r} must stay inside the plugin tree, without .. or .git")
    if not all(c.isprintable() for c in clean):
        raise SourceError(f"path {path!r} holds control characters")
    return clean


def fetch(
    repository: Repository, sources: Iterable[Source], *, timeout: float
) -> list[FetchedSource]:
    """Fetch every source into the deploy repository, one connection for each.

    A commit that is already there costs no connection; the same URL and ref mounted twice costs
    one.

    Args:
        timeout: seconds that one source's server may take.

    Raises:
        SourceError: a server, URL or ref did not answer with a commit.
    """
    commits: dict[str, str] = {}
    fetched = []
    for source in sources:
        ref = source.tracking_ref
        if ref not in commits:
            commits[ref] = fetch_one(repository, source, ref, timeout=timeout)
        fetched.append(FetchedSource(source, commits[ref]))
    return fetched


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
        repository.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-gc",
            "--",
            source.url.clean,
            f"+{source.ref}:{ref}",
            env=env,
            isolated=False,
            timeout=timeout,
        )
        return repository.text("rev-parse", "--verify", f"{ref}^{{commit}}")
    except GitFailed as error:
        reason = error.stderr
        if source.url.password:
            reason = reason.replace(source.url.password, "***")
        raise SourceError(
            f"source {source.url.clean} at {source.ref!r} could not be fetched: {reason}"
            f"{_what_to_do(reason)}"
        ) from None


def _what_to_do(reason: str) -> str:
    """What helps against the commonest of git's complaints."""
    if "could not read Username" in reason:
        return "; it asks for a user and a password: give the source credentials"
    if re.search(r"returned error: 30[12378]\b", reason):
        return "; it redirects, which is not followed: give the address that it redirects to"
    return ""
