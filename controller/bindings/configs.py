"""Configurations of bindings held against the manifests of the plugins that they are for.

What a manifest says of a configuration is agentplugin.manifest's; here it is found in a tree, and said
without a secret's value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentplugin import formats
from agentplugin.manifest import Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME, Tree
from agentplugin.problems import ERROR, Problem
from controller.bindings.merging import Form, laid
from controller.bindings.sealing import Sealed, plain
from controller.errors import Invalid

_SHAPE = re.compile(r"items\[\d+\]")
_INCOMPLETE = frozenset(["config-required", "config-items"])


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
        """Whether something is only missing, which an override of the host's may bring."""
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

    def of(self, plugin: str) -> Manifest | None:
        """The manifest of a folder; None where there is none that can be read."""
        if plugin not in self._known:
            self._known[plugin] = self._read(plugin)
        return self._known[plugin]

    def _read(self, plugin: str) -> Manifest | None:
        path = MANIFEST_NAME if plugin == "." else f"{plugin}/{MANIFEST_NAME}"
        if self._tree is None or not self._tree.isfile(path):
            return None
        try:
            return parse(self._tree.read(path), path)
        except (ManifestError, OSError):
            return None  # the lint says it, and publishing refuses it


@lru_cache(maxsize=4)
def manifests_of(tree: Tree | None) -> Manifests:
    """The manifests of a tree that is asked for again and again, as the newest release's is."""
    return Manifests(tree)


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
    return found


def check_form(manifests: Manifests, form: Form) -> list[Finding]:
    """What is wrong with the configuration of a binding; nothing where it has no manifest to fit.

    A binding without a configuration is one with an empty one.
    """
    if form.format not in ("", formats.BOUNDARY):
        return []
    return check(manifests.of(form.plugin), form.config or {})


def check_filled(
    form: Form, overrides: Iterable[Mapping[str, Any]], manifests: Manifests
) -> list[Finding]:
    """What is wrong with the configuration of a hostgroup's binding.

    What is only missing is nothing wrong where the override of every host brings it.

    Args:
        overrides: of every host of the hostgroup; none where one of them has none.
    """
    found = check_form(manifests, form)
    errors = [finding for finding in found if finding.is_error]
    patches = list(overrides)
    if not errors or not patches or not all(finding.is_gap for finding in errors):
        return found
    for patch in patches:
        filled = form._replace(config=laid(form.config or {}, patch))
        if any(finding.is_error for finding in check_form(manifests, filled)):
            return found
    return [finding for finding in found if not finding.is_error]


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
