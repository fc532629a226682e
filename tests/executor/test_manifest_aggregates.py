"""One value a step, by the aggregate that metrics.json names."""

from __future__ import annotations

import json

import pytest

from agentplugin.metrics import Metric
from executor.log import Log
from executor.loop import Loop
from executor.manifest_aggregate import Aggregate
from tests.executor.harness import Host, wait_until
from tests.executor.manifest_source import install


def value(metric: str, number: float, timestamp: int, tags: str = "") -> Metric:
    return Metric("host", metric, number, 60, "GAUGE", tags, timestamp)


def test_values_of_a_step_become_one_by_their_aggregate() -> None:
    given: list[Metric] = []
    kinds = {"A": "avg", "S": "sum", "L": "min", "H": "max"}
    aggregate = Aggregate(Loop(Log()), kinds, given.extend)
    for name in ("A", "S", "L", "H", "X"):
        aggregate.add([value(name, number, 1_790_000_000 + number) for number in (1, 2, 6)])
    aggregate.add([value("A", 7, 1_790_000_000, "source=b"), value("A", 8, 1_790_000_100)])
    assert given == []
    aggregate.flush()
    found = [(metric.metric, metric.tags, metric.value) for metric in given]
    assert found == [
        ("A", "", 3.0), ("S", "", 9.0), ("L", "", 1.0), ("H", "", 6.0), ("X", "", 3.0),
        ("A", "source=b", 7.0), ("A", "", 8.0),
    ]  # fmt: skip
    aggregate.flush()
    assert len(given) == 7


def test_a_step_that_is_over_is_handed_on_and_the_present_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_790_000_040.0
    monkeypatch.setattr("time.time", lambda: now)
    given: list[Metric] = []
    aggregate = Aggregate(Loop(Log()), {}, given.extend)
    aggregate.add([value("A", 1, int(now)), value("A", 3, int(now) - 60)])
    aggregate._step_is_over()
    assert [metric.value for metric in given] == [3]
    now += 61
    aggregate._step_is_over()
    assert [metric.value for metric in given] == [3, 1]


def test_an_executor_that_aggregates_hands_on_what_waits_when_it_stops(host: Host) -> None:
    install(
        host,
        "import time\nfor n in range(1, 5): print('TEST_VALUE', n, '\"\"', 1790000000 + n)\n"
        "while True: time.sleep(1)\n",
    )
    definition = {"TEST_VALUE": {"defaultAggregate": "SUM", "unit": "number"}}
    (host.root / "plugin/check/metrics.json").write_text(json.dumps(definition))
    host.cfg["executor"]["aggregate"] = True
    host.bind("check")
    host.start()
    host.wait_state("check", "ok")
    assert host.samples() == []
    host.stop()
    (sample,) = wait_until(host.samples, "the sum")
    assert (sample["value"], sample["timestamp"]) == (10.0, 1790000004)
