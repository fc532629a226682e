"""Sources: where plugins come from, and how a list of them is read."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.catalog.errors import SourceError
from controller.catalog.urls import SourceUrl, check_ref, parse_source_url

_KEYS = {"path", "url", "ref", "subdir"}


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
