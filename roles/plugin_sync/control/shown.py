"""What a diff shows of a host's bindings: which values of a configuration change, and none of the values.

Ansible keeps a task's diff in the run's events, asked for or not, and AWX shows those. Which values are secrets
only the controller knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "(not shown)"
CHANGED = "(not shown, another value)"


def without_values(diffs: Iterable[Mapping[str, Any]], path: str) -> list[dict[str, Any]]:
    """Diffs of files, those of the bindings' file at `path` without the values of configurations."""
    return [
        {**diff, **_hidden(diff.get("before", ""), diff.get("after", ""))}
        if diff.get("after_header") == path
        else dict(diff)
        for diff in diffs
    ]


def _hidden(before: str, after: str) -> dict[str, str]:
    old, new = _read(before), _read(after)
    known = dict(_by_plugin(old))
    return {
        "before": before and _text(old, {}),
        "after": after and _text(new, known),
    }


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None  # somebody edited it on the host


def _by_plugin(document: Any) -> Iterable[tuple[str, Any]]:
    bindings = document.get("bindings") if isinstance(document, dict) else None
    for entry in bindings if isinstance(bindings, list) else ():
        if isinstance(entry, dict):
            yield str(entry.get("plugin")), entry.get("config")


def _text(document: Any, known: Mapping[str, Any]) -> str:
    """A document of bindings as it is shown; `known` has the configurations that there were."""
    bindings = document.get("bindings") if isinstance(document, dict) else None
    if not isinstance(bindings, list):
        return f"{HIDDEN}: it is no list of bindings\n"
    shown = [
        {
            **entry,
            "config": _masked(
                entry["config"], known.get(str(entry.get("plugin")), entry["config"])
            ),
        }
        if isinstance(entry, dict) and "config" in entry
        else entry
        for entry in bindings
    ]
    return json.dumps({"bindings": shown}, indent=2) + "\n"


def _masked(value: Any, before: Any) -> Any:
    if isinstance(value, dict):
        old = before if isinstance(before, dict) else {}
        return {key: _masked(part, old.get(key)) for key, part in value.items()}
    if isinstance(value, list):
        old_parts = before if isinstance(before, list) else []
        padded = [*old_parts, *[None] * len(value)]
        return [_masked(part, old) for part, old in zip(value, padded)]
    if value is None or isinstance(value, bool):
        return value
    return HIDDEN if value == before else CHANGED
