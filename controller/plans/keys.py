"""What bindings come to in a release: the keys that an agent's `/plugins` shows, set by set.

One binding is resolved once, however many hosts have it; agentplugin.plans stays the only place that
knows what a binding runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from agentplugin.plans import Tree, resolve


class Keys:
    """The keys that bindings come to in one tree; without a tree the bindings' own texts."""

    def __init__(self, tree: Tree | None) -> None:
        self._tree = tree
        self._of = lru_cache(maxsize=None)(self._resolve)

    def of(self, plugins: Iterable[str]) -> frozenset[str]:
        """The keys of a host that has these plugins bound."""
        keys: set[str] = set()
        alone: set[str] = set()
        for plugin in plugins:
            listed, by_themselves = self._of(plugin)
            keys |= listed
            alone |= by_themselves
        # A script that is bound by itself is not run again by the directory that it stands in.
        return frozenset(keys - alone)

    def _resolve(self, plugin: str) -> tuple[frozenset[str], frozenset[str]]:
        if self._tree is None:
            return frozenset([plugin]), frozenset()
        found = resolve([plugin], self._tree)
        listed = {script.key for script in found.scripts} | {m.key for m in found.manifests}
        alone = {script.path for script in found.scripts if script.key != script.path}
        return frozenset(listed), frozenset(alone)


def problems(bindings: Sequence[Any], tree: Tree) -> list[str]:
    """What keeps bindings from working in a tree, one sentence each."""
    found = resolve(bindings, tree).problems
    return [f"{p.message} [{p.code}]" for p in found if p.severity == "error"]
