"""Rules of schedules: what is taken, what is said against the rest, and when they fall due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.schedules.rules import HORIZON, Rule, check, parse
from tests.awx import rrules

NOW = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
Z = "DTSTART:20260101T100000Z RRULE:"
LONDON = "DTSTART;TZID=Europe/London:"


def shown(text: str, after: datetime = NOW, number: int = 3) -> list[str]:
    return [f"{moment:%Y-%m-%d %H:%M}" for moment in islice(parse(text).times(after), number)]


REFUSED = [
    ("", "'' is no rule; write it as 'DTSTART;TZID="),
    ("every day at 2", "'every day at 2' is no rule; write it as 'DTSTART;TZID="),
    ("RRULE:FREQ=DAILY;INTERVAL=1", "DTSTART must be there once"),
    ("DTSTART:20260101T100000Z", "RRULE must be there once"),
    (f"{Z}FREQ=DAILY;INTERVAL=1 RRULE:FREQ=DAILY;INTERVAL=2", "RRULE must be there once"),
    (f"{Z}FREQ=DAILY;INTERVAL=1 DTSTART:20260101T100000Z", "DTSTART must be there once"),
    (f"{Z}FREQ=DAILY;INTERVAL=1 EXDATE:20260102T100000Z", "'EXDATE:20260102T100000Z' is neither"),
    ("DTSTART:20260101T100000 RRULE:FREQ=DAILY;INTERVAL=1", "no time zone"),
    ("DTSTART;TZID=UTC:20260101T100000Z RRULE:FREQ=DAILY;INTERVAL=1", "a TZID and a Z"),
    ("DTSTART;TZID=Europe/Lodnon:20260101T100000 RRULE:FREQ=DAILY;INTERVAL=1", "no time zone 'Eur"),
    ("DTSTART;TZID=../../etc/passwd:20260101T100000 RRULE:FREQ=DAILY;INTERVAL=1", "no time zone"),
    ("DTSTART:20260230T100000Z RRULE:FREQ=DAILY;INTERVAL=1", "20260230T100000 is no time"),
    ("DTSTART:19991231T100000Z RRULE:FREQ=DAILY;INTERVAL=1", "is no time from 2000 to 2100"),
    ("DTSTART:2026-01-01T10:00Z RRULE:FREQ=DAILY;INTERVAL=1", "must be DTSTART;TZID="),
    (f"{Z}FREQ=DAILY", "INTERVAL is missing"),
    (f"{Z}FREQ=DAILY;INTERVAL=0", "INTERVAL must be a number from 1 to 9999"),
    (f"{Z}FREQ=SECONDLY;INTERVAL=1", "SECONDLY is not taken"),
    (f"{Z}FREQ=OFTEN;INTERVAL=1", "FREQ must be one of MINUTELY, HOURLY"),
    (f"{Z}INTERVAL=1", "FREQ must be one of"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;COUNT=1000", "COUNT must be a number from 1 to 999"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;COUNT=2;UNTIL=20300101T000000Z", "exclude each other"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;UNTIL=never", "UNTIL must be as"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;UNTIL=99991231T235959Z", "UNTIL must be as"),
    (f"{Z}FREQ=MONTHLY;INTERVAL=1;BYDAY=1MO", "without a number"),
    (f"{Z}FREQ=MONTHLY;INTERVAL=1;BYDAY=-1MO", "without a number"),
    (f"{Z}FREQ=YEARLY;INTERVAL=1;BYYEARDAY=5", "BYYEARDAY is not taken"),
    (f"{Z}FREQ=YEARLY;INTERVAL=1;BYWEEKNO=5", "BYWEEKNO is not taken"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;BYSECOND=1", "BYSECOND is not taken"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;BYHOUR=24", "BYHOUR must hold numbers from 0 to 23"),
    (f"{Z}FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=0", "BYMONTHDAY must hold numbers"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;WKST=XX", "WKST must be one of"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;BYFOO=1", "'BYFOO' is not known"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;INTERVAL=2", "INTERVAL is there twice"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;", "must be NAME=VALUE"),
    (f"{Z}FREQ=HOURLY;INTERVAL=1;BYSETPOS=5", "BYSETPOS is not taken with FREQ=HOURLY"),
    (f"{Z}FREQ=MINUTELY;INTERVAL=1;BYMONTHDAY=30", "BYMONTHDAY is not taken with FREQ=MINUTELY"),
    (f"{Z}FREQ=MINUTELY;INTERVAL=1;COUNT=9;BYHOUR=3", "COUNT is not taken with FREQ=MINUTELY"),
    (f"{Z}FREQ=YEARLY;INTERVAL=1;BYMONTH=2;BYMONTHDAY=30", "never falls due"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;COUNT=5", "all of its times are past"),
    (f"{Z}FREQ=YEARLY;INTERVAL=20;COUNT=2", "never falls due within"),
    (f"{Z}FREQ=DAILY;INTERVAL=1;UNTIL=20260601T000000Z", "all of its times are past"),
    (f"{Z}FREQ=HOURLY;INTERVAL=24;BYHOUR=3", "INTERVAL never meets"),
    (f"{Z}FREQ=MINUTELY;INTERVAL=1440;BYHOUR=3", "INTERVAL never meets"),
    (f"{Z}FREQ=DAILY;INTERVAL=7;BYDAY=FR", "never falls due"),
    ("DTSTART:20900101T100000Z RRULE:FREQ=DAILY;INTERVAL=1", "never falls due within the next ten"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_rule_that_is_not_taken_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        check(text, NOW)
    assert said in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"no time zone.*FREQ must.*INTERVAL is missing.*BYHOUR"):
        parse("DTSTART:20260101T100000 RRULE:FREQ=X;BYHOUR=99")


@pytest.mark.parametrize("text", [text for text, _ in REFUSED if rrules.faults(text)])
def test_what_awx_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


DUE = [
    (
        f"{LONDON}20261122T020000 RRULE:FREQ=DAILY;INTERVAL=1",
        "2026-11-23 02:00",
        "2026-11-24 02:00",
    ),
    (f"{Z}FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=10,14", "2026-11-30 10:00", "2026-11-30 14:00"),
    (f"{Z}FREQ=MINUTELY;INTERVAL=7", "2026-11-22 11:02", "2026-11-22 11:09"),
    (f"{Z}FREQ=HOURLY;INTERVAL=5;BYMINUTE=0,30", "2026-11-22 15:00", "2026-11-22 15:30"),
    (f"{Z}FREQ=HOURLY;INTERVAL=3;BYHOUR=7", "2026-11-23 07:00", "2026-11-24 07:00"),
    (f"{Z}FREQ=MINUTELY;INTERVAL=5;BYHOUR=16;BYMINUTE=35", "2026-11-22 16:35", "2026-11-23 16:35"),
    (f"{Z}FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=-1", "2026-11-30 10:00", "2026-12-31 10:00"),
    (f"{Z}FREQ=MONTHLY;INTERVAL=1;BYDAY=MO;BYSETPOS=1", "2026-12-07 10:00", "2027-01-04 10:00"),
    (f"{Z}FREQ=YEARLY;INTERVAL=1;BYMONTH=2;BYMONTHDAY=29", "2028-02-29 10:00", "2032-02-29 10:00"),
    ("dtstart:20260101T100000Z\nrrule:freq=daily;interval=1", "", ""),
    (
        "DTSTART:20260101T100000Z\nRRULE:FREQ=DAILY;INTERVAL=1",
        "2026-11-23 10:00",
        "2026-11-24 10:00",
    ),
    (f"{Z}FREQ=DAILY;INTERVAL=1;UNTIL=20261123T100000Z", "2026-11-23 10:00", ""),
    (
        f"{LONDON}20260101T100000 RRULE:FREQ=DAILY;INTERVAL=1;UNTIL=20261123T100000",
        "2026-11-23 10:00",
        "",
    ),
    ("DTSTART:20261122T110000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=2", "2026-11-23 11:00", ""),
    ("DTSTART:20261123T110000Z RRULE:FREQ=YEARLY;INTERVAL=9999", "2026-11-23 11:00", ""),
    ("DTSTART:20261123T110000Z RRULE:FREQ=WEEKLY;INTERVAL=9999", "2026-11-23 11:00", ""),
]


@pytest.mark.parametrize(("text", "first", "second"), DUE)
def test_when_a_rule_falls_due(text: str, first: str, second: str) -> None:
    if not first:
        with pytest.raises(ValueError, match="DTSTART"):
            parse(text)
        return
    assert shown(text, number=2) == [moment for moment in (first, second) if moment]


def test_a_rule_is_kept_on_one_line_as_awx_shows_it() -> None:
    text = f"\n {Z.replace(' ', chr(10))}freq=DAILY;interval=1 "
    assert parse(text).text == f"{Z}FREQ=DAILY;INTERVAL=1"


def test_local_times_stay_when_clocks_change() -> None:
    text = f"{LONDON}20260101T020000 RRULE:FREQ=MONTHLY;INTERVAL=3"
    assert shown(text, NOW, 3) == ["2027-01-01 02:00", "2027-04-01 01:00", "2027-07-01 01:00"]


def test_a_time_that_clocks_skip_is_left_out() -> None:
    text = f"{LONDON}20260101T013000 RRULE:FREQ=DAILY;INTERVAL=1"
    before = datetime(2027, 3, 27, 12, tzinfo=UTC)  # clocks go from 01:00 to 02:00 on the 28th
    assert shown(text, before, 2) == ["2027-03-29 00:30", "2027-03-30 00:30"]


@pytest.mark.parametrize("minutes", [0, 20, 40, 70, 100])
def test_of_a_time_that_clocks_show_twice_the_first_counts(minutes: int) -> None:
    text = f"{LONDON}20260101T013000 RRULE:FREQ=DAILY;INTERVAL=1"
    # Clocks go from 02:00 back to 01:00 on the 31st: 01:30 is 00:30 and 01:30 UTC.
    after = datetime(2027, 10, 31, 0, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    first = ["2027-10-31 00:30"] if minutes < 30 else []
    assert shown(text, after, 2)[: len(first) + 1] == [*first, "2027-11-01 01:30"]


OLD = "DTSTART:20000101T000000Z RRULE:"
WEEK = "BYDAY=MO,TU,WE,TH,FR,SA,SU"
ALWAYS = f"BYHOUR={','.join(map(str, range(24)))};BYMINUTE={','.join(map(str, range(60)))}"
PLACES = f"BYSETPOS={','.join(map(str, range(366, 160, -1)))}"
DEAR = [
    f"{OLD}FREQ=YEARLY;INTERVAL=1;{WEEK};{ALWAYS}",
    f"{OLD}FREQ=MONTHLY;INTERVAL=1;{WEEK};{ALWAYS}",
    f"{OLD}FREQ=YEARLY;INTERVAL=1;{WEEK};{ALWAYS};BYSETPOS=-1",
    f"{OLD}FREQ=YEARLY;INTERVAL=1;BYMONTH=2;BYMONTHDAY=30;{ALWAYS}",
    f"{OLD}FREQ=WEEKLY;INTERVAL=1;COUNT=1;BYMONTH=2;BYMONTHDAY=30;{ALWAYS}",
    f"{OLD}FREQ=DAILY;INTERVAL=1;BYMONTH=2;BYMONTHDAY=30",
    f"{OLD}FREQ=DAILY;INTERVAL=1;COUNT=999;BYMONTHDAY=31;BYMONTH=4",
    f"{OLD}FREQ=DAILY;INTERVAL=1;COUNT=1;BYHOUR=1,2;{PLACES}",
    f"{OLD}FREQ=WEEKLY;INTERVAL=1;BYHOUR=1;{PLACES}",
    f"{OLD}FREQ=MINUTELY;INTERVAL=1",
    f"{OLD}FREQ=MINUTELY;INTERVAL=1;UNTIL=20260101T000000Z",
    f"{OLD}FREQ=MINUTELY;INTERVAL=1;BYHOUR=23;BYMINUTE=59;BYMONTH=2;BYDAY=MO",
    f"{OLD}FREQ=MINUTELY;INTERVAL=7;BYHOUR=23;BYMINUTE=59;BYDAY=MO,TU,WE,TH,SA,SU",
    f"{OLD}FREQ=MINUTELY;INTERVAL=1439;BYHOUR=23;BYMONTH=12",
    f"{OLD}FREQ=HOURLY;INTERVAL=9999;COUNT=999",
]


@pytest.mark.parametrize("text", DEAR)
def test_no_rule_takes_long(text: str) -> None:
    rule = parse(text)
    took = min(_seconds(rule) for _ in range(3))
    assert took < 0.1, "0.03 s at most on an idle machine"


def _seconds(rule: Rule) -> float:
    """How long the processor works on what is ever shown of a rule."""
    began = time.process_time()
    rule.over(NOW)
    list(islice(rule.times(NOW), 100))
    return time.process_time() - began


def test_places_are_counted_from_a_weeks_beginning_but_in_a_rules_first_week() -> None:
    text = "DTSTART:20261118T100000Z RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,WE,FR;BYSETPOS=1"  # Wednesday
    before = datetime(2026, 11, 17, tzinfo=UTC)
    assert shown(text, before, 2) == ["2026-11-18 10:00", "2026-11-23 10:00"]
    assert shown(text, NOW, 1) == ["2026-11-23 10:00"]


numbers = st.lists(st.integers(-32, 61), min_size=1, max_size=3).map(
    lambda found: ",".join(map(str, found))
)
parts = st.one_of(
    st.tuples(st.sampled_from(["INTERVAL", "COUNT"]), st.integers(-1, 2000).map(str)),
    st.tuples(
        st.sampled_from(["BYMONTH", "BYMONTHDAY", "BYHOUR", "BYMINUTE", "BYSETPOS"]), numbers
    ),
    st.tuples(st.just("BYDAY"), st.sampled_from(["MO", "TU,FR", "1MO", "SU"])),
    st.tuples(st.just("UNTIL"), st.sampled_from(["20280101T000000Z", "20260101T000000", "x"])),
    st.tuples(st.text(max_size=5), st.text(max_size=5)),
)
starts = st.one_of(
    st.sampled_from([f"{LONDON}20260329T013000", "DTSTART:20260101T100000Z", "DTSTART:x", ""]),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
        "DTSTART:{:%Y%m%dT%H%M%S}Z".format
    ),
)
rules = st.builds(
    lambda start, freq, interval, more: (
        f"{start} RRULE:FREQ={freq};INTERVAL={interval}"
        + "".join(f";{name}={value}" for name, value in more)
    ),
    starts,
    st.sampled_from(["MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY", "SECONDLY"]),
    st.integers(1, 50),
    st.lists(parts, max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=80), rules))
def test_whatever_is_given_is_refused_in_words_or_falls_due_in_order(text: str) -> None:
    began = time.process_time()
    try:
        rule = check(text, NOW)
        times = list(islice(rule.times(NOW), 5))
    except ValueError as refused:
        assert str(refused)
    else:
        assert times and times == sorted(set(times))
        assert all(NOW < moment <= NOW + HORIZON + timedelta(days=1) for moment in times)
        assert not rrules.faults(rule.text), "AWX would refuse it"
    assert time.process_time() - began < 3


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(
        lambda d: d.replace(microsecond=0)
    ),
    st.sampled_from(["Europe/London", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY", "HOURLY", "MINUTELY"]),
    st.integers(1, 5),
    st.sampled_from(
        [
            *("", ";BYDAY=MO,WE", ";BYMONTH=3,10", ";BYHOUR=1,2;BYMINUTE=30", ";COUNT=900"),
            *(";BYMONTHDAY=-2,31", ";BYDAY=TU,FR;BYSETPOS=-1;WKST=SU", ";UNTIL=20270301T103000Z"),
        ]
    ),
)
def test_rules_fall_due_as_awx_works_it_out(
    start: datetime, zone: str, freq: str, interval: int, more: str
) -> None:
    text = f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S} RRULE:FREQ={freq};INTERVAL={interval}{more}"
    try:
        ours = list(islice(parse(text).times(NOW), 4))
    except ValueError:
        return
    theirs = [moment.astimezone(UTC) for moment in rrules.occurrences(text, NOW)[:4]]
    assert ours == [moment for moment in theirs if moment <= NOW + HORIZON]
