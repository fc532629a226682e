"""Schedules that AWX should run, while it is down, slow or refuses: said, and set right afterwards."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import Conflict
from controller.schedules import marks
from controller.schedules.models import Schedule
from controller.schedules.views import awx_state
from tests.controller.deployments.conftest import eventually, sqlite_only
from tests.controller.schedules.awx.conftest import Kept
from tests.controller.schedules.conftest import NIGHTLY, at

pytestmark = pytest.mark.awx_stand_in  # its time stands still


def test_one_whose_template_is_gone_can_be_removed(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    path = f"job_templates/{kept.stage.template}/"
    kept.stage.awx.send("DELETE", path, 204)
    assert "no job template" in kept.state()
    kept.book.remove()
    assert kept.keep() is None


def test_while_awx_is_down_a_schedule_is_kept_and_says_so(kept: Kept) -> None:
    kept.stage.stand_in.down()
    kept.book.add(runs_in="awx")
    said = kept.state()
    assert said.startswith("waits for AWX since 2029-12-31 12:00:30 UTC: ") and "reached" in said
    assert kept.state() == said, "the moment stays that of the first failure"
    kept.stage.stand_in.up()
    assert kept.state() == "in step"
    kept.stage.stand_in.down()
    kept.book.remove()
    assert kept.state().startswith("waits for AWX since ")
    with pytest.raises(Conflict, match="is being removed"):
        kept.book.change(enabled=True)
    with pytest.raises(Conflict, match="already, which is being removed"):
        kept.book.add()
    kept.stage.stand_in.up()
    assert kept.keep() is None and kept.there == []


def test_a_schedule_whose_making_was_not_answered_is_found_again(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.stage.stand_in.faults.set(where="POST .*/schedules/", lose_answers=1)
    assert kept.state().startswith("waits for AWX since ")
    assert kept.state() == "in step"
    assert kept.only()["id"] == kept.book.row().awx_id


def test_one_that_was_perhaps_made_is_looked_for_before_it_runs_here(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.stage.stand_in.faults.set(where="POST .*/schedules/", lose_answers=1)
    kept.keep()
    kept.book.change(runs_in="controller")
    assert kept.book.look("2030-01-01 02:00").next_at is None
    assert kept.book.deployments() == []
    row = kept.keep()
    assert row and (kept.there, row.next_at) == ([], at("2030-01-01 02:00"))


@sqlite_only
def test_one_that_a_slow_awx_may_still_make_does_not_run_here(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _ask_a_slow_awx(kept, monkeypatch)
    kept.book.change(runs_in="controller")
    row = kept.keep()
    assert row and row.next_at is None and kept.there == []
    assert "did not answer, and may still do it" in awx_state(row)
    asked.set()
    assert eventually(10, lambda: kept.there), "it has made it after all"
    row = kept.keep()
    assert row and (kept.there, row.next_at) == ([], at("2030-01-01 02:00"))


@sqlite_only
def test_one_that_awx_was_perhaps_never_asked_for_runs_here_in_the_end(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.stage.stand_in.faults.set(where="POST .*/schedules/", statuses=[502])
    kept.keep()
    kept.book.change(runs_in="controller")
    row = kept.keep()
    assert row and row.next_at is None
    kept.moment += timedelta(minutes=5)
    row = kept.keep()
    assert row and row.next_at == at("2030-01-01 02:00")
    assert not row.awx_url and not row.awx_problem


@sqlite_only
def test_a_refusal_does_not_settle_what_was_not_answered_before(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _ask_a_slow_awx(kept, monkeypatch)
    faults = kept.stage.stand_in.faults
    faults.set(statuses=[503])
    assert "HTTP 503" in kept.state()
    faults.set(where="nothing")
    kept.book.change(runs_in="controller")
    row = kept.keep()
    assert row and row.next_at is None
    asked.set()
    assert eventually(10, lambda: kept.there), "it has made it after all"
    row = kept.keep()
    assert row and (kept.there, row.next_at) == ([], at("2030-01-01 02:00"))


@pytest.mark.parametrize("others", [True, False])
def test_one_that_was_forgotten_here_is_removed_there_when_awx_answers(
    kept: Kept, others: bool
) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    kept.stage.stand_in.down()
    kept.book.remove(forget=True)
    if others:
        kept.book.add("other", runs_in="awx")
    kept.keep()
    kept.stage.stand_in.up()
    kept.keep()
    left = ["plugfleet schedule other"] if others else []
    assert [one["name"] for one in kept.there] == left


def test_one_of_ours_that_our_token_may_not_remove_stops_no_other(kept: Kept) -> None:
    with kept.book.database.read() as session:
        mark = f"[plugfleet schedule 999 of {marks.installation(session)}]"
    body = {"name": "administrator's", "rrule": NIGHTLY, "description": mark}
    path = f"job_templates/{kept.stage.template}/schedules/"
    kept.stage.awx.send("POST", path, 201, json=body)
    kept.book.add(runs_in="awx")
    assert kept.state() == "in step"
    kept.book.change(runs_in="controller")
    row = kept.keep()
    assert row and row.next_at == at("2030-01-01 02:00")
    assert [one["name"] for one in kept.there] == ["administrator's"]


def test_one_that_cannot_be_kept_stops_no_other(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.book.add("aaa", runs_in="awx")
    kept.book.add(runs_in="awx")
    real = marks.fields

    def break_once(row: Schedule, installed: str) -> dict[str, Any]:
        if row.name == "aaa":
            raise ZeroDivisionError("by zero")
        return real(row, installed)

    with monkeypatch.context() as patch:
        patch.setattr(marks, "fields", break_once)
        assert kept.state() == "in step"
    said = awx_state(kept.book.row("aaa"))
    assert "the controller failed at it, please report it: by zero" in said
    kept.keep()
    assert awx_state(kept.book.row("aaa")) == "in step"


def test_a_change_of_mind_while_awx_is_down_leaves_one_schedule_there(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    kept.stage.stand_in.down()
    kept.book.change(runs_in="controller")
    kept.keep()
    kept.book.change(runs_in="awx")
    kept.stage.stand_in.up()
    assert kept.state() == "in step"
    assert kept.only()["enabled"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"awx_schedule_template": "nowhere"}, "no job template 'nowhere'"),
        ({"awx_token": "wrong"}, "does not take our token"),
        ({"awx_token": ""}, "awx_url and awx_token are not set"),
        ({"awx_url": "http://127.0.0.1:1"}, "cannot be reached"),
    ],
)
def test_what_keeps_awx_from_being_in_step_is_said(
    kept: Kept, change: dict[str, Any], said: str
) -> None:
    kept.book.add(runs_in="awx")
    row = kept.keep(kept.settings.model_copy(update=change))
    assert row and said in awx_state(row)
    assert kept.state() == "in step"


def test_what_the_template_does_not_take_is_said(kept: Kept) -> None:
    kept.stage.change(ask_limit_on_launch=False)
    kept.book.add(runs_in="awx")
    kept.book.add("other", runs_in="awx", rrule=NIGHTLY)
    said = kept.state()
    assert said.startswith("AWX does not do it since ") and "limit" in said
    kept.book.change(runs_in="controller")
    assert kept.book.row().next_at, "AWX surely has none"
    kept.book.change(runs_in="awx")
    kept.stage.change(ask_limit_on_launch=True)
    assert kept.state() == "in step"


@pytest.mark.parametrize(
    ("deploy", "switch"),
    [
        ({"hostgroups": ["web"]}, "ask_limit_on_launch"),
        ({"check": True}, "ask_job_type_on_launch"),
        ({"batch_size": 5}, "survey_enabled"),
    ],
)
def test_awx_has_none_that_its_template_would_begin_otherwise_than_it_says(
    kept: Kept, deploy: dict[str, Any], switch: str
) -> None:
    kept.book.add(deploy=deploy, runs_in="awx")
    assert kept.state() == "in step"
    kept.stage.change(**{switch: False})
    for _ in range(2):
        assert "would leave out what it says" in kept.state()
        assert kept.there == [], "its job would visit other hosts, or do more than look"
    asked = "ask_variables_on_launch" if switch == "survey_enabled" else switch
    assert f"'Prompt on launch' for: {asked}" in kept.state()
    kept.stage.change(**{switch: True})
    row = kept.keep()
    assert row and (awx_state(row), row.awx_corrected) == ("in step", "")


def test_awx_without_tokens_is_kept_in_step_by_a_password(kept: Kept) -> None:
    kept.stage.stand_in.awx.rights.has_tokens = False
    kept.book.add(runs_in="awx")
    assert "newer than 24.6.1 has no tokens: set awx_user" in kept.state()
    by_password = {"awx_user": "admin", "awx_token": kept.stage.stand_in.password}
    kept.settings = kept.settings.model_copy(update=by_password)
    assert kept.state() == "in step"
    kept.stage.stand_in.awx.rights.has_tokens = True  # the fixture's is a token


def test_with_another_awx_it_says_where_it_still_is(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    with kept.book.database.write() as session:
        session.query(Schedule).update({"awx_url": "https://old.example.com", "awx_id": 4711})
    path = kept.only()["id"]
    kept.send("DELETE", path, 204)
    assert "it is in https://old.example.com, which awx_url does not name" in kept.state()
    assert kept.there == [], "it might run in both"


def _ask_a_slow_awx(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have AWX asked for `nightly`, which it makes when the event is set: nobody waits for it then."""
    monkeypatch.setattr("controller.awx.transport._ANSWER", 0.5)
    kept.book.add(runs_in="awx")
    faults = kept.stage.stand_in.faults
    faults.set(where="POST .*/schedules/")
    faults.held = asked = threading.Event()
    kept.keep()
    return asked
