"""Static bindings: `plugin_bindings` of the inventory, keyed by hostgroup.

Groups are flat, as in Open-Falcon's hbs (cache/plugins.go): what a host runs is the union over all
of its groups, with no inheritance and no exclusion.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from agentplugin.plans import Resolution, Tree, resolve
from controller.catalog.sources import kind


class BindingsError(Exception):
    """`plugin_bindings` is malformed or binds what the release does not hold."""


def parse_bindings(value: Any) -> dict[str, list[Any]]:
    """Check the form of `plugin_bindings`: hostgroup -> list of bindings.

    Raises:
        BindingsError: names the hostgroup.
    """
    if not isinstance(value, Mapping):
        raise BindingsError(
            f"plugin_bindings must map hostgroups to lists of bindings, not {kind(value)}"
        )
    for group, bindings in value.items():
        if not isinstance(group, str) or not isinstance(bindings, list):
            raise BindingsError(
                f"plugin_bindings[{group!r}] must be a list such as [sys/ntp], not {kind(bindings)}"
            )
    return {group: list(bindings) for group, bindings in value.items()}


def check_hostgroups(bindings: Mapping[str, list[Any]], known: Iterable[str]) -> None:
    """Hold the hostgroups of the bindings against those that there are.

    Raises:
        BindingsError: one does not exist. Its hosts would be left without these plugins in silence.
    """
    names = sorted(known)
    errors = []
    for group in sorted(set(bindings) - set(names)):
        close = difflib.get_close_matches(group, names, 1)
        errors.append(f"{group!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    if errors:
        raise BindingsError(
            "plugin_bindings names hostgroups that the inventory does not have; no host was "
            f"touched: {', '.join(errors)}"
        )


def check_bindings(bindings: Mapping[str, list[Any]], tree: Tree) -> list[str]:
    """Hold every hostgroup's bindings against a release's tree.

    Returns:
        Warnings, one line each.

    Raises:
        BindingsError: something bound does not exist or cannot run; every such binding is named.
    """
    errors, warnings = [], []
    for group in sorted(bindings):
        for problem in resolve(bindings[group], tree).problems:
            line = f"hostgroup {group!r}: {problem.message} [{problem.code}]"
            if problem.severity == "error":
                errors.append(f"{line}; {problem.hint}" if problem.hint else line)
            elif problem.severity == "warning":
                warnings.append(line)
    if errors:
        raise BindingsError(
            "plugin_bindings cannot be deployed; no host was touched:\n" + "\n".join(errors)
        )
    return warnings


def bindings_of(groups: Iterable[str], bindings: Mapping[str, list[Any]]) -> list[Any]:
    """The union of the bindings of a host's groups: sorted texts, then manifest configurations."""
    texts: set[str] = set()
    configured: dict[str, Any] = {}
    for group in groups:
        for binding in bindings.get(group, []):
            if isinstance(binding, str):
                texts.add(binding)
            else:
                configured[json.dumps(binding, sort_keys=True)] = binding
    return sorted(texts) + [configured[key] for key in sorted(configured)]


def listed_keys(resolution: Resolution) -> list[str]:
    """The keys that an agent's `/plugins` shows when it runs what was resolved."""
    scripts = [script.key for script in resolution.scripts]
    return scripts + [manifest.key for manifest in resolution.manifests]
