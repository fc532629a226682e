"""A repository of submodules, each pinned by a commit: how the public catalogue of plugins was made.

Read from git's objects, never checked out, and nothing of `.gitmodules` is run (rules: gitmodules(5),
and git-submodule(1) for relative URLs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controller.catalog.compose import Entry, entries
from controller.catalog.errors import SourceError
from controller.catalog.git import GitFailed, Repository
from controller.catalog.urls import parse_source_url, redact

MOST_SUBMODULES = 1000
_FILE = ".gitmodules"
_GITLINK, _REGULAR = "160000", ("100644", "100755")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Submodule:
    """One submodule.

    Attributes:
        path: its folder in the repository.
        url: where it comes from, relative ones resolved; empty where that is not known.
        commit: that it is pinned to; empty where it is not.
        refused: why it cannot be taken; empty if nothing is wrong so far.
    """

    path: str
    url: str = ""
    commit: str = ""
    refused: str = ""


def read_submodules(repository: Repository, commit: str, base: str) -> list[Submodule]:
    """The submodules of a commit, by path: what `.gitmodules` names, and what is pinned.

    Args:
        base: the repository's own URL, without credentials.

    Raises:
        SourceError: there are none, or `.gitmodules` cannot be read.
    """
    files = {entry.path: entry for entry in entries(repository, commit)}
    pins = {path: entry.blob for path, entry in files.items() if entry.mode == _GITLINK}
    urls = _urls(repository, files.get(_FILE), base)
    if not pins and not urls:
        raise SourceError(
            f"{base} holds no submodules: its plugins are its own, so add it by itself"
        )
    if len(pins.keys() | urls.keys()) > MOST_SUBMODULES:
        raise SourceError(f"{base} holds more than {MOST_SUBMODULES} submodules")
    return [
        _submodule(path, urls.get(path), pins.get(path, ""), base)
        for path in sorted(pins.keys() | urls.keys())
    ]


def resolved_url(url: str, base: str) -> str:
    """A submodule's URL as git takes it: `./` and `../` are relative to the repository's own URL.

    Args:
        base: as parse_source_url makes it: a URL, host:path, or an absolute path.

    Raises:
        SourceError: it leads to above the top folder of the repository's server.
    """
    if not url.startswith(("./", "../")):
        return url
    front, path = _split(base)
    parts = [part for part in path.split("/") if part]
    rest = url
    while rest.startswith(("./", "../")):
        up, _, rest = rest.partition("/")
        if up == "..":
            if not parts:
                raise SourceError(f"{redact(url)!r} leads to above the top folder of {base}")
            parts.pop()
    rooted = "/" if path.startswith("/") else ""
    return front + rooted + "/".join([*parts, rest.rstrip("/")])


def _split(base: str) -> tuple[str, str]:
    """A URL's beginning, up to and with its host, and its path."""
    if "://" in base:
        parts = urlsplit(base)
        return f"{parts.scheme}://{parts.netloc}", parts.path
    if base.startswith("/"):
        return "", base
    host, _, path = base.partition(":")
    return f"{host}:", path


def _urls(repository: Repository, file: Entry | None, base: str) -> dict[str, str]:
    """What `.gitmodules` says: path to URL."""
    if file is None:
        return {}
    if file.mode not in _REGULAR or file.size > _MOST_BYTES:
        raise SourceError(f"{base}: its {_FILE} is no file of at most {_MOST_BYTES} bytes")
    try:
        # Without includes: a catalogue may name any file of this machine.
        listing = repository.run("config", "--blob", file.blob, "--no-includes", "-z", "--list")
    except GitFailed as error:
        raise SourceError(f"{base}: its {_FILE} cannot be read: {error.stderr}") from None
    sections: dict[str, dict[str, str]] = {}
    for record in listing.decode("utf-8", "replace").split("\0"):
        key, _, value = record.partition("\n")
        name, _, variable = key.rpartition(".")
        if name.startswith("submodule."):
            sections.setdefault(name, {})[variable] = value
    return {fields["path"]: fields.get("url", "") for fields in _with_path(sections)}


def _with_path(sections: Mapping[str, dict[str, str]]) -> list[dict[str, str]]:
    return [fields for fields in sections.values() if fields.get("path")]


def _submodule(path: str, url: str | None, commit: str, base: str) -> Submodule:
    if not url:
        told = "names no url for it" if url == "" else "does not name it"
        return Submodule(path, "", commit, f"{_FILE} {told}, so nobody knows where it is")
    if not commit:
        return Submodule(path, redact(url), "", "no commit is pinned for it at this ref")
    try:
        resolved = resolved_url(url, base)
        known = parse_source_url(resolved, base=Path("/"))
    except SourceError as error:
        return Submodule(path, redact(url), commit, str(error))
    # Whoever can change the catalogue must not thereby read the controller's own disk (CVE-2022-39253).
    if _is_local(known.clean) and not _is_local(base):
        why = f"{redact(url)!r} is a path of the controller's own machine"
        return Submodule(path, redact(url), commit, why)
    return Submodule(path, resolved, commit)


def _is_local(url: str) -> bool:
    """Whether a URL, as parse_source_url makes it, is of this machine."""
    return url.startswith("/") or url.lower().startswith("file:")
