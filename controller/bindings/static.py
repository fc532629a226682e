"""Static bindings: `plugin_bindings` of the inventory, keyed by hostgroup.

Groups are flat, as in Open-Falcon's hbs (cache/plugins.go): what a host runs is the union over all
of its groups, with no inheritance and no exclusion. Configurations of one plugin are merged (merging).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agentplugin.bindings import BindingError
from agentplugin.planned import Resolution
from agentplugin.plans import Tree, resolve
from controller.bindings import merging
from controller.bindings.configs import Finding, Manifests, check_filled, check_form
from controller.bindings.merging import CONFLICT, Form, Layer, Merged, form_of, merge
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


def parse_overrides(value: Any) -> dict[str, dict[str, Any]]:
    """Check the form of a host's `plugin_config_overrides`: plugin -> configuration.

    Raises:
        BindingsError: says what it is.
    """
    if not isinstance(value, Mapping):
        raise BindingsError(
            "plugin_config_overrides must map plugins to configurations, such as "
            f"{{httpcheck: {{pollInterval: 5000}}}}, not {kind(value)}"
        )
    for plugin, config in value.items():
        if not isinstance(plugin, str) or not isinstance(config, Mapping):
            raise BindingsError(
                f"plugin_config_overrides[{plugin!r}] must be a configuration, not {kind(config)}"
            )
    return {plugin: dict(config) for plugin, config in value.items()}


Host = tuple[Sequence[str], Mapping[str, Mapping[str, Any]]]
"""The groups of a host in the order in which Ansible merges their variables, and its overrides."""


def check_bindings(
    bindings: Mapping[str, list[Any]],
    tree: Tree,
    hosts: Callable[[str], Iterable[Host]] = lambda group: (),
) -> list[str]:
    """Hold every hostgroup's bindings against a release's tree, and their configurations against its
    manifests.

    Args:
        hosts: those of a group; asked for only where a configuration lacks something, which is a warning: each
            host that does not have it from elsewhere is refused by itself (`problems_of`).

    Returns:
        Warnings, one line each.

    Raises:
        BindingsError: something bound does not exist or cannot run; every such binding is named.
    """
    errors, warnings = [], []
    manifests = Manifests(tree)
    for group in sorted(bindings):
        for problem in resolve(bindings[group], tree).problems:
            line = f"hostgroup {group!r}: {problem.message} [{problem.code}]"
            if problem.severity == "error":
                errors.append(f"{line}; {problem.hint}" if problem.hint else line)
            elif problem.severity == "warning":
                warnings.append(line)
        for key, finding in _findings(group, bindings, manifests, hosts):
            line = f"hostgroup {group!r}: {key}: {finding}"
            if finding.is_error and not finding.is_gap:
                errors.append(f"{line}; {finding.hint}")
            else:
                warnings.append(line)
    if errors:
        raise BindingsError(
            "plugin_bindings cannot be deployed; no host was touched:\n" + "\n".join(errors)
        )
    return warnings


def _findings(
    group: str,
    bindings: Mapping[str, list[Any]],
    manifests: Manifests,
    hosts: Callable[[str], Iterable[Host]],
) -> Iterator[tuple[str, Finding]]:
    for binding in bindings[group]:
        try:
            form = form_of(binding)
        except BindingError:
            continue  # told by whoever resolves it
        forms = partial(_on_hosts, form.key, bindings, hosts, group)
        yield from ((form.key, finding) for finding in check_filled(form, forms, manifests))


def _on_hosts(
    key: str,
    bindings: Mapping[str, list[Any]],
    hosts: Callable[[str], Iterable[Host]],
    group: str,
) -> list[Form]:
    """What the bindings of a plugin come to on each host of a group."""
    found: dict[str, Form] = {}
    for groups, overrides in hosts(group):
        which = merging.identity([list(groups), overrides.get(key)])
        if which not in found:
            forms = [plugin.form for plugin in merged_of(groups, bindings, overrides)]
            found[which] = next(form for form in forms if form.key == key)
    return list(found.values())


def bindings_of(
    groups: Iterable[str],
    bindings: Mapping[str, list[Any]],
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Any]:
    """What a host runs by the bindings of its groups: sorted texts, then what is configured.

    Args:
        groups: in the order in which Ansible merges their variables.
        overrides: the host's own, see `merging.merge`.
    """
    return [merged.binding for merged in merged_of(groups, bindings, overrides)]


def merged_of(
    groups: Iterable[str],
    bindings: Mapping[str, list[Any]],
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Merged[str]]:
    """As `bindings_of`, each with the groups that it is from."""
    layers = (Layer(binding, group) for group in groups for binding in bindings.get(group, []))
    return merge(layers, overrides or {})


def problems_of(merged: Iterable[Merged[Any]], manifests: Manifests) -> list[str]:
    """What keeps a host from running what is bound to it, one sentence each."""
    told = []
    for plugin in merged:
        if plugin.conflict:
            told.append(f"{plugin.conflict} [{CONFLICT}]")
        found = check_form(manifests, plugin.form)
        told += [f"{plugin.form.key}: {finding}" for finding in found if finding.is_error]
    return told


def listed_keys(resolution: Resolution) -> list[str]:
    """The keys that an agent's `/plugins` shows when it runs what was resolved."""
    scripts = [script.key for script in resolution.scripts]
    return scripts + [manifest.key for manifest in resolution.manifests]
