"""Manifests held against their JSON Schema, by the library that knows JSON Schema; what lints a tree
on the control side hands `faults` to agentplugin's lint, which runs without libraries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from agentplugin.jsonplaces import part
from agentplugin.manifestschema import schema
from agentplugin.paramtypes import as_written

_KINDS = {"object": "an object", "array": "a list", "string": "text", "integer": "an integer",
          "number": "a number", "boolean": "true or false"}  # fmt: skip


def faults(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """JSON pointer and reason of each thing in a manifest that the schema does not allow.

    None on a control node that has ansible-core alone: what only the schema tells is never an error.
    """
    validator = _validator()
    if validator is None:
        return
    try:
        for error in validator.iter_errors(manifest):
            pointer = "".join(part(step) for step in error.absolute_path)
            yield pointer, _reason(error.validator, error.schema, error.instance)
    except RecursionError:
        yield "", "nests too deep to be held against the schema"


@lru_cache(maxsize=1)
def _validator() -> Any:
    # Importing it takes longer than linting a tree that has no manifest.
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return None
    return Draft202012Validator(schema())


def _reason(keyword: str, allowed: dict[str, Any], value: Any) -> str:
    """Why a value is not allowed, in words; `allowed` is the part of the schema that it breaks."""
    wanted, given = allowed[keyword], as_written(value)
    if keyword == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        kinds = [_KINDS[name] for name in names if name != "null"]
        return f"is {given}, not {' or '.join(kinds)}"
    if keyword == "required":
        missing = [name for name in wanted if name not in value]
        return f"lacks {', '.join(missing)}"
    if "title" in allowed:
        return f"is {given}, which does not fit its meaning: {allowed['title'].lower()}"
    return f"is {given}, which the schema does not allow ({keyword})"
