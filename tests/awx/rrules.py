"""Which recurrence rules AWX takes, and when they fall due next.

Rules: `ScheduleSerializer.validate_rrule` of AWX (awx/api/serializers.py): DTSTART and INTERVAL are a
must, a naive DTSTART and SECONDLY are refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
_STEPS = {"MINUTELY": 1, "HOURLY": 60, "DAILY": 24 * 60, "WEEKLY": 24 * 60}
_SHOWN = 10
_FAR = 20_000  # steps that are looked at


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
    if not rules:
        found.append("One or more rule required in rrule.")
    for rule in rules:
        if "INTERVAL" not in rule.upper():
            found.append(f"INTERVAL required in rrule: {rule}")
        elif "SECONDLY" in rule.upper():
            found.append(f"SECONDLY is not supported: {rule}")
        if re.search(r"BYDAY[:=]\d+[a-zA-Z]{2}", rule):
            found.append(f"BYDAY with numeric prefix not supported: {rule}")
        if "BYYEARDAY" in rule.upper():
            found.append(f"BYYEARDAY not supported: {rule}")
        if "BYWEEKNO" in rule.upper():
            found.append(f"BYWEEKNO not supported: {rule}")
        if "COUNT" in rule and "UNTIL" in rule:
            found.append(f"RRULE may not contain both COUNT and UNTIL: {rule}")
        if (many := re.search(r"COUNT=(\d+)", rule)) and int(many[1]) > 999:
            found.append(f"COUNT > 999 is unsupported: {rule}")
    return found


def zone(rrule: str) -> str:
    """The time zone's name that a rule is in."""
    named = re.search(r"DTSTART;TZID=([^:]+):", rrule)
    return named[1] if named else "UTC"


def occurrences(rrule: str, after: datetime | None = None) -> list[datetime]:
    """The next times of a rule of FREQ, INTERVAL, BYDAY, BYHOUR, BYMINUTE, COUNT and UNTIL."""
    after = after or datetime.now(UTC)
    start_text = re.search(r"DTSTART(?:;[^:]+)?:(\d+T\d+)", rrule)
    parts = dict(
        part.split("=", 1)
        for part in rrule.split("RULE:", 1)[1].split()[0].split(";")
        if "=" in part
    )
    assert start_text
    start = datetime.strptime(start_text[1], "%Y%m%dT%H%M%S").replace(tzinfo=ZoneInfo(zone(rrule)))
    freq, interval = parts.get("FREQ", "DAILY"), int(parts["INTERVAL"])
    days = parts["BYDAY"].split(",") if "BYDAY" in parts else None
    if freq == "WEEKLY" and not days:
        days = [_DAYS[start.weekday()]]
    hours = sorted(int(hour) for hour in parts.get("BYHOUR", str(start.hour)).split(","))
    minutes = sorted(int(m) for m in parts.get("BYMINUTE", str(start.minute)).split(","))
    daily = freq in ("DAILY", "WEEKLY")
    left = int(parts.get("COUNT", 1_000_000))
    found: list[datetime] = []
    step = timedelta(minutes=_STEPS[freq] * (interval if freq != "WEEKLY" else 1))
    first_week = start.date() - timedelta(days=start.weekday())
    for number in range(_FAR):
        # Wall-clock steps: a rule of 02:00 stays at 02:00 when the clocks change.
        base = start + number * step
        weeks = ((base.date() - first_week).days // 7) if freq == "WEEKLY" else 0
        if (days and _DAYS[base.weekday()] not in days) or weeks % interval * (freq == "WEEKLY"):
            continue
        times = (
            [base.replace(hour=h, minute=m) for h in hours for m in minutes] if daily else [base]
        )
        for time in times:
            if time < start or left <= 0:
                continue
            left -= 1
            if time.astimezone(UTC) > after:
                found.append(time)
                if len(found) == _SHOWN:
                    return found
    return found
