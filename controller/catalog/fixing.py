"""Correcting files of a composed tree before it is published; sources stay as they are.

What is corrected is agentplugin.fixes'. The same tree comes to the same corrected tree, so that
publishing it again makes no new release.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from agentplugin.fixes import EXECUTE_BIT, corrected
from controller.catalog import compose
from controller.catalog.git import Repository

_EXECUTABLE = "100755"


def fix_tree(
    repository: Repository, tree: str, found: Iterable[Mapping[str, Any]]
) -> tuple[str, list[dict[str, str]]]:
    """Make the corrections that a lint of the tree found.

    Args:
        found: the report's `fixes`; those that cannot be done are left.

    Returns:
        The corrected tree, and what was corrected: `{"path", "fix"}` each.
    """
    wanted: dict[str, list[str]] = {}
    for fix in found:
        if not fix["left"]:
            wanted.setdefault(fix["path"], []).append(fix["fix"])
    lines, made = [], []
    for entry in compose.entries(repository, tree):
        names = wanted.get(entry.path)
        if names is None:
            continue
        before = repository.run("cat-file", "blob", entry.blob)
        after = corrected(before, names)
        mode = _EXECUTABLE if EXECUTE_BIT in names else entry.mode
        blob = entry.blob
        if after != before:
            blob = repository.run("hash-object", "-w", "--stdin", data=after).decode().strip()
        if (mode, blob) == (entry.mode, entry.blob):
            # The tree's own attributes put the CR there at checkout.
            continue
        lines.append(f"{mode} {blob}\t{entry.path}\0".encode("utf-8", "surrogateescape"))
        made += [{"path": entry.path, "fix": name} for name in names]
    return (_with(repository, tree, b"".join(lines)) if lines else tree), made


def _with(repository: Repository, tree: str, lines: bytes) -> str:
    with tempfile.TemporaryDirectory(prefix="plugfleet-fix-") as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": scratch}
        repository.run("read-tree", tree, env=env)
        repository.run("update-index", "-z", "--index-info", data=lines, env=env)
        return repository.text("write-tree", env=env)
