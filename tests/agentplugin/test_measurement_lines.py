"""Manifest plugins' stdout lines: the original manager's behaviour and our five departures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin.measurements import Event, LineParser, Measurement, Rejected, parse_float

NOW = 1795294824.7
AT = 1795294824


def parse(line: str | bytes, *declared: str) -> Measurement | Event | Rejected:
    return LineParser(declared).parse(line, NOW)


@pytest.mark.parametrize(
    ("line", "metric", "value", "source", "timestamp"),
    [
        ("CPU 1.5", "CPU", 1.5, "", AT),
        ("cpu 1.5 web-1", "CPU", 1.5, "web-1", AT),
        ("CPU 1 web-1 1795290000", "CPU", 1.0, "web-1", 1795290000),
        ("CPU 1 web-1 1795290000123", "CPU", 1.0, "web-1", 1795290000),
        ("CPU 1 s 1000000000", "CPU", 1.0, "s", 1000000000),
        ("CPU 1 s 99999999999", "CPU", 1.0, "s", 99999999999),
        ("CPU 1 s 100000000000", "CPU", 1.0, "s", 100000000),
        ("CPU 1 s 99999999999999", "CPU", 1.0, "s", 99999999999),
        ("CPU 1 s 100000000000000", "CPU", 1.0, "s-100000000000000", AT),
        ("CPU 1 s 1795290000.9", "CPU", 1.0, "s", 1795290000),
        ("CPU 1 1795290000", "CPU", 1.0, "1795290000", AT),
        ("CPU 1  1795290000", "CPU", 1.0, "", 1795290000),
        ("42  1795290000123 ", "CPU", 42.0, "", 1795290000),
        ("CPU 1  4711", "CPU", 1.0, "4711", AT),
        ("CPU 1 a b c", "CPU", 1.0, "a-b-c", AT),
        ("CPU 1 a b 1795290000", "CPU", 1.0, "a-b", 1795290000),
        ("CPU 1 pid 4711", "CPU", 1.0, "pid-4711", AT),
        ('CPU 1 "a b" 1795290000', "CPU", 1.0, "a b", 1795290000),
        ("CPU 1 'a b'", "CPU", 1.0, "a b", AT),
        ('CPU 1 "open end', "CPU", 1.0, "open end", AT),
        ("CPU 53.32, vm", "CPU", 53.32, "vm", AT),
        ("CPU 12%", "CPU", 12.0, "", AT),
        ("CPU 1e3x", "CPU", 1000.0, "", AT),
        ("CPU -.5", "CPU", -0.5, "", AT),
        ("  CPU   7   host  ", "CPU", 7.0, "host", AT),
        ("42", "CPU", 42.0, "", AT),
        ("42 web-1", "CPU", 42.0, "web-1", AT),
        ("42 web-1 1795290000", "CPU", 42.0, "web-1", 1795290000),
        ("CPU 1\r\n", "CPU", 1.0, "", AT),
        ("CPU 1 tab\there", "CPU", 1.0, "tab\there", AT),
        ("5XX_RATE 3 web-1", "5XX_RATE", 3.0, "web-1", AT),
    ],
)
def test_line_is_a_measurement(
    line: str, metric: str, value: float, source: str, timestamp: int
) -> None:
    for given_line in (line, line.encode()):
        got = parse(given_line, "cpu", "5XX_RATE")
        assert isinstance(got, Measurement), got
        assert (got.metric, got.value, got.source, got.timestamp) == (
            metric,
            value,
            source,
            timestamp,
        )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "blank"),
        ("   \n", "blank"),
        ("CPU", "no value"),
        ("CPU, 1, web-1, 5", "not among"),
        ("CPU abc", "no number"),
        ("CPU NaN", "no number"),
        ("CPU Infinity", "finite"),
        ("CPU -Infinity", "finite"),
        ("CPU 1e999", "finite"),
        ("CPU\t1", "no value"),
        ("Interval: 1000", "not among"),
        ("OTHER 1", "not among"),
        ("_bmetric:CPU|v:1", "JSON-RPC"),
        ("CPU 1 " + "x" * 9000, "more than 8192"),
    ],
)
def test_line_is_rejected_with_its_reason(line: str, reason: str) -> None:
    got = parse(line, "CPU")
    assert isinstance(got, Rejected)
    assert reason in got.reason and "\n" not in got.reason


def test_comma_after_the_metric_is_explained() -> None:
    got = parse("CPU, x, 5")
    assert isinstance(got, Rejected) and "commas" in got.reason


def test_value_alone_needs_a_declared_metric() -> None:
    assert isinstance(parse("42"), Rejected)


def test_without_declared_metrics_every_metric_is_let_through() -> None:
    assert isinstance(parse("ANYTHING 1"), Measurement)


def test_first_value_of_a_source_and_second_wins() -> None:
    parser = LineParser(["CPU", "MEM"])
    lines = ["CPU 1", "CPU 2", "CPU 3 other", "MEM 4", "CPU 5 x 1795290000", "CPU 6 x 1795290001"]
    got = [parser.parse(line, NOW) for line in lines]
    values = [one.value if isinstance(one, Measurement) else None for one in got]
    assert values == [1.0, None, 3.0, 4.0, 5.0, 6.0]
    assert isinstance(parser.parse("CPU 7", NOW + 1), Measurement)


def test_many_sources_do_not_fill_the_memory() -> None:
    parser = LineParser(["CPU"])
    for number in range(20_000):
        parser.parse(f"CPU 1 source{number}", NOW)
    assert len(parser._last) <= 4096


def test_event_fields_come_in_any_order_and_values_hold_colons_and_bars() -> None:
    got = parse(
        r"_bevent:Disk \| full|t:ERROR|m:at 12:30 on a\|b|h:web-1|s:check|d:1795290000|"
        "tags:a, b,|at:disk|ad:x:y"
    )
    assert isinstance(got, Event)
    assert (got.title, got.kind, got.message) == ("Disk | full", "error", "at 12:30 on a|b")
    assert (got.host, got.sender, got.timestamp) == ("web-1", "check", 1795290000)
    assert (got.tags, got.event_type, got.data) == (["a", "b"], "disk", "x:y")


def test_event_with_a_title_alone_is_an_information_of_now() -> None:
    got = parse("_bevent:Started")
    assert isinstance(got, Event)
    assert (got.title, got.kind, got.timestamp, got.tags) == ("Started", "info", AT, [])


@pytest.mark.parametrize(
    ("line", "piece"),
    [
        ("_bevent:", "title"),
        ("_bevent: |t:info", "title"),
        ("_bevent:T|t:fatal", "fatal"),
        ("_bevent:T|x:1", "x:1"),
        ("_bevent:T|message", "message"),
        ("_bevent:T|d:yesterday", "yesterday"),
    ],
)
def test_bad_event_is_rejected_and_the_piece_named(line: str, piece: str) -> None:
    got = parse(line)
    assert isinstance(got, Rejected) and piece in got.reason


@pytest.mark.parametrize(
    ("text", "value"),
    [("12%", 12.0), ("1.", 1.0), (".5e1x", 5.0), ("+3", 3.0), ("1e", 1.0), ("0x10", 0.0),
     ("--1", None), ("abc", None), ("", None), (".", None)],
)  # fmt: skip
def test_number_is_what_javascript_reads(text: str, value: float | None) -> None:
    assert parse_float(text) == value


@given(st.binary(max_size=120) | st.text(max_size=120))
def test_any_line_gets_an_answer(line: bytes | str) -> None:
    got = LineParser(["CPU"]).parse(line, NOW)
    assert isinstance(got, (Measurement, Event, Rejected))
    if isinstance(got, Measurement):
        assert got.metric == "CPU"
