"""Composing the plugin tree out of its sources, as a git tree object: no work tree is involved."""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.catalog.errors import ComposeError
from controller.catalog.git import GitFailed, Repository
from controller.catalog.sources import FetchedSource

_TREE = re.compile(r"([0-9a-f]{40}) tree \d+")
_SUBMODULE, _SYMLINK = "160000", "120000"
_MAX_LINK_DEPTH = 40  # Linux follows no more (ELOOP, path_resolution(7))
_LEAVES = (
    "leads out of the plugin tree: on a host the agent would follow it. "
    "Put the file itself into the tree"
)


@dataclass(frozen=True)
class Entry:
    """A file of a tree.

    Attributes:
        mode: git's file mode: "100644", "100755", "120000" (symlink), "160000" (submodule).
        blob: its object name.
        size: bytes; 0 for a submodule.
        path: its path in the tree.
    """

    mode: str
    blob: str
    size: int
    path: str


def compose(repository: Repository, sources: Sequence[FetchedSource]) -> str:
    """Mount every source at its path and return the tree's object name.

    Raises:
        ComposeError: a mount point is taken, a subdir is missing, or the tree holds what must
            not reach a host.
    """
    trees = list(zip(_subtrees(repository, sources), sources))
    if len(trees) == 1 and not trees[0][1].source.path:
        tree = trees[0][0]
    elif _are_apart([fetched.source.path for fetched in sources]):
        tree = _joined(repository, {fetched.source.path: tree for tree, fetched in trees})
    else:
        tree = _merge(repository, trees)
    check_entries(repository, list(entries(repository, tree)))
    return tree


def _subtrees(repository: Repository, sources: Sequence[FetchedSource]) -> list[str]:
    """The tree of each source that is mounted, found by one git however many they are."""
    names = "".join(f"{fetched.commit}:{fetched.source.subdir}\n" for fetched in sources)
    answers = repository.run("cat-file", "--batch-check", data=names.encode()).decode().split("\n")
    trees = []
    for answer, fetched in zip(answers[:-1], sources):
        found = _TREE.fullmatch(answer)
        if not found:
            source = fetched.source
            raise ComposeError(
                f"source {source.url.clean} at {source.ref!r} has no folder {source.subdir!r}"
            )
        trees.append(found[1])
    return trees


def _are_apart(mounts: Sequence[str]) -> bool:
    """Whether no source is mounted at or within another's mount point: then nothing can clash."""
    taken = set(mounts)
    return len(taken) == len(mounts) and not any(
        above in taken for mount in mounts if mount for above in (*parents(mount), "")
    )


def _joined(repository: Repository, trees: Mapping[str, str]) -> str:
    """The tree with each tree at its path, which no other is within; a git for each level of folders."""
    empty = repository.run("mktree", data=b"").decode().strip()
    made = {path: tree for path, tree in trees.items() if tree != empty}
    for depth in range(max((path.count("/") for path in made), default=0), -1, -1):
        inside: dict[str, list[str]] = {}
        for path in [path for path in made if path.count("/") == depth]:
            folder, _, name = path.rpartition("/")
            inside.setdefault(folder, []).append(f"040000 tree {made.pop(path)}\t{name}\0")
        # An empty entry stands between folders: `--batch` makes a tree of each.
        data = "\0".join("".join(entries) for entries in inside.values())
        output = repository.run("mktree", "-z", "--batch", data=data.encode())
        made |= dict(zip(inside, output.decode().split()))
    return made.get("", empty)


def _merge(repository: Repository, trees: Sequence[tuple[str, FetchedSource]]) -> str:
    _check_mounts(repository, trees)
    with tempfile.TemporaryDirectory(prefix="plugfleet-compose-") as scratch:
        # git wants a work tree to mount into an index, and writes nothing there.
        env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": scratch}
        repository.run("read-tree", "--empty", env=env)
        for tree, fetched in trees:
            path = fetched.source.path
            mount = f"--prefix={path}/" if path else "--prefix="
            repository.run("read-tree", "-i", mount, tree, env=env)
        return repository.text("write-tree", env=env)


def _check_mounts(repository: Repository, trees: Sequence[tuple[str, FetchedSource]]) -> None:
    """Refuse two sources with the same file, or a file where the other has a folder.

    Folders of several sources are merged; git itself would drop a file for a folder in silence.
    """
    files: dict[str, FetchedSource] = {}
    folders: dict[str, FetchedSource] = {}
    for tree, fetched in trees:
        prefix = f"{fetched.source.path}/" if fetched.source.path else ""
        paths = [prefix + entry.path for entry in entries(repository, tree)]
        for path in paths:
            taken = next((p for p in (path, *parents(path)) if p in files), None)
            other = files[taken] if taken else folders.get(path)
            if other is not None:
                raise ComposeError(
                    f"sources {other.source.url.clean} and {fetched.source.url.clean} both have "
                    f"{taken or path!r} in the plugin tree; mount one of them at another path"
                )
        files |= dict.fromkeys(paths, fetched)
        folders |= {parent: fetched for path in paths for parent in parents(path)}


def entries(repository: Repository, tree: str) -> Iterator[Entry]:
    """List every file of a tree, in git's order."""
    listing = repository.run("ls-tree", "-r", "-z", "--long", "--full-tree", tree)
    for record in listing.split(b"\0")[:-1]:
        head, _, name = record.partition(b"\t")
        mode, _, blob, size = head.decode("ascii").split()
        yield Entry(
            mode, blob, 0 if size == "-" else int(size), name.decode("utf-8", "surrogateescape")
        )


def check_entries(repository: Repository, files: Sequence[Entry]) -> None:
    """Refuse what git would carry to every host but must not.

    Raises:
        ComposeError: a submodule (its files would be missing), a symlink that leaves the tree
            (an agent follows it), or a path that a terminal or shell would mangle.
    """
    for entry in files:
        if entry.mode == _SUBMODULE:
            raise ComposeError(
                f"{entry.path!r} is a git submodule: a clone leaves its folder empty. "
                "Add that repository as a source of its own, mounted at this path"
            )
        if not all(c.isprintable() for c in entry.path):
            raise ComposeError(f"the name {entry.path!r} is not printable UTF-8; rename the file")
    links = symlinks(repository, files)
    known = {entry.path for entry in files}
    known |= {parent for path in known for parent in parents(path)}
    for path in links:
        _check_link(path, links, known)


def symlinks(repository: Repository, files: Sequence[Entry]) -> dict[str, str]:
    """The symlinks among a tree's files: path to target."""
    links = [entry for entry in files if entry.mode == _SYMLINK]
    targets = blobs(repository, {entry.blob for entry in links})
    return {entry.path: targets[entry.blob].decode("utf-8", "surrogateescape") for entry in links}


def blobs(repository: Repository, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of blobs by their object names, read by one git however many they are.

    Raises:
        GitFailed: one is not in the repository.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    output = repository.run("cat-file", "--batch", data="\n".join([*wanted, ""]).encode())
    contents, at = {}, 0
    for name in wanted:
        end = output.index(b"\n", at)
        _, _, size = output[at:end].partition(b" blob ")
        if not size:
            raise GitFailed("cat-file", 0, f"{name} is no file of the repository")
        at = end + 1 + int(size)
        contents[name] = output[end + 1 : at]
        at += 1
    return contents


def parents(path: str) -> Iterator[str]:
    """Every folder above a path of the tree, without the tree itself."""
    while path := posixpath.dirname(path):
        yield path


def _check_link(path: str, links: dict[str, str], known: set[str]) -> None:
    try:
        resolved = follow(path, links)
    except LookupError as error:
        raise ComposeError(f"the symlink {path!r} {error.args[0]}") from None
    if resolved and resolved not in known:
        raise ComposeError(
            f"the symlink {path!r} points at {links[path]!r}, which is not in the plugin tree"
        )


def follow(path: str, links: dict[str, str]) -> str:
    """Resolve a path inside a tree through its symlinks; "" is the tree itself.

    Args:
        links: the tree's symlinks, path to target.

    Raises:
        LookupError: it leaves the tree or goes round in a circle; the argument says so.
    """
    pending = path.split("/")
    resolved: list[str] = []
    followed = 0
    while pending:
        part = pending.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not resolved:
                raise LookupError(_LEAVES)
            resolved.pop()
            continue
        resolved.append(part)
        target = links.get("/".join(resolved))
        if target is None:
            continue
        followed += 1
        if followed > _MAX_LINK_DEPTH:
            raise LookupError("goes round in a circle")
        if target.startswith("/"):
            raise LookupError(_LEAVES)
        resolved.pop()
        pending = target.split("/") + pending
    return "/".join(resolved)


def export(repository: Repository, tree: str, folder: Path) -> None:
    """Write a tree to a folder the way a host's git would, attributes of the tree included."""
    with tempfile.TemporaryDirectory(prefix="plugfleet-index-") as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder)}
        repository.run("read-tree", tree, env=env)
        repository.run("checkout-index", "--all", "--force", "--quiet", env=env)
