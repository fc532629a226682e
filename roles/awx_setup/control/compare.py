"""Whether an object of AWX's is as it should be, as far as AWX shows what it holds.

A secret is shown as `$encrypted$`, so that nobody can tell whether it is the same: it is sent when the
object is made, or where AWX has none, or on request; never else, as a second run would always change
something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

ENCRYPTED = "$encrypted$"
# Fields whose values AWX keeps secret, some or all.
SECRET = frozenset({"inputs", "notification_configuration"})
_TEXT_VARIABLES = {"extra_vars", "source_vars", "variables"}


def differing(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, update_secrets: bool
) -> dict[str, Any]:
    """What is to be sent so that an object gets its fields; empty where it has them."""
    sent = {}
    for name, value in wanted.items():
        there = found.get(name)
        if name in SECRET and isinstance(value, Mapping) and isinstance(there, Mapping):
            merged = _merged(value, there, update_secrets)
            if merged != there:
                sent[name] = merged
        elif not _same(name, value, there):
            sent[name] = value
    return sent


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields for a diff, without the values of those that may hold secrets."""
    return {
        name: dict.fromkeys(value, ENCRYPTED)
        if name in SECRET and isinstance(value, Mapping)
        else value
        for name, value in fields.items()
    }


def _merged(
    wanted: Mapping[str, Any], there: Mapping[str, Any], update_secrets: bool
) -> dict[str, Any]:
    """What was wanted, laid over what AWX has and fills in by itself; its secrets are left as they are."""
    kept = {
        name: ENCRYPTED if there.get(name) == ENCRYPTED and not update_secrets else value
        for name, value in wanted.items()
    }
    return {**there, **kept}


def _same(name: str, wanted: Any, there: Any) -> bool:
    if name in _TEXT_VARIABLES:
        return bool(_variables(wanted) == _variables(there))
    if wanted in (None, "") and there in (None, ""):
        return True
    return bool(json.dumps(wanted, sort_keys=True) == json.dumps(there, sort_keys=True))


def _variables(value: Any) -> Any:
    """AWX keeps variables as a text, in JSON or in YAML."""
    if not isinstance(value, str):
        return value or {}
    try:
        return yaml.safe_load(value) or {}
    except yaml.YAMLError:
        return value
