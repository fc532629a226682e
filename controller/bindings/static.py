"""Static bindings: `plugin_bindings` of the inventory, keyed by hostgroup.

Groups are flat, as in Open-Falcon's hbs (cache/plugins.go): what a host runs is the union over all
of its groups, with no inheritance and no exclusion.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from agentplugin.plans import Resolution, Tree, resolve


class BindingsError(Exception):
    """`plugin_bindings` is malformed or binds what the release does not hold."""


def parse_bindings(value: Any) -> dict[str, list[Any]]:
    """Check the form of `plugin_bindings`: hostgroup -> list of bindings.

    Raises:
        BindingsError: names the hostgroup.
    """
    if not isinstance(value, Mapping):
        raise BindingsError(
            f"plugin_bindings must map hostgroups to lists of bindings, not {_kind(value)}"
        )
    for group, bindings in value.items():
        if not isinstance(group, str) or not isinstance(bindings, list):
            raise BindingsError(
                f"plugin_bindings[{group!r}] must be a list such as [sys/ntp], "
                f"not {_kind(bindings)}"
            )
    return {group: list(bindings) for group, bindings in value.items()}


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


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
