"""What a release offers: its plugin directories and manifest plugins, read from git once per release.

What a binding runs stays agentplugin.plans' to say; which folders count as plugins is the lint's rule:
nothing below a manifest plugin's folder is a plugin of its own.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentplugin import names
from agentplugin.manifest import ManifestError, parse
from agentplugin.plans import MANIFEST_NAME, resolve
from controller.catalog import compose
from controller.catalog.compose import Entry
from controller.catalog.errors import CatalogError
from controller.catalog.git import Repository
from controller.catalog.tree import GitTree

MANIFEST, SCRIPTS = "manifest", "scripts"
MOST_MANIFEST = 1 << 20
"""Bytes of a plugin.json or metrics.json that is read; public ones have up to 20,000."""

_MOST_AT_ONCE = 16 << 20  # bytes that git is asked for at a time
_MOST_TEXT = 2000  # characters of a description
_MOST_TAGS = 50
_MOST_RELEASES = 3  # that are kept
_DEEPEST = 40


@dataclass(frozen=True)
class Script:
    """A step script: its file's name, and its step in seconds."""

    name: str
    step: int


@dataclass(frozen=True)
class Offered:
    """One plugin of a release.

    Attributes:
        path: what a binding names; "." is the tree itself.
        kind: MANIFEST or SCRIPTS.
        title: a manifest's `name`; empty where it has none.
        scripts: of a plugin directory, by name.
        source: `{"path", "url", "ref", "commit"}` of the source that it came from, if that is known.
    """

    path: str
    kind: str
    title: str = ""
    description: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()
    source: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def fits(self, text: str) -> bool:
        """Whether a text stands in one of its texts; upper and lower case are the same."""
        places = (self.path, self.title, self.description, *self.tags)
        return any(text.lower() in place.lower() for place in places)


class Offers:
    """What the last few releases that somebody asked for offer, by path."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, Offered]] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self,
        commit: str,
        tree: GitTree,
        repository: Repository,
        sources: Sequence[Mapping[str, str]],
    ) -> Mapping[str, Offered]:
        """What a release offers, read once however many ask for it at a time.

        Args:
            sources: as the release's row has them.
        """
        with self._lock:
            if commit not in self._kept:
                found = _read(tree)
                origins = _Origins(repository, sources)
                for path, offered in found.items():
                    found[path] = replace(offered, source=origins.of(offered))
                self._kept[commit] = found
                while len(self._kept) > _MOST_RELEASES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(commit)
            return self._kept[commit]


def storable(value: Any, depth: int = 0) -> Any:
    """A value from a manifest as JSON can carry it: no half of a Unicode pair, no NaN, not too deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable(part, depth + 1) for part in value]
    return value


def nearest(path: str, folders: Collection[str]) -> str | None:
    """The innermost of some folders that a path is, or is in."""
    for place in (path, *compose.parents(path), "."):
        if place in folders:
            return place
    return None


def _read(tree: GitTree) -> dict[str, Offered]:
    manifests: set[str] = set()
    with_steps: set[str] = set()
    for path in tree.files():
        folder, _, name = path.rpartition("/")
        if name == MANIFEST_NAME:
            manifests.add(folder or ".")
        elif names.parse_step(name) is not None:
            with_steps.add(folder or ".")
    outermost = {folder for folder in manifests if _above(folder, manifests) is None}
    found = {offered.path: offered for offered in _manifests(tree, sorted(outermost))}
    for folder in with_steps:
        if nearest(folder, outermost) is None:
            scripts = resolve([folder], tree).scripts
            if scripts:
                listed = tuple(Script(s.path.rpartition("/")[2], s.step) for s in scripts)
                found[folder] = Offered(folder, SCRIPTS, scripts=listed)
    return found


def _above(folder: str, folders: Collection[str]) -> str | None:
    return None if folder == "." else nearest(folder.rpartition("/")[0] or ".", folders)


def _manifests(tree: GitTree, folders: Sequence[str]) -> Iterator[Offered]:
    """Manifest plugins; of one that cannot be read only its path is known, the lint says the rest."""
    files: dict[str, Entry] = {}
    for folder in folders:
        file = tree.file(MANIFEST_NAME if folder == "." else f"{folder}/{MANIFEST_NAME}")
        if file is not None and file.size <= MOST_MANIFEST:
            files[folder] = file
    for part in _portions(files):
        contents = tree.read_all(part.values())
        for folder, file in part.items():
            yield _manifest(folder, contents[file.blob])
    yield from (Offered(folder, MANIFEST) for folder in folders if folder not in files)


def _portions(files: Mapping[str, Entry]) -> Iterator[dict[str, Entry]]:
    part: dict[str, Entry] = {}
    size = 0
    for folder, file in files.items():
        if part and size + file.size > _MOST_AT_ONCE:
            yield part
            part, size = {}, 0
        part[folder] = file
        size += file.size
    if part:
        yield part


def _manifest(folder: str, content: bytes) -> Offered:
    try:
        manifest = parse(content)
    except ManifestError:
        return Offered(folder, MANIFEST)
    return Offered(
        folder,
        MANIFEST,
        title=storable(manifest.name)[:_MOST_TEXT],
        description=storable(manifest.description)[:_MOST_TEXT],
        version=storable(manifest.version)[:_MOST_TEXT],
        tags=tuple(storable(tag)[:_MOST_TEXT] for tag in manifest.tags[:_MOST_TAGS]),
    )


class _Origins:
    """Tells which source a plugin came from.

    That is the one that is mounted nearest above it. Where folders of several sources are merged, it
    is the nearest that has the plugin's file, as far as their commits are here.
    """

    def __init__(self, repository: Repository, sources: Sequence[Mapping[str, str]]) -> None:
        self._repository = repository
        self._by_path = {source["path"]: source for source in sources}
        self._files: dict[str, frozenset[str]] = {}

    def of(self, offered: Offered) -> Mapping[str, str] | None:
        """The source of a plugin, or None where none is known."""
        folder = "" if offered.path == "." else offered.path
        mounts = [
            mount for mount in (folder, *compose.parents(folder), "") if mount in self._by_path
        ]
        candidates = [self._by_path[mount] for mount in dict.fromkeys(mounts)]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        name = offered.scripts[0].name if offered.scripts else MANIFEST_NAME
        file = f"{folder}/{name}" if folder else name
        for source in candidates:
            inside = file[len(source["path"]) + 1 :] if source["path"] else file
            if self._has(source["commit"], inside):
                return source
        return candidates[0]

    def _has(self, commit: str, file: str) -> bool:
        """Whether a source has a file, at its top or in the folder of it that was mounted."""
        if commit not in self._files:
            try:
                paths = [entry.path for entry in compose.entries(self._repository, commit)]
            except CatalogError:  # fetched by another controller, and not here
                paths = []
            # With a folder's files also by their paths in it, however deep it lies.
            self._files[commit] = frozenset(
                "/".join(parts[start:])
                for parts in (path.split("/") for path in paths)
                for start in range(len(parts))
            )
        return file in self._files[commit]
