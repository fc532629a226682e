"""What the bindings of a host's hostgroups come to: the configurations of one plugin become one.

The rule, for the controller and for static inventories alike (docs/controller.md): hostgroups in the
order in which Ansible merges their variables, a key of a later one wins, `items` are joined; then the
host's override is laid over as a merge patch (RFC 7396).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from agentplugin import formats
from agentplugin.bindings import BindingError, parse_binding

Label = TypeVar("Label")
CONFLICT = "binding-config-conflict"
ITEMS = "items"
ARGS = "args"
"""The arguments of a program that has a format: they stand in the list of processes, and say what it is."""


class Form(NamedTuple):
    """What a binding names, in normal form.

    Attributes:
        key: as an agent's `/plugins` lists it: the path, or `path(arg1,arg2)`.
        format: empty for step scripts and for what prints as plugin.json's plugins do.
        step: seconds; 0 without a format.
        config: None for a binding that is a text.
    """

    key: str
    plugin: str
    format: str
    step: int
    config: Mapping[str, Any] | None

    @property
    def entry(self) -> Any:
        """The binding as `plugin_bindings` has it."""
        return entry(self.plugin, self.config, self.format, self.step)


def entry(plugin: str, config: Mapping[str, Any] | None, format: str = "", step: int = 0) -> Any:
    """A binding as `plugin_bindings` has it: a text, or an object where there is more to say."""
    if config is None and not format:
        return plugin
    found: dict[str, Any] = {"plugin": plugin, "config": dict(config or {})}
    if format:
        found |= {"format": format, "step": step}
    return found


def form_of(binding: Any) -> Form:
    """The form of a binding of `plugin_bindings`.

    Raises:
        BindingError: it has none.
    """
    if isinstance(binding, str):
        text = parse_binding(binding).text
        return Form(text, text, "", 0, None)
    if not isinstance(binding, Mapping):
        raise BindingError("binding-wrong-type", "it is neither a text nor an object", "")
    plugin, config = binding.get("plugin"), binding.get("config", {})
    if not isinstance(plugin, str) or not isinstance(config, Mapping):
        raise BindingError("binding-wrong-type", "it has no plugin, or no object as config", "")
    path = parse_binding(plugin).text
    found = formats.read(dict(binding), dict(config), 1)
    if found.name == formats.BOUNDARY:
        return Form(path, path, "", 0, config)
    # The arguments of a program say what it watches: with others it is another one.
    key = f"{path}({','.join(found.args)})" if found.args else path
    return Form(key, path, found.name, found.step, config)


@dataclass(frozen=True)
class Layer(Generic[Label]):
    """A binding as `plugin_bindings` has it, and who it is from."""

    binding: Any
    label: Label


@dataclass(frozen=True)
class Origin(Generic[Label]):
    """Where a part of a configuration comes from.

    Attributes:
        place: a key, or `items[0]`.
        label: of the layer; None is the host's override.
        removed: whether the override took it away.
    """

    place: str
    label: Label | None
    removed: bool = False


@dataclass
class Merged(Generic[Label]):
    """What the bindings of one plugin come to on a host.

    Attributes:
        labels: of all layers, also of those that contradict the first.
        conflict: what two of them disagree about, or what the override may not change; else empty.
        overridden: whether the host has an override of its own.
        formless: a binding that has no form, as it was given; else None.
    """

    form: Form
    labels: list[Label]
    origins: list[Origin[Label]] = field(default_factory=list)
    conflict: str = ""
    overridden: bool = False
    formless: Any = None

    @property
    def binding(self) -> Any:
        """As `plugin_bindings` has it."""
        return self.form.entry if self.formless is None else self.formless


def merge(
    layers: Iterable[Layer[Label]], overrides: Mapping[str, Mapping[str, Any]]
) -> list[Merged[Label]]:
    """Merge the bindings of one host.

    Args:
        layers: in the order in which Ansible merges the variables of their hostgroups.
        overrides: the host's own, by the key of a plugin; those of nothing bound do nothing.

    Returns:
        One for each plugin, texts first, in a fixed order. What has no form stays as it is: whoever
        holds bindings against a tree says what is wrong with it.
    """
    found: dict[str, _Plugin[Label]] = {}
    formless: dict[str, Merged[Label]] = {}
    for layer in layers:
        try:
            form = form_of(layer.binding)
        except BindingError:
            text = identity(layer.binding)
            as_given = Merged[Label](Form(text, text, "", 0, None), [], formless=layer.binding)
            known = formless.setdefault(text, as_given)
            known.labels.append(layer.label)
            continue
        if form.key not in found:
            found[form.key] = _Plugin(form)
        found[form.key].add(form, layer.label)
    merged = [plugin.merged(overrides.get(key)) for key, plugin in found.items()]
    return sorted([*merged, *formless.values()], key=_order)


def laid(config: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with an override laid over it: a merge patch (RFC 7396)."""
    result = dict(config)
    for key, value in override.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = laid(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def identity(value: Any) -> str:
    """A text that is equal for equal JSON alone; Python takes 1, 1.0 and true for equal.

    Of a `Sealed` value it is the value that counts, not the name that it is kept by.
    """
    return json.dumps(value, sort_keys=True, default=lambda sealed: {"sealed": sealed.value})


def _order(merged: Merged[Any]) -> tuple[bool, str]:
    text = isinstance(merged.binding, str)
    return (not text, merged.binding if text else identity(merged.binding))


class _Plugin(Generic[Label]):
    """Gathers the layers of one plugin."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._config: dict[str, Any] = {}
        self._is_text = True
        self._labels: list[Label] = []
        self._from: dict[str, Label] = {}
        self._items: list[tuple[Any, Label]] = []
        self._conflict = ""

    def add(self, form: Form, label: Label) -> None:
        """Put the next layer over those so far."""
        self._labels.append(label)
        ours = (self._form.format, self._form.step)
        if (form.format, form.step) != ours:
            self._conflict = self._conflict or (
                f"{self._form.key!r} is bound as {_named(*ours)} and as "
                f"{_named(form.format, form.step)}: the first stays"
            )
            return
        if form.config is None:
            return
        self._is_text = False
        for key, value in form.config.items():
            self._put(key, value, label)

    def _put(self, key: str, value: Any, label: Label) -> None:
        if key != ITEMS or not isinstance(value, list):
            self._config[key], self._from[key] = value, label
            return
        if not isinstance(self._config.get(key), list):
            self._items.clear()
        known = {identity(item) for item, _ in self._items}
        for item in value:
            text = identity(item)
            if text not in known:
                known.add(text)
                self._items.append((item, label))
        self._config[key], self._from[key] = [item for item, _ in self._items], label

    def merged(self, override: Mapping[str, Any] | None) -> Merged[Label]:
        """What it comes to with the host's override."""
        form, config, conflict = self._form, self._config, self._conflict
        if form.format and override is not None and ARGS in override:
            override = {key: value for key, value in override.items() if key != ARGS}
            conflict = conflict or (
                f"the override of {form.key!r} has {ARGS!r}, which would make it another program: "
                "the arguments stay"
            )
        final = config if override is None else laid(config, override)
        bare = self._is_text and override is None
        return Merged(
            form=form._replace(config=None if bare else final),
            labels=self._labels,
            origins=self._origins(final, override or {}),
            conflict=conflict,
            overridden=override is not None,
        )

    def _origins(
        self, final: Mapping[str, Any], override: Mapping[str, Any]
    ) -> list[Origin[Label]]:
        origins: list[Origin[Label]] = []
        for key, value in final.items():
            several = isinstance(value, list) and key == ITEMS
            if key in override:
                places = [f"{key}[{n}]" for n in range(len(value))] if several else [key]
                origins += [Origin(place, None) for place in places]
            elif several:
                origins += [
                    Origin(f"{key}[{number}]", label)
                    for number, (_, label) in enumerate(self._items)
                ]
            else:
                origins.append(Origin(key, self._from[key]))
        taken = [key for key in self._config if key not in final]
        return origins + [Origin(key, None, removed=True) for key in taken]


def _named(format: str, step: int) -> str:
    return f"{format} every {step} s" if format else f"{formats.BOUNDARY} (no format)"
