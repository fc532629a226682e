"""Merging what an agent's cfg.json must say into what it says: unknown keys and order stay."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any


class ConfigRefused(Exception):
    """A configuration file that must not be touched, or a setting that does not fit into it."""


def load(text: str, path: str) -> dict[str, Any]:
    """Read a cfg.json.

    Raises:
        ConfigRefused: it is not a JSON object. Writing to it would hide what somebody meant, and a
            real agent that is told to reload such a file ends itself (measured).
    """
    try:
        value = json.loads(text, parse_constant=_no_json)
    except ValueError as error:
        raise ConfigRefused(
            f"{path} is not valid JSON ({error}); it was not touched. Correct it and run again"
        ) from None
    if not isinstance(value, dict):
        raise ConfigRefused(f"{path} holds no JSON object; it was not touched")
    return value


def _no_json(word: str) -> None:
    """Refuse what Python reads and an agent does not: NaN and Infinity."""
    raise ValueError(f"{word} is no JSON")


def merge(present: Mapping[str, Any], wanted: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Lay the wanted settings over the present ones, section by section.

    Raises:
        ConfigRefused: a section is wanted where the file has a plain value.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(present))
    for key, value in wanted.items():
        name = f"{where}{key}"
        if isinstance(value, Mapping) and isinstance(merged.get(key, {}), Mapping):
            merged[key] = merge(merged.get(key, {}), value, f"{name}.")
        elif isinstance(value, Mapping):
            raise ConfigRefused(
                f"{name} is {json.dumps(merged[key])} in the file, not a section; correct it"
            )
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def dump(value: Mapping[str, Any]) -> str:
    """The text of a cfg.json: four spaces, as the agent's own example has."""
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


def merged_text(text: str | None, wanted: Mapping[str, Any], path: str) -> str:
    """The file as it should be; the very text that is there if it already says so.

    Raises:
        ConfigRefused: the file or a setting cannot be merged.
    """
    present = load(text, path) if text is not None else {}
    merged = merge(present, wanted)
    return text if text is not None and merged == present else dump(merged)
