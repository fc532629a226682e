"""What bindings come to in a release: the keys that an agent's `/plugins` shows, set by set.

One binding is resolved once, however many hosts have it; agentplugin.plans stays the only place that
knows what a binding runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from agentplugin.plans import Tree, resolve
from controller.auth.vault import Vault
from controller.bindings.configs import check_form, manifests_of
from controller.bindings.merging import entry
from controller.bindings.sealing import plain
from controller.bindings.static import listed_keys, problems_of
from controller.fleet.models import AgentKind
from controller.plans.facts import Bound, Group
from controller.plans.service import Plan


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
            parts = [
                self._of_plugin(bound.plugin, bound.format, _args(bound))
                for bound in group.bindings
            ]
            known = self._of_group[group.id] = _Listed(
                frozenset().union(*[part.keys for part in parts]),
                frozenset().union(*[part.alone for part in parts]),
            )
        return known

    def _resolve(self, plugin: str, format: str, args: tuple[str, ...]) -> _Listed:
        if self._tree is None:
            return _Listed(frozenset([plugin]), frozenset())
        config = {"args": list(args)} if format else None
        found = resolve([entry(plugin, config, format, 1 if format else 0)], self._tree)
        listed = {script.key for script in found.scripts} | {m.key for m in found.manifests}
        alone = {script.path for script in found.scripts if script.key != script.path}
        return _Listed(frozenset(listed), frozenset(alone))


def _args(bound: Bound) -> tuple[str, ...]:
    return tuple((bound.config or {}).get("args", ())) if bound.format else ()


def problems(vault: Vault, bindings: Sequence[Bound], tree: Tree) -> list[str]:
    """What keeps the bindings of one hostgroup from working in a tree, one sentence each.

    What only lacks a value is none: an override may bring that.
    """
    forms = [bound.form(vault) for bound in bindings]
    found = resolve([plain(form.entry) for form in forms], tree).problems
    told = [f"{p.message} [{p.code}]" for p in found if p.severity == "error"]
    for form in forms:
        findings = check_form(manifests_of(tree), form)
        told += [f"{form.key}: {f}" for f in findings if f.is_error and not f.is_gap]
    return told


def in_release(plan: Plan, tree: Tree | None) -> tuple[list[str], list[str]]:
    """What a host's agent must list when it has its plan, and what keeps the plan from working.

    Args:
        tree: of the newest release; without one nothing can be said but what contradicts itself.
    """
    merged = [plugin.merged for plugin in plan.plugins]
    told = problems_of(merged, manifests_of(tree))
    if tree is None:
        return [], told
    found = resolve([plain(plugin.binding) for plugin in merged], tree)
    told += [f"{p.message} [{p.code}]" for p in found.problems if p.severity == "error"]
    if plan.agent_kind == AgentKind.FALCON.value:
        told += [
            f"{manifest.key} needs the executor: an Open-Falcon agent runs step scripts alone "
            "[binding-needs-executor]"
            for manifest in found.manifests
        ]
    return listed_keys(found), told
