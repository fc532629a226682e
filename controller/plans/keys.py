"""What bindings come to in a release: the keys that an agent's `/plugins` shows, set by set.

One binding is resolved once, however many hosts have it; agentplugin.plans stays the only place that
knows what a binding runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from agentplugin.plans import Tree, resolve
from controller.plans.facts import Group


class _Listed(NamedTuple):
    """What is listed for bindings, and the scripts that are bound by themselves, by their path."""

    keys: frozenset[str]
    alone: frozenset[str]


class Keys:
    """The keys that the hostgroups of one set of facts come to in one tree.

    Args:
        tree: None where nothing was published yet; then the bindings' own texts are the keys.
    """

    def __init__(self, tree: Tree | None) -> None:
        self._tree = tree
        self._of_plugin = lru_cache(maxsize=None)(self._resolve)
        self._of_group: dict[int, _Listed] = {}

    def of(self, groups: Iterable[Group]) -> frozenset[str]:
        """The keys of a host that is in these hostgroups."""
        listed = [self._group(group) for group in groups]
        keys = frozenset().union(*[part.keys for part in listed])
        # A script that is bound by itself is not run again by the directory that it stands in.
        return keys.difference(*[part.alone for part in listed])

    def _group(self, group: Group) -> _Listed:
        known = self._of_group.get(group.id)
        if known is None:
            parts = [self._of_plugin(bound.plugin) for bound in group.bindings]
            known = self._of_group[group.id] = _Listed(
                frozenset().union(*[part.keys for part in parts]),
                frozenset().union(*[part.alone for part in parts]),
            )
        return known

    def _resolve(self, plugin: str) -> _Listed:
        if self._tree is None:
            return _Listed(frozenset([plugin]), frozenset())
        found = resolve([plugin], self._tree)
        listed = {script.key for script in found.scripts} | {m.key for m in found.manifests}
        alone = {script.path for script in found.scripts if script.key != script.path}
        return _Listed(frozenset(listed), frozenset(alone))


def problems(bindings: Sequence[Any], tree: Tree) -> list[str]:
    """What keeps bindings from working in a tree, one sentence each."""
    found = resolve(bindings, tree).problems
    return [f"{p.message} [{p.code}]" for p in found if p.severity == "error"]
