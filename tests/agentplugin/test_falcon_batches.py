"""A plugin's stdout as a Falcon batch: what arrives, and each reason for which something is lost."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentplugin.metrics import Batch, Defaults, parse_batch

NOW = 1795294824.9
GOOD: dict[str, Any] = {
    "endpoint": "h",
    "metric": "m",
    "value": 1.5,
    "step": 60,
    "counterType": "GAUGE",
    "tags": "a=1,b=2",
    "timestamp": 1795294000,
}


def item(**changes: Any) -> str:
    """One good item with some fields changed; None removes a field."""
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return json.dumps(fields)


def raw_item(field: str, literal: str) -> str:
    """One good item whose field holds a literal that json.dumps would not write."""
    rest = json.dumps({key: value for key, value in GOOD.items() if key != field})
    return f'{rest[:-1]}, "{field}": {literal}}}'


def codes(batch: Batch) -> list[str]:
    return [problem.code for problem in batch.problems]


def test_good_batch_arrives_as_printed_and_without_a_word() -> None:
    batch = parse_batch(f"[{item()},\n{item(counterType='COUNTER', value=7)}]\n".encode(), now=NOW)
    assert codes(batch) == [] and not batch.lost and batch.reason() == ""
    assert [metric.as_dict() for metric in batch.metrics] == [
        GOOD,
        {**GOOD, "counterType": "COUNTER", "value": 7.0},
    ]


def test_field_names_match_whatever_their_case() -> None:
    text = json.dumps([{key.upper(): value for key, value in GOOD.items()}])
    assert parse_batch(text, now=NOW).metrics[0].as_dict() == GOOD
    folded = text.replace("STEP", "\\u017ftep").replace("METRIC", "Metric")
    assert parse_batch(folded, now=NOW).metrics[0].as_dict() == GOOD


WHOLE_BATCH_LOST = [
    ("", "no-output"),
    ("\n", "blank-output"),
    (" \t\r\n ", "blank-output"),
    (f"\ufeff[{item()}]", "byte-order-mark"),
    (f"starting\n[{item()}]", "text-before-list"),
    (f"[{item()}]\ndone", "text-after-list"),
    (f"[{item()}]\n[{item()}]", "text-after-list"),
    (f"[{item()}", "not-json"),
    (f"[{item()},]", "not-json"),
    ("Traceback (most recent call last):", "not-json"),
    ("[{'metric': 'm'}]", "not-json"),
    ('[{"metric": "a\nb"}]', "not-json"),
    ("[01]", "not-json"),
    ("\x00", "not-json"),
    ("[" * 100_000, "nested-too-deep"),
    (f"[{raw_item('value', 'NaN')}]", "nan-literal"),
    (f"[{raw_item('value', '-Infinity')}]", "nan-literal"),
    (item(), "not-a-list"),
    ('"text"', "not-a-list"),
    ("12", "not-a-list"),
    ("[1]", "item-not-an-object"),
    (f'[{item()}, "x"]', "item-not-an-object"),
    ("[[]]", "item-not-an-object"),
    ("[true]", "item-not-an-object"),
    (f"[{item(timestamp=1795294000.5)}]", "field-not-integer"),
    (f"[{item(step=60.0)}]", "field-not-integer"),
    (f"[{raw_item('step', '6e1')}]", "field-not-integer"),
    (f"[{item(timestamp='1795294000')}]", "field-type"),
    (f"[{item(step='60')}]", "field-type"),
    (f"[{item(step=True)}]", "field-type"),
    (f"[{item(tags={'a': 1})}]", "field-type"),
    (f"[{item(tags=['a=1'])}]", "field-type"),
    (f"[{item(metric=5)}]", "field-type"),
    (f"[{item(endpoint=False)}]", "field-type"),
    (f"[{item(counterType=1)}]", "field-type"),
    (f"[{item(step=1 << 63)}]", "number-out-of-range"),
    (f"[{raw_item('value', '1e400')}]", "number-out-of-range"),
    (f"[{raw_item('value', '9' * 5000)}]", "number-out-of-range"),
    (f"[{raw_item('timestamp', '9' * 5000)}]", "number-out-of-range"),
]


@pytest.mark.parametrize(("stdout", "code"), WHOLE_BATCH_LOST)
def test_whole_batch_is_lost_as_with_the_real_agent(stdout: str, code: str) -> None:
    for given_stdout in (stdout, stdout.encode()):
        batch = parse_batch(given_stdout, now=NOW)
        assert batch.lost and batch.metrics == []
        assert codes(batch) == [code]
        problem = batch.problems[0]
        assert problem.severity == "error" and problem.message and problem.hint
        assert "\n" not in problem.message
        assert batch.reason() == problem.message


def test_one_bad_field_loses_the_good_items_too_and_each_is_named_with_its_index() -> None:
    batch = parse_batch(f"[{item()}, {item(step='60')}, {item()}, {item(timestamp=1.5)}]", now=NOW)
    assert batch.metrics == []
    assert [(problem.index, problem.code) for problem in batch.problems] == [
        (1, "field-type"),
        (3, "field-not-integer"),
    ]
    assert batch.problems[0].message.startswith("item 1: step")
    assert batch.problems[0].as_dict()["index"] == 1


VALUE_LOST = [
    ("null", "null-item"),
    (item(metric=None), "metric-missing"),
    (item(metric=""), "metric-missing"),
    (item(metric="kernel.hostname"), "metric-forbidden"),
    (item(endpoint=None), "endpoint-missing"),
    (raw_item("endpoint", "null"), "endpoint-missing"),
    (item(step=None), "step-missing"),
    (item(step=0), "step-missing"),
    (item(step=-60), "step-negative"),
    (item(counterType=None), "counter-type-missing"),
    (item(counterType="gauge"), "counter-type-unknown"),
    (item(counterType="GAUGE "), "counter-type-unknown"),
    (item(value=None), "value-missing"),
    (raw_item("value", "null"), "value-missing"),
    (item(value=""), "value-missing"),
    (item(value=True), "value-type"),
    (item(value=[1]), "value-type"),
    (item(value={}), "value-type"),
    (item(value="12%"), "value-not-a-number"),
    (item(value=" 1.5"), "value-not-a-number"),
    (item(value="1_000"), "value-not-a-number"),
    (item(value="1,5"), "value-not-a-number"),
    (item(value="."), "value-not-a-number"),
    (item(value="NaN"), "value-not-finite"),
    (item(value="-inf"), "value-not-finite"),
    (item(value="1e999"), "value-not-finite"),
    (raw_item("value", "9" * 399), "value-not-finite"),
    (item(metric="m" * 500, tags="a=" + "b" * 9), "too-long"),
    (item(metric="m" * 511, tags=None), "too-long"),
    (item(metric="é" * 256, tags=None), "too-long"),
]


@pytest.mark.parametrize(("lost", "code"), VALUE_LOST)
def test_one_value_is_lost_in_transfer_and_its_siblings_arrive(lost: str, code: str) -> None:
    batch = parse_batch(f"[{item(metric='before')}, {lost}, {item(metric='after')}]", now=NOW)
    assert [metric.metric for metric in batch.metrics] == ["before", "after"]
    assert batch.dropped == 1 and not batch.lost
    assert [(problem.index, problem.code, problem.severity) for problem in batch.problems] == [
        (1, code, "error")
    ]
    assert batch.problems[0].hint


def test_every_reason_of_one_value_is_named() -> None:
    batch = parse_batch('[{"value": "x", "counterType": "gauge"}]', now=NOW)
    assert sorted(codes(batch)) == [
        "counter-type-unknown",
        "endpoint-missing",
        "metric-missing",
        "step-missing",
        "timestamp-missing",
        "value-not-a-number",
    ]


ARRIVES = [
    ("[]", "empty-list", "warning", 0),
    ("null", "empty-list", "warning", 0),
    (f'[{item()[:-1]}, "Value": 2}}]', "duplicate-key", "warning", 1),
    (f"[{item(colour='red')}]", "unknown-key", "info", 1),
    (f"[{item(value='1.5')}]", "value-is-text", "info", 1),
    (f"[{item(tags='a=1, b=2')}]", "tags-malformed", "warning", 1),
    (f"[{item(tags='a')}]", "tags-malformed", "warning", 1),
    (f"[{item(tags='a=')}]", "tags-malformed", "warning", 1),
    (f"[{item(tags='=1')}]", "tags-malformed", "warning", 1),
    (f"[{item(tags='a=1,a=2')}]", "tags-malformed", "warning", 1),
    (f"[{item(timestamp=None)}]", "timestamp-missing", "warning", 1),
    (f"[{item(timestamp=0)}]", "timestamp-missing", "warning", 1),
    (f"[{item(timestamp=-5)}]", "timestamp-replaced", "warning", 1),
    (f"[{item(timestamp=1795294824000)}]", "timestamp-replaced", "warning", 1),
]


@pytest.mark.parametrize(("stdout", "code", "severity", "arrive"), ARRIVES)
def test_something_arrives_and_what_changed_is_said(
    stdout: str, code: str, severity: str, arrive: int
) -> None:
    batch = parse_batch(stdout, now=NOW)
    assert not batch.lost and batch.dropped == 0
    assert len(batch.metrics) == arrive
    assert [(problem.code, problem.severity) for problem in batch.problems] == [(code, severity)]


@pytest.mark.parametrize(
    ("literal", "value"),
    [("1", 1.0), ("-0", 0.0), ("1e3", 1000.0), ('"-1.5e2"', -150.0), ('".5"', 0.5), ('"5."', 5.0),
     ("1" + "0" * 300, 1e300), ('"+7"', 7.0)],
)  # fmt: skip
def test_value_is_read_as_a_double(literal: str, value: float) -> None:
    assert parse_batch(f"[{raw_item('value', literal)}]", now=NOW).metrics[0].value == value


def test_impossible_timestamp_becomes_now_and_a_possible_one_stays() -> None:
    stamps = [0, -1, int(NOW) * 2 + 1, int(NOW) * 2, 1]
    text = "[" + ",".join(item(timestamp=stamp) for stamp in stamps) + "]"
    got = [metric.timestamp for metric in parse_batch(text, now=NOW).metrics]
    assert got == [int(NOW), int(NOW), int(NOW), int(NOW) * 2, 1]


def test_last_of_equal_keys_counts_and_null_changes_nothing_but_the_value() -> None:
    text = '[{"metric":"a","Metric":"b","METRIC":null,"endpoint":"h","step":60,"step":null,' + (
        '"counterType":"GAUGE","timestamp":5,"tags":"","value":1,"value":2}]'
    )
    metric = parse_batch(text, now=NOW).metrics[0]
    assert (metric.metric, metric.step, metric.value) == ("b", 60, 2.0)
    lost = parse_batch(f'[{item()[:-1]}, "value": null}}]', now=NOW)
    assert codes(lost) == ["duplicate-key", "value-missing"]


def test_bytes_that_are_not_utf8_are_replaced_and_said() -> None:
    batch = parse_batch(f"[{item(metric='caf?')}]".encode().replace(b"?", b"\xe9"), now=NOW)
    assert codes(batch) == ["not-utf8"]
    assert batch.metrics[0].metric == "caf\ufffd"


def test_half_of_a_unicode_pair_cannot_reach_a_sink() -> None:
    half = '"a\\ud800"'
    batch = parse_batch("[" + raw_item("metric", half) + "]", now=NOW)
    assert batch.metrics[0].metric == "a\ufffd"


def test_defaults_fill_in_what_a_real_agent_would_lose_and_say_so_once() -> None:
    text = '[{"metric":"a","value":1},{"metric":"b","value":2}]'
    batch = parse_batch(text, now=NOW, defaults=Defaults("web-1", 300))
    assert [metric.as_dict() for metric in batch.metrics] == [
        {
            "endpoint": "web-1",
            "metric": name,
            "value": value,
            "step": 300,
            "counterType": "GAUGE",
            "tags": "",
            "timestamp": int(NOW),
        }
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    assert batch.filled == 2
    assert [(problem.code, problem.severity) for problem in batch.problems] == [
        ("filled", "warning")
    ]
    assert parse_batch(text, now=NOW).metrics == []


def test_defaults_never_hide_a_wrong_value() -> None:
    defaults = Defaults("web-1", 300)
    for stdout, code in [
        (item(counterType="gauge"), "counter-type-unknown"),
        (item(step=-1), "step-negative"),
        (item(metric=""), "metric-missing"),
    ]:
        batch = parse_batch(f"[{stdout}]", now=NOW, defaults=defaults)
        assert batch.metrics == [] and batch.filled == 0
        assert codes(batch) == [code]
    assert parse_batch(f"[{item(timestamp=1.5)}]", now=NOW, defaults=defaults).lost


def test_filled_timestamp_alone_is_no_warning() -> None:
    batch = parse_batch(f"[{item(timestamp=None)}]", now=NOW, defaults=Defaults("h", 60))
    assert [(problem.code, problem.severity) for problem in batch.problems] == [("filled", "info")]
    assert batch.reason() == ""


def test_flood_of_bad_values_keeps_few_findings_and_counts_the_rest() -> None:
    good = ",".join(item(value="5") for _ in range(300))
    bad = ",".join(item(step=-1) for _ in range(300))
    batch = parse_batch(f"[{good},{bad}]", now=NOW)
    assert (len(batch.metrics), batch.dropped, batch.unsaid) == (300, 300, 400)
    assert codes(batch).count("step-negative") == 100
    assert codes(batch)[-1] == "more-problems"
    assert "step" in batch.reason()


def test_syntax_error_names_line_and_column() -> None:
    batch = parse_batch(f"[{item()},\n{item()}\n{item()}]", now=NOW)
    assert batch.problems[0].line == 3
    assert "line 3 column 1" in batch.problems[0].message


@pytest.mark.parametrize(
    ("stdout", "piece"),
    [
        ("[\n  {'metric': 1}\n]", "\"  {'metric': 1}\""),
        ('[{"a": 1},\nboom\n]', "'boom'"),
        ("hello\nthere", "'hello'"),
        (f"[{item()}]\ntwo\nthree", "'two'"),
        (f"one\ntwo\n[{item()}]", "'one'"),
        ("[" + "1, " * 500 + "boom]", "1, 1, boom]"),
    ],
)
def test_syntax_error_shows_the_piece_at_fault(stdout: str, piece: str) -> None:
    message = parse_batch(stdout, now=NOW).problems[0].message
    assert piece in message and len(message) < 250


def test_megabyte_of_metrics_is_read_in_a_fraction_of_a_second() -> None:
    text = ("[" + ",".join(item(metric=f"m{i}") for i in range(8000)) + "]").encode()
    assert len(text) > 1_000_000
    started = time.process_time()
    assert len(parse_batch(text, now=NOW).metrics) == 8000
    assert time.process_time() - started < 1.0


def test_megabyte_of_digits_does_not_hold_up_the_executor() -> None:
    started = time.process_time()
    for stdout in (f"[{raw_item('value', '9' * 1_000_000)}]", "9" * 1_000_000, "[" * 1_000_000):
        assert parse_batch(stdout, now=NOW).lost
    assert time.process_time() - started < 1.0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ITEMS = st.none() | st.dictionaries(
    st.sampled_from([*GOOD, "Metric", "VALUE", "x"]), JSON_VALUES | st.sampled_from([60, "GAUGE"])
)


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_no_bytes_make_it_raise_and_nothing_is_lost_without_a_reason(stdout: bytes) -> None:
    batch = parse_batch(stdout, now=NOW)
    assert batch.metrics or batch.problems


@settings(max_examples=300)
@given(st.lists(ITEMS, max_size=5), st.booleans())
def test_every_item_arrives_or_has_its_own_reason(items: list[Any], filling: bool) -> None:
    defaults = Defaults("h", 60) if filling else None
    batch = parse_batch(json.dumps(items), now=NOW, defaults=defaults)
    said = {problem.index for problem in batch.problems if problem.severity == "error"}
    if batch.lost:
        assert batch.metrics == [] and said
        return
    assert len(batch.metrics) + batch.dropped == len(items)
    assert len(said) == batch.dropped
    for metric in batch.metrics:
        assert metric.metric and metric.endpoint and metric.step > 0 and metric.timestamp > 0
        assert math.isfinite(metric.value)
        json.dumps(metric.as_dict(), allow_nan=False, ensure_ascii=False).encode("utf-8")
