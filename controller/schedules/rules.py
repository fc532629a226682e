"""Recurrence rules: which are taken, and when they fall due (RFC 5545, section 3.3.10).

What AWX refuses is refused here too (`ScheduleSerializer.validate_rrule` in its awx/api/serializers.py), so
that a schedule can always be moved there. Times that local clocks skip are left out, and of those that
they show twice the first counts, as AWX does it (`Schedule.update_computed_fields` in awx/main/models).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from controller.schedules.recurrence import Frequency, Recurrence

HORIZON = timedelta(days=3653)
"""How far ahead times are looked for."""
LONGEST = 1000
"""Characters of a rule."""
PAST = "all of its times are past"
_EXAMPLE = "DTSTART;TZID=Europe/London:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1"
_YEARS = range(2000, 2101)  # that a rule may begin in
_MOST_TIMES = 999  # of a COUNT, as AWX has it
_FIRST, _LAST = 1900, 9000  # years that can be told in every time zone

_START = re.compile(r"DTSTART(?:;TZID=(?P<zone>[^:;]+))?:(?P<time>\d{8}T\d{6})(?P<utc>Z?)")
_UNTIL = re.compile(r"(?P<time>\d{8}T\d{6})(?P<utc>Z?)")
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# What `Recurrence` has them as, and the numbers that may stand there.
_NUMBERS = {
    "BYMONTH": ("months", 1, 12),
    "BYMONTHDAY": ("month_days", -31, 31),
    "BYHOUR": ("hours", 0, 23),
    "BYMINUTE": ("minutes", 0, 59),
    "BYSETPOS": ("places", -366, 366),
}
_REFUSED = {
    "BYYEARDAY": "BYYEARDAY is not taken; name BYMONTH and BYMONTHDAY",
    "BYWEEKNO": "BYWEEKNO is not taken",
    "BYSECOND": "BYSECOND is not taken: the second is DTSTART's",
    "BYEASTER": "BYEASTER is not taken",
}


@dataclass(frozen=True)
class Rule:
    """A rule that is taken.

    Attributes:
        text: in the form that AWX has it in, on one line.
        zone: that its times are in.
    """

    text: str
    zone: ZoneInfo
    _recurrence: Recurrence  # on a clock in that zone

    @property
    def in_awx(self) -> str:
        """The text as AWX keeps it: with its end in UTC (`coerce_naive_until` of Schedule)."""
        until = self._recurrence.until
        if until is None:
            return self.text
        in_utc = until.replace(tzinfo=self.zone).astimezone(UTC)
        return re.sub(r"UNTIL=\d+T\d+(?![\dZ])", f"UNTIL={in_utc:%Y%m%dT%H%M%SZ}", self.text)

    def times(self, after: datetime) -> Iterator[datetime]:
        """The times after a moment, in UTC, as far as `HORIZON`."""
        local = self._local(after)
        for time in self._recurrence.times(local, local + HORIZON):
            moment = time.replace(tzinfo=self.zone).astimezone(UTC)
            skipped = self._local(moment) != time
            if moment > after and not skipped:
                yield moment

    def following(self, after: datetime) -> datetime | None:
        """The first time after a moment, or None where there is none any more."""
        return next(self.times(after), None)

    def over(self, moment: datetime) -> bool:
        """Whether it had times, and has none after a moment, however long one waits."""
        recurrence = self._recurrence
        before = recurrence.start - timedelta(seconds=1)
        past = recurrence.times(before, self._local(moment))
        if recurrence.count is not None:
            return sum(1 for _ in past) == recurrence.count
        # Not all of them are looked at: there may be millions.
        return bool(recurrence.until and next(past, None)) and self.following(moment) is None

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)


def parse(text: str) -> Rule:
    """The rule that a text says.

    Raises:
        ValueError: what is wrong with it, all of it in one sentence.
    """
    words = text.split()
    starts = [word for word in words if word.upper().startswith("DTSTART")]
    rules = [word for word in words if word.upper().startswith("RRULE:")]
    others = [word for word in words if word not in starts and word not in rules]
    if not starts and not rules:
        raise ValueError(f"{' '.join(words)[:50]!r} is no rule; write it as {_EXAMPLE!r}")
    faults = [f"{' '.join(others)[:50]!r} is neither DTSTART nor RRULE"] if others else []
    if len(starts) != 1:
        faults.append(
            "DTSTART must be there once, as DTSTART;TZID=Europe/London:20300101T020000 or "
            "DTSTART:20300101T020000Z"
        )
    if len(rules) != 1:
        faults.append("RRULE must be there once, as RRULE:FREQ=DAILY;INTERVAL=1")
    if faults:
        raise ValueError("; ".join(faults))
    zone, start = _start_of(starts[0], faults)
    parts = _parts_of(rules[0].partition(":")[2], faults)
    frequency = _frequency_of(parts, faults)
    interval = _number(parts, "INTERVAL", 1, 9999, faults)
    if "INTERVAL" not in parts:
        faults.append("INTERVAL is missing, which AWX needs: write ;INTERVAL=1")
    count = _number(parts, "COUNT", 1, _MOST_TIMES, faults)
    until = _until_of(parts, zone, faults)
    by = _by_of(parts, faults)
    faults += _odd(parts, frequency)
    if faults or start is None or zone is None or frequency is None:
        raise ValueError("; ".join(faults))
    recurrence = Recurrence(start, frequency, interval or 1, count, until, **by)
    if not recurrence.possible:
        raise ValueError("INTERVAL never meets the hours and minutes that are named")
    return Rule(f"{starts[0]} {rules[0].upper()}", zone, recurrence)


def check(text: str, moment: datetime) -> Rule:
    """The rule that a text says, if it falls due after a moment.

    Raises:
        ValueError: what is wrong with it.
    """
    rule = parse(text)
    if rule.following(moment) is None:
        past = rule.over(moment)
        raise ValueError(PAST if past else "never falls due within the next ten years")
    return rule


def zone_of(text: str) -> ZoneInfo:
    """The zone that a kept rule's times are in; UTC where it is not taken any more."""
    try:
        return parse(text).zone
    except ValueError:
        return ZoneInfo("UTC")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _start_of(word: str, faults: list[str]) -> tuple[ZoneInfo | None, datetime | None]:
    found = _START.fullmatch(word)
    if not found:
        faults.append(
            f"{word[:80]!r} must be DTSTART;TZID=Europe/London:20300101T020000 or "
            "DTSTART:20300101T020000Z"
        )
        return None, None
    named, utc = found["zone"], bool(found["utc"])
    if named and utc:
        faults.append("DTSTART has a TZID and a Z: leave one of them out")
    elif not named and not utc:
        faults.append("DTSTART has no time zone: put a Z behind it, or ;TZID=... before the colon")
    zone = None
    if named and named not in _zones():
        faults.append(f"there is no time zone {named[:50]!r}; write it as Europe/London")
    else:
        zone = ZoneInfo(named or "UTC")
    start = _time(found["time"])
    if start is None or start.year not in _YEARS:
        faults.append(f"{found['time']} is no time from {_YEARS.start} to {_YEARS.stop - 1}")
        start = None
    return zone, start


def _parts_of(text: str, faults: list[str]) -> dict[str, str]:
    parts: dict[str, str] = {}
    known = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_NUMBERS}
    for part in text.upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            faults.append(f"{part[:50]!r} must be NAME=VALUE")
        elif name in _REFUSED:
            faults.append(_REFUSED[name])
        elif name not in known:
            faults.append(f"{name[:50]!r} is not known; known are {', '.join(sorted(known))}")
        elif name in parts:
            faults.append(f"{name} is there twice")
        else:
            parts[name] = value
    return parts


def _frequency_of(parts: Mapping[str, str], faults: list[str]) -> Frequency | None:
    given = parts.get("FREQ", "")
    if given == "SECONDLY":
        faults.append("FREQ=SECONDLY is not taken, as AWX does not; MINUTELY is")
    elif given not in Frequency.__members__:
        faults.append(f"FREQ must be one of {', '.join(Frequency)}")
    else:
        return Frequency(given)
    return None


def _until_of(
    parts: Mapping[str, str], zone: ZoneInfo | None, faults: list[str]
) -> datetime | None:
    if "UNTIL" not in parts:
        return None
    if "COUNT" in parts:
        faults.append("COUNT and UNTIL exclude each other")
    found = _UNTIL.fullmatch(parts["UNTIL"])
    until = _time(found["time"]) if found else None
    if not found or until is None:
        faults.append("UNTIL must be as 20301231T235959Z")
    elif found["utc"] and zone:
        until = until.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    return until


def _by_of(parts: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    by: dict[str, Any] = {}
    for name, (argument, least, most) in _NUMBERS.items():
        numbers = [_whole(one) for one in parts[name].split(",")] if name in parts else []
        if any(n is None or not least <= n <= most or (least < 0 and not n) for n in numbers):
            faults.append(f"{name} must hold numbers from {least} to {most}")
        elif numbers:
            by[argument] = frozenset(numbers)
    if "BYDAY" in parts:
        days = parts["BYDAY"].split(",")
        if any(day not in _DAYS for day in days):
            faults.append(
                f"BYDAY must hold days of {','.join(_DAYS)}, without a number: AWX takes none"
            )
        else:
            by["weekdays"] = frozenset(_DAYS.index(day) for day in days)
    if parts.get("WKST", "MO") not in _DAYS:
        faults.append(f"WKST must be one of {', '.join(_DAYS)}")
    else:
        by["week_start"] = _DAYS.index(parts.get("WKST", "MO"))
    return by


def _odd(parts: Mapping[str, str], frequency: Frequency | None) -> Iterator[str]:
    """What AWX may take, and what would cost it dearly: such a rule can be written in another way."""
    if frequency not in (Frequency.MINUTELY, Frequency.HOURLY):
        return
    name = parts["FREQ"]
    for refused in ("BYSETPOS", "BYMONTHDAY"):
        if refused in parts:
            yield f"{refused} is not taken with FREQ={name}; take FREQ=MONTHLY with BYHOUR, BYMINUTE"
    if "COUNT" in parts and any(part.startswith("BY") for part in parts):
        yield f"COUNT is not taken with FREQ={name} and BY...; take UNTIL"


def _number(
    parts: Mapping[str, str], name: str, least: int, most: int, faults: list[str]
) -> int | None:
    if name not in parts:
        return None
    number = _whole(parts[name])
    if number is None or not least <= number <= most:
        faults.append(f"{name} must be a number from {least} to {most}")
        return None
    return number


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,4}", text) else None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.strptime(text, "%Y%m%dT%H%M%S")
    except ValueError:
        return None
    return time if _FIRST < time.year < _LAST else None
