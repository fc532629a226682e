"""Which recurrence rules AWX takes, how it keeps them, and when they fall due next.

Rules: `SchedulePreviewSerializer.validate_rrule` of AWX (awx/api/serializers.py): DTSTART and INTERVAL are a
must, a naive DTSTART and SECONDLY are refused; and `Schedule.rrulestr` of awx/main/models/schedules.py.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

_SHOWN = 10
_FORM = "%Y%m%dT%H%M%S"


def faults(rrule: str) -> list[str]:
    """What AWX says against a rule; nothing where it takes it."""
    if not rrule:
        return ["This field may not be blank."]
    found = []
    starts = re.findall(r"DTSTART(?:;[^:]+)?:\d+T\d+Z?", rrule)
    rules = re.findall(r"RULE:\S*", rrule)
    if not starts:
        found.append(
            "Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ"
        )
    if re.search(r"DTSTART:\d+T\d+(\s|$)", rrule):
        found.append("DTSTART cannot be a naive datetime.  Specify ;TZINFO= or YYYYMMDDTHHMMSSZZ.")
    if len(starts) > 1:
        found.append("Multiple DTSTART is not supported.")
    if "rrule:" not in rrule.lower():
        found.append("One or more rule required in rrule.")
    for name in ("EXDATE", "RDATE"):
        if f"{name}:" in rrule.upper():
            return [f"{name} not allowed in rrule."]
    for rule in rules:
        if "INTERVAL" not in rule.upper():
            found.append(f"INTERVAL required in rrule: {rule}")
        elif "SECONDLY" in rule.upper():
            found.append(f"SECONDLY is not supported: {rule}")
        if re.search(r"BYDAY[:=]\d+[a-zA-Z]{2}", rule):
            found.append(f"BYDAY with numeric prefix not supported: {rule}")
        if "COUNT" in rule and "UNTIL" in rule:
            found.append(f"RRULE may not contain both COUNT and UNTIL: {rule}")
        if (many := re.search(r"COUNT=(\d+)", rule)) and int(many[1]) > 999:
            found.append(f"COUNT > 999 is unsupported: {rule}")
    if not found:
        try:
            _read(rrule)  # with no look for times, of which a rule may have none for long
        except Exception as error:
            found.append(f"rrule parsing failed validation: {error}")
    return found


def kept(rrule: str) -> str:
    """A rule as AWX stores it: on one line, with its end in UTC (`Schedule.coerce_naive_until`)."""
    here = ZoneInfo(zone(rrule))

    def in_utc(found: re.Match[str]) -> str:
        naive = datetime.strptime(found[1], _FORM).replace(tzinfo=here)
        return f"UNTIL={naive.astimezone(UTC):{_FORM}}Z"

    return " ".join(re.sub(r"UNTIL=(\d{8}T\d{6})(?!Z)", in_utc, rrule).split())


def zone(rrule: str) -> str:
    """The time zone's name that a rule is in."""
    named = re.search(r"DTSTART;TZID=([^:]+):", rrule)
    return named[1] if named else "UTC"


def occurrences(rrule: str, after: datetime | None = None) -> list[datetime]:
    """The next times of a rule, worked out as `Schedule.rrulestr` of AWX (awx/main/models/schedules.py) does."""
    here = ZoneInfo(zone(rrule))
    coming = (
        # Wall-clock steps: a rule of 02:00 stays at 02:00 when the clocks change, unless that is skipped.
        time
        for time in _read(rrule).xafter(after or datetime.now(UTC))
        if time.astimezone(UTC).astimezone(here).replace(tzinfo=None) == time.replace(tzinfo=None)
    )
    return list(islice(coming, _SHOWN))


def _read(rrule: str) -> Any:
    start_text = re.search(r"DTSTART(?:;[^:]+)?:(\d+T\d+)", rrule)
    assert start_text
    if re.search(r"DTSTART;[^:]+:\d+T\d+Z|UNTIL=\d{8}(?!T)", rrule):
        raise ValueError("a time must be of a zone or of UTC, and an end a time")
    here = ZoneInfo(zone(rrule))
    start = datetime.strptime(start_text[1], _FORM).replace(tzinfo=here)
    rule = kept(rrule).split("RULE:", 1)[1].split()[0]
    return rrulestr(f"RRULE:{rule}", dtstart=start)
