"""Configurations of bindings held against the manifests of the plugins that they are for.

What a manifest says of a configuration is agentplugin.manifest's; here it is found in a tree, and said
without a secret's value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentplugin import formats
from agentplugin.bindings import BindingError, parse_binding
from agentplugin.manifest import Manifest, ManifestError, parse
from agentplugin.parameters import POLL_INTERVAL
from agentplugin.plans import MANIFEST_NAME, Tree
from agentplugin.problems import ERROR, WARNING, Problem
from controller.bindings.merging import ITEMS, Form
from controller.bindings.places import Sealed
from controller.bindings.sealing import plain
from controller.errors import Invalid

_SHAPE = re.compile(r"items\[\d+\]")
_INCOMPLETE = frozenset(["config-required", "config-items"])
# What the lint says of manifests whose plugins no host starts, however they are configured.
_NOT_STARTED = frozenset(["manifest-disabled", "manifest-platform", "manifest-unsupported-runtime"])


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a configuration.

    Attributes:
        place: `config.port`, `config.items[2].port`, or `config` for all of it.
    """

    place: str
    code: str
    severity: str
    message: str
    hint: str

    @property
    def is_error(self) -> bool:
        """Whether the plugin must not be started with it."""
        return self.severity == ERROR

    @property
    def is_gap(self) -> bool:
        """Whether something is only missing, which a host may have from another hostgroup or its override."""
        return self.code in _INCOMPLETE

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class Manifests:
    """The manifests of a tree's plugin folders, each read once.

    Args:
        tree: None where nothing was published yet.
    """

    def __init__(self, tree: Tree | None) -> None:
        self._tree = tree
        self._known: dict[str, Manifest | None] = {}

    @property
    def are_known(self) -> bool:
        """Whether there is a tree, so that what has no manifest in it has none."""
        return self._tree is not None

    def of(self, plugin: str) -> Manifest | None:
        """The manifest of a folder; None where there is none that can be read."""
        path = MANIFEST_NAME if plugin == "." else f"{plugin}/{MANIFEST_NAME}"
        if self._tree is None or not self._tree.isfile(path):
            return None  # not kept: people may ask for whatever name comes to their minds
        if plugin not in self._known:
            self._known[plugin] = _read(self._tree, path)
        return self._known[plugin]


def _read(tree: Tree, path: str) -> Manifest | None:
    try:
        return parse(tree.read(path), path)
    except (ManifestError, OSError):
        return None  # the lint says it, and publishing refuses it


@lru_cache(maxsize=4)
def manifests_of(tree: Tree | None) -> Manifests:
    """The manifests of a tree that is asked for again and again, as the newest release's is."""
    return Manifests(tree)


def look_at(tree: Tree | None, plugin: str) -> None:
    """Read what is held against a plugin in a transaction, which does not wait for git."""
    with suppress(BindingError):
        manifests_of(tree).of(parse_binding(plugin).text)


def check(manifest: Manifest | None, config: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a configuration.

    Args:
        config: with `Sealed` values or plain ones; of a Sealed one no message tells anything, and one that
            was not given yet is not missed.
    """
    if manifest is None:
        return []
    places = _places(config)
    found = []
    for problem in manifest.check_config(plain(dict(config))):
        place = _place(problem.message, places)
        value = places.get(place)
        if problem.code == "config-required" and value == Sealed(None):
            continue
        found.append(_finding(problem, place, secret=_holds_secret(value)))
    return found + _beside_items(manifest, config)


def _beside_items(manifest: Manifest, config: Mapping[str, Any]) -> list[Finding]:
    """What stands beside the items, where no item has it."""
    if manifest.param_array is None:
        return []
    params = {param.key for param in manifest.param_schema}
    return [
        Finding(
            f"config.{key}",
            "config-unknown",
            WARNING,
            f"config.{key} stands beside the items, where the manifest has no parameters",
            f"give it in each item: items[0].{key}" if key in params else "take it out",
        )
        for key in config
        if key not in (ITEMS, POLL_INTERVAL)
    ]


def check_form(manifests: Manifests, form: Form) -> list[Finding]:
    """What is wrong with the configuration of a binding; nothing where it has no manifest to fit.

    A binding without a configuration is one with an empty one.
    """
    if form.format not in ("", formats.BOUNDARY):
        return []
    return check(manifests.of(form.plugin), form.config or {})


def not_started(manifests: Manifests, plugin: str) -> list[str]:
    """Why no host would start what is bound, by its manifest; nothing where it has none."""
    manifest = manifests.of(plugin)
    told = manifest.validate() if manifest else ()
    return [f"{p.path}: {p.message} [{p.code}]" for p in told if p.code in _NOT_STARTED]


def check_filled(
    form: Form, on_hosts: Callable[[], Iterable[Form]], manifests: Manifests
) -> list[Finding]:
    """What is wrong with the configuration of a hostgroup's binding.

    What is only missing is nothing wrong where all hosts have it from elsewhere.

    Args:
        on_hosts: gives what the binding comes to on each host of the hostgroup; asked only where something is
            missing.
    """
    found = check_form(manifests, form)
    if not any(finding.is_gap for finding in found):
        return found
    forms = list(on_hosts())
    if not forms or any(is_incomplete(manifests, merged) for merged in forms):
        return found
    return [finding for finding in found if not finding.is_gap]


def is_incomplete(manifests: Manifests, form: Form) -> bool:
    """Whether something is missing in a configuration."""
    return any(finding.is_gap for finding in check_form(manifests, form))


def need_fit(found: Iterable[Finding], field: str = "body") -> None:
    """Refuse a request because of its configuration.

    Args:
        found: of `check`; warnings are passed over.
        field: what holds `config` in the request.

    Raises:
        Invalid: names each place.
    """
    errors = [finding for finding in found if finding.is_error]
    if errors:
        raise Invalid(
            "; ".join(finding.message for finding in errors[:5]),
            hint=errors[0].hint,
            fields=[{"field": f"{field}.{f.place}", "message": str(f)} for f in errors],
        )


def warnings(found: Sequence[Finding]) -> list[str]:
    """What is told of a configuration that is taken all the same."""
    return [str(finding) for finding in found if not finding.is_error]


def _finding(problem: Problem, place: str, *, secret: bool) -> Finding:
    message = problem.message
    if secret and problem.code == "config-type":
        message = f"{place} does not have the type that it should; its value is a secret"
    inside = place.startswith("config")
    whole = place if inside or not place else f"config.{place}"
    return Finding(whole or "config", problem.code, problem.severity, message, problem.hint)


def _places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every value that a message may be about, by the name that messages give it."""
    places: dict[str, Any] = {f"config.{key}": value for key, value in config.items()}
    items = config.get("items")
    for number, item in enumerate(items) if isinstance(items, list) else ():
        if isinstance(item, Mapping):
            places |= {f"items[{number}].{key}": value for key, value in item.items()}
    return places


def _place(message: str, places: Mapping[str, Any]) -> str:
    """What a message of agentplugin.parameters is about: it begins with that."""
    known = [p for p in places if message.startswith(p) and message[len(p) : len(p) + 1] in " :["]
    if known:
        return max(known, key=len)
    # A value that is missing stands in no configuration; its title comes in brackets after it.
    named, bracket, _ = message.partition(" (")
    if bracket and named.startswith(("config.", "items[")):
        return named
    shape = _SHAPE.match(message)
    return shape[0] if shape else ""


def _holds_secret(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_secret, value))
    if isinstance(value, Mapping):
        return any(map(_holds_secret, value.values()))
    return isinstance(value, Sealed)
