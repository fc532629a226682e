"""The formats of other programs, and metric definitions: good lines, bad ones, and anything at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin import definitions, influxline, nagios, promtext
from agentplugin.measurements import Event, LineParser, Measurement, Rejected
from agentplugin.values import Unreadable, Value

NOW = 1795294824.7
AT = 1795294824


def parts(values: list[Value]) -> list[tuple[str, float, dict[str, str], int]]:
    return [(value.metric, value.value, value.tags, value.timestamp) for value in values]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("cpu usage=1.5", [("cpu.usage", 1.5, {}, AT)]),
        ("cpu,host=a,core=0 u=1,s=2i", [("cpu.u", 1.0, {"host": "a", "core": "0"}, AT),
                                        ("cpu.s", 2.0, {"host": "a", "core": "0"}, AT)]),
        ("cpu v=7u 1795290000123456789", [("cpu.v", 7.0, {}, 1795290000)]),
        (r"my\ disk,path=C:\\\ x f\=g=-1e3", [("my disk.f=g", -1000.0, {"path": r"C:\ x"}, AT)]),
        ('up ok=true,bad=F,text="a, b=c\\" d" \r\n', [("up.ok", 1.0, {}, AT), ("up.bad", 0.0, {}, AT)]),
        ('only text="x"', []),
        ("# comment", []),
        ("", []),
    ],
)  # fmt: skip
def test_influx_line(line: str, values: list[tuple[str, float, dict[str, str], int]]) -> None:
    assert parts(influxline.parse(line, NOW)) == values


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cpu", "is not `measurement"),
        ("cpu usage", "is not field=value"),
        ("cpu usage=", "is not field=value"),
        ("cpu usage=abc", "'usage' is 'abc'"),
        ("cpu usage=nan", "no number"),
        ("cpu usage=1e999", "no number"),
        (f"cpu usage={'9' * 400}i", "no number"),
        ("cpu usage=1 1795290000", "not in nanoseconds since 1970"),
        ("cpu usage=1 tomorrow", "'tomorrow' is no time"),
        ("cpu,host usage=1", "is not `measurement"),
        ("x" * 20000, "more than 16384"),
    ],
)
def test_influx_line_is_refused_with_its_piece(line: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        influxline.parse(line, NOW)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("up 1", ("up", 1.0, {}, AT)),
        ("  up{} +1e3 1795290000999 ", ("up", 1000.0, {}, 1795290000)),
        ('a:b{x="1", y = "two, \\"three\\"\\n",} -.5',
         ("a:b", -0.5, {"x": "1", "y": 'two, "three"\n'}, AT)),
    ],
)  # fmt: skip
def test_prometheus_line(line: str, value: tuple[str, float, dict[str, str], int]) -> None:
    assert parts(promtext.Reader().parse(line, NOW)) == [value]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("up", "is not `name"),
        ("up one two", "is not `name"),
        ("up +Inf", "not a finite number"),
        ("up 0x10", "not a finite number"),
        ('up{x=1} 1', "is not `name"),
        ("9up 1", "is not `name"),
        ("u" * 9000, "more than 8192"),
    ],
)  # fmt: skip
def test_prometheus_line_is_refused_with_its_piece(line: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        promtext.Reader().parse(line, NOW)


def test_prometheus_types_tell_counters() -> None:
    reader = promtext.Reader()
    for line in ("# TYPE a counter", "# TYPE b gauge", "# TYPE c histogram", "# HELP a text"):
        assert reader.parse(line, NOW) == []
    kinds = [reader.parse(f"{name} 1", NOW)[0].kind for name in ("a", "b", "c_bucket", "d_sum")]
    assert kinds == ["COUNTER", "GAUGE", "COUNTER", "GAUGE"]


@pytest.mark.parametrize(
    ("stdout", "text", "perfdata", "troubles"),
    [
        ("PING OK - 0.5 ms|rta=0.500ms;3000;5000;0 pl=0%;80;100\n", "PING OK - 0.5 ms",
         [("rta", 0.5, "ms"), ("pl", 0.0, "%")], 0),
        ("OK", "OK", [], 0),
        ("", "", [], 0),
        ("OK | 'it''s'=1;~:5;@1:2", "OK", [("it's", 1.0, None)], 0),
        ("OK |a=U b=1,5s c=x d", "OK", [("b", 1.5, "s")], 2),
        ("OK|a=1\nmore\nlines|b=2\nc=3", "OK",
         [("a", 1.0, None), ("b", 2.0, None), ("c", 3.0, None)], 0),
        ("OK | =1 '=2 a==3", "OK", [], 3),
    ],
)  # fmt: skip
def test_nagios_output(
    stdout: str, text: str, perfdata: list[tuple[str, float, str | None]], troubles: int
) -> None:
    check = nagios.read("x", stdout, 1, AT)
    status, *rest = check.values
    assert (status.metric, status.value, check.text) == ("x.status", 1.0, text)
    found = [(value.tags["perfdata"], value.value, value.tags.get("unit")) for value in rest]
    assert found == perfdata
    assert len(check.troubles) == troubles


FIELDS = {
    "unit": "int",
    "defaultAggregate": "AVE",
    "description": " d ",
    "defaultResolutionMS": None,
}


@pytest.mark.parametrize(
    "content",
    [{"cpu": FIELDS}, {"result": [dict(FIELDS, name="CPU")]}, [dict(FIELDS, name="Cpu"), 5]],
    ids=["by-name", "result", "list"],
)
def test_metric_definitions_in_three_shapes(content: object) -> None:
    (found,) = definitions.read(json.dumps(content).encode()).values()
    assert (found.name, found.unit, found.aggregate, found.description) == (
        "CPU", "number", "avg", "d",
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_broken_definitions_are_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        definitions.read(content)


def test_a_table_with_bars_is_no_performance_data_and_read_at_once() -> None:
    check = nagios.read("x", "OK | " + "| a " * 16_000, 0, AT)
    assert len(check.troubles) == 100 and len(check.values) == 1


def test_values_of_one_line_have_their_tags_in_common() -> None:
    first, second = influxline.parse("m,a=b x=1,y=2", NOW)
    assert first.tags is second.tags


WORDS = st.text(alphabet="aA1.-+_eE, \"'|=\\;{}%#\t\ré٣", max_size=40)


@given(WORDS)
def test_any_text_is_read_or_refused(line: str) -> None:
    nagios.read("x", line, 0, AT)
    for parse in (influxline.parse, promtext.Reader().parse):
        try:
            for value in parse(line, NOW):
                assert value.value - value.value == 0
        except Unreadable as trouble:
            assert "\n" not in str(trouble)


@given(
    st.lists(
        st.one_of(
            st.from_regex(
                r"(CPU|cpu|\"CPU\"|Mem|5XX) {1,2}[-+]?[0-9_.]{1,4}(e1|%|\t|inf|nan)?"
                r"( [\"'a-z1]{0,4}( [0-9]{9,16}(\.5|\r)?)?)?( x)?",
                fullmatch=True,
            ),
            st.text(max_size=20),
        ),
        max_size=12,
    )
)
def test_the_short_way_reads_plain_lines_as_the_rules_do(lines: list[str]) -> None:
    short, rules = LineParser(["CPU", "MEM", "5XX"]), LineParser(["CPU", "MEM", "5XX"])
    for line in lines:
        found = short.parse(line.encode("utf-8", "replace"), NOW)
        wanted = rules._by_the_rules(line.encode("utf-8", "replace"), NOW)
        assert repr(found) == repr(wanted)
        assert isinstance(found, (Measurement, Event, Rejected))


def test_a_parser_reads_a_plain_line_in_its_short_way() -> None:
    parser = LineParser(["CPU"])
    assert isinstance(parser.parse(b"CPU 1 web 1795290000", NOW), Measurement)
    assert parser._plain(b"CPU 2.5 web 1795290001123", NOW) is not None
