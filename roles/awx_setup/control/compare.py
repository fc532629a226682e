"""Whether an object of AWX's is as it should be, as far as AWX shows what it holds.

A secret is shown as `$encrypted$`, so that nobody can tell whether it is the same: it is sent when the
object is made, or where AWX has none, or on request; never else, as a second run would always change
something.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from roles.awx_setup.control.refusals import SECRET

ENCRYPTED = "$encrypted$"
# AWX wants all of a notification's values, be they empty (NotificationTemplateSerializer.validate).
_WHOLE = frozenset({"notification_configuration"})
# What AWX fills in where nothing is given, beside what is empty (init_parameters in awx/main/notifications).
_FILLED_IN = {"http_method": "POST", "timeout": 30}
_NOTHING: tuple[Any, ...] = (None, "", False, [], {})
_TEXT_VARIABLES = {"extra_vars", "source_vars", "variables"}


def differing(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, update_secrets: bool
) -> dict[str, Any]:
    """What is to be sent so that an object gets its fields; empty where it has them."""
    sent = {}
    for name, value in wanted.items():
        there = found.get(name)
        if name in SECRET and isinstance(value, Mapping) and isinstance(there, Mapping):
            whole = _with_its_secrets(value, there, update_secrets, keep_empty=name in _WHOLE)
            own = {n: v for n, v in there.items() if n in whole or v != _FILLED_IN.get(n)}
            if _telling(whole) != _telling(own):
                sent[name] = whole
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


def _with_its_secrets(
    wanted: Mapping[str, Any], there: Mapping[str, Any], update_secrets: bool, *, keep_empty: bool
) -> dict[str, Any]:
    """What was wanted, each secret that AWX has for it left as it is. What is not wanted any more goes."""
    whole: dict[str, Any] = {}
    for name, value in wanted.items():
        if value in (None, ""):
            whole |= {name: ""} if keep_empty else {}
        else:
            is_kept = there.get(name) == ENCRYPTED and not update_secrets
            whole[name] = ENCRYPTED if is_kept else value
    return whole


def _telling(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in _NOTHING}


def _same(name: str, wanted: Any, there: Any) -> bool:
    if name in _TEXT_VARIABLES:
        return bool(_variables(wanted) == _variables(there))
    if name == "rrule" and isinstance(wanted, str) and isinstance(there, str):
        return _rule(wanted) == _rule(there)
    if wanted in (None, "") and there in (None, ""):
        return True
    return bool(json.dumps(wanted, sort_keys=True) == json.dumps(there, sort_keys=True))


def _rule(text: str) -> str:
    """A recurrence rule as AWX keeps it: on one line, ends in UTC (`Schedule.coerce_naive_until`)."""
    zone = re.search(r"DTSTART;TZID=([^:\s]+):", text)

    def in_utc(found: re.Match[str]) -> str:
        here = ZoneInfo(zone[1]) if zone else timezone.utc
        end = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=here)
        return f"UNTIL={end.astimezone(timezone.utc):%Y%m%dT%H%M%S}Z"

    line = " ".join(text.split())
    try:
        return re.sub(r"UNTIL=(\d{8}T\d{6})(?![\dZ])", in_utc, line)
    except (ValueError, KeyError, OSError):
        return line  # no such zone or time: AWX says so


def _variables(value: Any) -> Any:
    """AWX keeps variables as a text, in JSON or in YAML."""
    if not isinstance(value, str):
        return value or {}
    try:
        return yaml.safe_load(value) or {}
    except yaml.YAMLError:
        return value
