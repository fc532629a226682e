"""A manifest plugin's `metrics.json`: what its metrics are called and counted in (rules: 1,906
definitions of 145 public plugins, in three shapes)."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_NAME = "metrics.json"

UNITS = ("percent", "number", "bytecount", "duration")
AGGREGATES = ("avg", "min", "max", "sum")

_UNITS = {"percentage": "percent", "bytes": "bytecount", "int": "number", "integer": "number"}
_AGGREGATES = {"ave": "avg", "average": "avg", "mean": "avg", "total": "sum"}


class Definition:
    """One metric: `unit` is percent, number, bytecount or duration, `aggregate` avg, min, max or sum;
    texts are "" where not given, `resolution_ms` 0.
    """

    __slots__ = (
        "aggregate",
        "description",
        "disabled",
        "display_name",
        "name",
        "resolution_ms",
        "short_name",
        "unit",
    )

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.description = _text(fields, "description")
        self.display_name = _text(fields, "displayName")
        self.short_name = _text(fields, "displayNameShort")
        self.unit = meant_unit(_text(fields, "unit")) or "number"
        self.aggregate = meant_aggregate(_text(fields, "defaultAggregate")) or "avg"
        resolution = fields.get("defaultResolutionMS")
        whole = isinstance(resolution, int) and not isinstance(resolution, bool)
        self.resolution_ms = resolution if whole and isinstance(resolution, int) else 0
        self.disabled = fields.get("isDisabled") in (True, 1)

    def as_dict(self) -> dict[str, Any]:
        """The definition as JSON."""
        return {
            "name": self.name,
            "displayName": self.display_name,
            "displayNameShort": self.short_name,
            "description": self.description,
            "unit": self.unit,
            "defaultAggregate": self.aggregate,
            "defaultResolutionMS": self.resolution_ms,
            "isDisabled": self.disabled,
        }


def read(content: bytes) -> dict[str, Definition]:
    """Definitions by name in upper case: from `{NAME: {...}}`, `{"result": [...]}` or `[...]`; what is
    none is left out. Raises ValueError where it is no JSON.
    """
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    pairs, _ = entries(found)
    definitions = [Definition(name, fields) for name, fields in pairs]
    return {definition.name: definition for definition in definitions}


def entries(found: Any) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Each definition's name, in upper case, and fields; and how many entries are no definition."""
    if isinstance(found, dict) and isinstance(found.get("result"), list):
        found = found["result"]
    if isinstance(found, dict):
        named = list(found.items())
    elif isinstance(found, list):
        named = [(_text(entry, "name"), entry) for entry in found]
    else:
        return [], 1
    good = [(name.upper(), fields) for name, fields in named if name and isinstance(fields, dict)]
    return good, len(named) - len(good)


def meant_unit(written: str) -> str:
    """The unit of UNITS that a definition means, "" for an unknown word."""
    lowered = written.strip().lower()
    unit = _UNITS.get(lowered, lowered)
    return unit if unit in UNITS else ""


def meant_aggregate(written: str) -> str:
    """The aggregate of AGGREGATES that a definition means, "" for an unknown word."""
    lowered = written.strip().lower()
    aggregate = _AGGREGATES.get(lowered, lowered)
    return aggregate if aggregate in AGGREGATES else ""


def _text(fields: Any, key: str) -> str:
    value = fields.get(key) if isinstance(fields, dict) else None
    return value.strip() if isinstance(value, str) else ""
