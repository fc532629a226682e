"""What one host says costs no other host its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.deployments.cleaning import Cleaner
from controller.deployments.journal import JournalReader
from controller.deployments.models import HostStatus, Status
from controller.deployments.recorder import WaveEnd
from controller.deployments.results import HostOutcome
from controller.deployments.tracking import JobOver, LookAtJournal, Over, Tracker


class _Choking(Cleaner):
    """Chokes on one word, as on something that nobody has thought of."""

    def data(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, Mapping) and value.get("msg") == "poison":
            raise ValueError("poison")
        return super().data(value, depth)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def _tracker(journal: Path) -> Tracker:
    return Tracker({"a": "plan", "b": "plan"}, _Choking([]), JournalReader(journal))


def _told(journal: Path, *lines: tuple[str, str]) -> None:
    """Hosts, and their results as JSON."""
    said = [f'{{"host": "{host}", "result": {result}}}\n' for host, result in lines]
    journal.write_text("".join(said))


_GOOD = json.dumps({"msg": "ok", "changed": True})


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (json.dumps({"msg": 'printed {"token": ' + "[" * 1_500}), HostStatus.OK),
        (json.dumps({"msg": "poison", "failed": True}), HostStatus.FAILED),
        ('{"failed": true, "msg": ' + "[" * 400 + "]" * 400 + "}", HostStatus.FAILED),
    ],
    ids=["unclosed", "unforeseen", "deep"],
)
def test_what_is_hard_to_read_costs_no_other_result(
    journal: Path, said: str, status: HostStatus
) -> None:
    tracker = _tracker(journal)
    _told(journal, ("a", said), ("b", _GOOD))
    outcomes = [kept for kept in tracker.read(LookAtJournal()) if isinstance(kept, HostOutcome)]
    assert [(o.host, o.status) for o in outcomes] == [("a", status), ("b", HostStatus.CHANGED)]


@pytest.mark.parametrize("said", ["[" * 100_000, "7", "", '"text"'])
def test_a_line_that_nobody_can_read_leaves_its_host_alone_undecided(
    journal: Path, said: str
) -> None:
    tracker = _tracker(journal)
    _told(journal, ("a", said), ("b", _GOOD))
    kept = tracker.read(Over(None, 2))
    decided = {entry.host: entry.status for entry in kept if isinstance(entry, HostOutcome)}
    assert decided == {"a": HostStatus.FAILED, "b": HostStatus.CHANGED}
    assert isinstance(kept[-1], WaveEnd) and kept[-1].status == Status.FAILED


@pytest.mark.parametrize("told", ["older", ""], ids=["an older inventory", "one without secrets"])
def test_a_host_was_brought_to_the_plan_that_its_visit_names(journal: Path, told: str) -> None:
    tracker = _tracker(journal)
    _told(journal, ("a", json.dumps({"changed": True, "plan": told})), ("b", _GOOD))
    outcomes = [kept for kept in tracker.read(LookAtJournal()) if isinstance(kept, HostOutcome)]
    assert [(outcome.host, outcome.plan) for outcome in outcomes] == [("a", told), ("b", "plan")]


@pytest.mark.parametrize(
    ("kind", "result", "status"),
    [
        ("runner_on_ok", {"changed": True, "msg": "brought"}, HostStatus.CHANGED),
        ("runner_on_ok", {}, None),
        ("runner_on_failed", {"msg": "no space left"}, HostStatus.FAILED),
        ("runner_on_failed", {}, HostStatus.FAILED),
        ("runner_on_unreachable", {}, HostStatus.UNREACHABLE),
    ],
)
def test_an_event_means_what_its_kind_says_whatever_is_left_of_its_result(
    journal: Path, kind: str, result: dict[str, Any], status: HostStatus | None
) -> None:
    data = {"host": "a", "task_action": "plugin_report", "res": result}
    kept = _tracker(journal).read({"event": kind, "counter": 9, "job": 5, "event_data": data})
    decided = {entry.host: entry.status for entry in kept if isinstance(entry, HostOutcome)}
    assert decided == ({"a": status} if status else {})


@pytest.mark.parametrize(("blind", "status"), [(True, "interrupted"), (False, "failed")])
def test_hosts_that_were_visited_unseen_are_not_said_to_be_untouched(
    journal: Path, blind: bool, status: str
) -> None:
    tracker = _tracker(journal)
    _told(journal, ("a", _GOOD))
    tracker.read(LookAtJournal())
    (outcome,) = tracker.read(JobOver(0, ["a", "b"], trouble="it broke off", blind=blind))
    assert isinstance(outcome, HostOutcome)
    assert (outcome.host, outcome.status.value, outcome.touched) == ("b", status, blind)
