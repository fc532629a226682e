"""A manifest plugin's `metrics.json`: what its metrics are called and counted in (rules: 1,906
definitions of 145 public plugins, in three shapes)."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_NAME = "metrics.json"

_UNITS = {"percentage": "percent", "bytes": "bytecount", "int": "number", "integer": "number"}
_AGGREGATES = {"ave": "avg", "average": "avg", "mean": "avg", "total": "sum"}
_KNOWN_UNITS = ("percent", "number", "bytecount", "duration")
_KNOWN_AGGREGATES = ("avg", "min", "max", "sum")


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
        unit = _text(fields, "unit").lower()
        unit = _UNITS.get(unit, unit)
        self.unit = unit if unit in _KNOWN_UNITS else "number"
        aggregate = _text(fields, "defaultAggregate").lower()
        aggregate = _AGGREGATES.get(aggregate, aggregate)
        self.aggregate = aggregate if aggregate in _KNOWN_AGGREGATES else "avg"
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
    if isinstance(found, dict) and isinstance(found.get("result"), list):
        found = found["result"]
    if isinstance(found, dict):
        pairs = [(name, fields) for name, fields in found.items() if isinstance(fields, dict)]
    elif isinstance(found, list):
        entries = [entry for entry in found if isinstance(entry, dict)]
        pairs = [(_text(entry, "name"), entry) for entry in entries]
    else:
        pairs = []
    definitions = [Definition(name.upper(), fields) for name, fields in pairs if name]
    return {definition.name: definition for definition in definitions}


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""
