"""When a recurrence rule falls due on a clock without a zone (RFC 5545, section 3.3.10, as dateutil reads it).

Worked out by whole days and times of a day, from the day on that is asked for: what a rule costs does not
depend on how long ago it began, nor on how many times of a day it names. Only a COUNT needs all from its start.
"""

from __future__ import annotations

import calendar
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import cached_property
from itertools import islice
from math import gcd

_DAY = timedelta(days=1)


class Frequency(enum.StrEnum):
    """What a rule counts in."""

    MINUTELY = "MINUTELY"
    HOURLY = "HOURLY"
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


# Of these a day holds several: how many of them it has, and how many minutes each.
_WITHIN_DAYS = {Frequency.HOURLY: (24, 60), Frequency.MINUTELY: (1440, 1)}


@dataclass(frozen=True)
class Recurrence:
    """A rule; a set without members allows all, or what follows from `start`.

    Attributes:
        month_days: negative ones count from a month's end.
        weekdays: 0 is Monday.
        places: which times of each period count, from 1 on, or from -1 on from its end.
        week_start: the weekday that weeks begin with.
    """

    start: datetime
    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    minutes: frozenset[int] = frozenset()
    places: frozenset[int] = frozenset()
    week_start: int = 0

    def times(self, after: datetime, last: datetime) -> Iterator[datetime]:
        """Its times after a moment, up to and with a last one, in order."""
        last = min(last, self.until or last)
        begin = self.start if self.count is not None else max(self.start, after)
        for found in islice(self._from(begin.date(), last.date()), self.count):
            if found > last:
                return
            if found > after:
                yield found

    @property
    def possible(self) -> bool:
        """Whether its steps within days ever meet the hours and minutes that it names."""
        units, _ = _WITHIN_DAYS.get(self.frequency, (1, 1))
        common = gcd(self.interval, units)
        return any((key + self._elapsed(self.start.date())) % common == 0 for key in self._by_step)

    def _from(self, first: date, last: date) -> Iterator[datetime]:
        rule = self._spelled_out
        for days in rule._periods(first, last):
            if rule.places:
                found = rule._placed(days)
            else:
                found = (
                    datetime.combine(day, moment)
                    for day in days
                    if day >= first
                    for moment in rule._times_of(day)
                )
            for moment in found:
                if moment >= self.start:
                    yield moment

    @cached_property
    def _spelled_out(self) -> Recurrence:
        """The same rule, with what follows from its start."""
        start, frequency = self.start, self.frequency
        months, month_days, weekdays = self.months, self.month_days, self.weekdays
        if not month_days and not weekdays:
            if frequency is Frequency.YEARLY:
                months = months or frozenset({start.month})
            if frequency in (Frequency.YEARLY, Frequency.MONTHLY):
                month_days = frozenset({start.day})
            elif frequency is Frequency.WEEKLY:
                weekdays = frozenset({start.weekday()})
        return replace(self, months=months, month_days=month_days, weekdays=weekdays)

    def _periods(self, first: date, last: date) -> Iterator[Sequence[date]]:
        """The days of each period that the rule allows, from the period that a day lies in."""
        if self.frequency is Frequency.DAILY or self.frequency in _WITHIN_DAYS:
            start = self.start.toordinal()
            step = self.interval if self.frequency is Frequency.DAILY else 1
            begin = start + (first.toordinal() - start) // step * step
            for day in map(date.fromordinal, range(begin, last.toordinal() + 1, step)):
                if self._allows(day):
                    yield (day,)
            return
        for since, end in self._spans(first, last):
            days = map(date.fromordinal, range(since.toordinal(), end.toordinal()))
            yield [day for day in days if self._allows(day)]

    def _spans(self, first: date, last: date) -> Iterator[tuple[date, date]]:
        """Where weeks, months or years begin and end; the first may begin before the rule does."""
        if self.frequency in (Frequency.MONTHLY, Frequency.YEARLY):
            length = 12 if self.frequency is Frequency.YEARLY else 1
            origin, step = _number(self.start) // length * length, self.interval * length
            begin = origin + (_number(first) - origin) // step * step
            for month in range(begin, _number(last) + 1, step):
                yield _month(month), _month(month + length)
            return
        start, step = self.start.date(), self.interval * 7
        week = start - (start.weekday() - self.week_start) % 7 * _DAY
        since = week + (first - week).days // step * step * _DAY
        while since <= last:
            # Of its first week a rule has only what is left: its places are counted there.
            yield max(since, start), since + 7 * _DAY
            since += step * _DAY

    def _allows(self, day: date) -> bool:
        if self.months and day.month not in self.months:
            return False
        if self.weekdays and day.weekday() not in self.weekdays:
            return False
        if not self.month_days or day.day in self.month_days:
            return True
        length = calendar.monthrange(day.year, day.month)[1]
        return day.day - length - 1 in self.month_days

    def _placed(self, days: Sequence[date]) -> Iterator[datetime]:
        """The times of a period that stand in the places that are named."""
        if not days:
            return
        times = self._times_of(days[0])  # places are for periods of days, which have the same times
        number = len(days) * len(times)
        for place in self._places_of(number):
            yield datetime.combine(days[place // len(times)], times[place % len(times)])

    def _places_of(self, number: int) -> Sequence[int]:
        if number not in self._known_places:
            found = {place - 1 if place > 0 else number + place for place in self.places}
            self._known_places[number] = sorted(one for one in found if 0 <= one < number)
        return self._known_places[number]

    @cached_property
    def _known_places(self) -> dict[int, Sequence[int]]:
        return {}

    def _times_of(self, day: date) -> Sequence[time]:
        return self._by_step.get(-self._elapsed(day) % self._step, ())

    @property
    def _step(self) -> int:
        return self.interval if self.frequency in _WITHIN_DAYS else 1

    def _elapsed(self, day: date) -> int:
        """How many hours or minutes of its start a day's first one is behind."""
        if self.frequency not in _WITHIN_DAYS:
            return 0
        units, minutes = _WITHIN_DAYS[self.frequency]
        into = (self.start.hour * 60 + self.start.minute) // minutes
        return (day - self.start.date()).days * units - into

    @cached_property
    def _by_step(self) -> Mapping[int, Sequence[time]]:
        """The times of a day, by what their hour or minute leaves when it is divided by the step."""
        start, within = self.start, self.frequency in _WITHIN_DAYS
        hours = self.hours or (range(24) if within else {start.hour})
        every_minute = self.frequency is Frequency.MINUTELY
        minutes = self.minutes or (range(60) if every_minute else {start.minute})
        _, length = _WITHIN_DAYS.get(self.frequency, (1, 1))
        found: dict[int, list[time]] = {}
        for hour in sorted(hours):
            for minute in sorted(minutes):
                key = (hour * 60 + minute) // length % self._step
                found.setdefault(key, []).append(time(hour, minute, start.second))
        return found


def _number(day: date) -> int:
    """A day's month, counted from the calendar's beginning."""
    return day.year * 12 + day.month - 1


def _month(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)
