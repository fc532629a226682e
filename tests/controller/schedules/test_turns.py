"""When schedules' turns come: one deployment each, whatever the clock, the controllers and the tokens do."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from controller.audit.models import AuditEntry
from controller.auth import service as auth
from controller.auth.models import Scope, Token
from controller.auth.principal import CONTROLLER
from controller.catalog.models import ReleaseRow
from controller.database.base import now
from controller.deployments import service as deployments
from controller.deployments.models import Status
from controller.errors import Forbidden, Unavailable
from controller.fleet.models import Host, Hostgroup, Membership
from controller.operations.metrics import REGISTRY
from controller.schedules import outcomes, service, turns
from controller.schedules.flow import Turner
from controller.schedules.models import Outcome, Schedule
from tests.controller.deployments.conftest import sqlite_only
from tests.controller.schedules.conftest import NIGHTLY, Book, at

GONE = "DTSTART;TZID=US/Gone:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1"
MINUTELY = "DTSTART:20300101T020000Z RRULE:FREQ=MINUTELY;INTERVAL=1"


def test_a_turn_that_is_due_starts_one_deployment(book: Book) -> None:
    book.add()
    assert book.row().next_at == at("2030-01-01 02:00")
    assert not book.look("2030-01-01 01:59:59").turn_outcome
    row = book.look("2030-01-01 02:00:01")
    assert (row.turn_outcome, row.next_at) == (Outcome.STARTED, at("2030-01-02 02:00"))
    [deployment] = book.deployments()
    assert (deployment.by, row.deployment_id) == ("schedule nightly", deployment.id)
    assert deployment.request["hostgroups"] == ["web"]
    book.look("2030-01-01 02:00:02")
    assert len(book.deployments()) == 1


def test_of_many_controllers_one_takes_a_turn(book: Book) -> None:
    book.add()
    ready, moment = threading.Barrier(4), at("2030-01-01 02:00:01")
    told: list[int] = []

    def look() -> None:
        turner = Turner(book.database, book.context.vault, lambda: told.append(1))
        ready.wait(10)
        turner.look(moment)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(book.deployments()), len(told)) == (1, 1)
    assert book.row().next_at == at("2030-01-02 02:00")


@sqlite_only
def test_one_who_read_that_a_turn_is_due_and_comes_late_takes_none(book: Book) -> None:
    book.add()
    with book.database.read() as session:
        [due] = turns.due(session, at("2030-01-01 02:00:01"))
    late = at("2030-01-01 02:00:02")
    turn = turns.work_out(due, late)
    book.look("2030-01-01 02:00:01")
    with book.database.write() as session:
        assert turns.take(session, book.context.vault, due, turn, late) is None
    assert len(book.deployments()) == 1


@sqlite_only
def test_a_controller_that_is_killed_within_a_turn_leaves_it_to_the_next(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add()

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "note", killed)  # when the deployment is queued already
        with pytest.raises(Killed):
            book.look("2030-01-01 02:00:01")
    assert book.deployments() == []
    assert book.look("2030-01-01 02:00:05").turn_outcome == Outcome.STARTED
    assert len(book.deployments()) == 1


MISSED: list[tuple[dict[str, Any], str, str, int, str]] = [
    ({}, "2030-01-01 02:00:59", "started", 1, "2030-01-02 02:00"),
    ({}, "2030-01-01 02:02", "missed", 0, "2030-01-02 02:00"),
    ({}, "2031-06-01 12:00", "missed", 0, "2031-06-02 02:00"),
    ({"missed": "skip"}, "2030-01-01 02:02", "missed", 0, "2030-01-02 02:00"),
    ({"missed": "once"}, "2030-01-01 02:59", "started", 1, "2030-01-02 02:00"),
    ({"missed": "once"}, "2030-01-01 03:01", "missed", 0, "2030-01-02 02:00"),
    ({"missed": "once", "grace": 60}, "2030-01-01 02:02", "missed", 0, "2030-01-02 02:00"),
    ({"missed": "once", "grace": 604800}, "2030-06-01 12:00", "started", 1, "2030-06-02 02:00"),
    ({"rrule": MINUTELY}, "2033-01-01 12:00:30", "started", 1, "2033-01-01 12:01"),
    (
        {"rrule": MINUTELY, "missed": "once"},
        "2033-01-01 12:00:30",
        "started",
        1,
        "2033-01-01 12:01",
    ),
]


@sqlite_only
@pytest.mark.parametrize(("given", "moment", "outcome", "started", "following"), MISSED)
def test_after_downtime_there_is_one_turn_at_most(
    book: Book, given: dict[str, Any], moment: str, outcome: str, started: int, following: str
) -> None:
    book.add(**given)
    row = book.look(moment)
    assert (row.turn_outcome, row.next_at) == (outcome, at(following))
    assert len(book.deployments()) == started
    assert book.look(moment).turn_outcome == outcome
    assert len(book.deployments()) == started


def test_a_turn_that_was_missed_is_told(book: Book) -> None:
    book.add()
    row = book.look("2030-01-01 05:00")
    late = "no controller took the turn of 2030-01-01 02:00:00 UTC in time"
    assert row.turn_reason == f"{late}: none ran, or the database was away"
    assert _audited(book) == [{"outcome": "missed", "reason": row.turn_reason}]
    book.change(missed="once", grace=604800)
    row = book.look("2030-01-05 05:00")
    assert row.turn_reason == "turns since 2030-01-02 02:00:00 UTC were missed"
    assert (row.turn_outcome, row.turn_due) == ("started", at("2030-01-05 02:00"))


@sqlite_only
def test_a_clock_that_goes_back_repeats_no_turn(book: Book) -> None:
    book.add()
    book.look("2030-01-01 02:00:01")
    book.end()
    book.look("2030-01-01 01:30")
    book.look("2030-01-01 02:00:01")
    assert len(book.deployments()) == 1


@sqlite_only
@pytest.mark.parametrize(
    ("missed", "right"), [(None, "2030-01-05 02:00:40"), ("once", "2030-01-05 02:40")]
)
def test_a_clock_that_goes_back_for_days_and_right_again_repeats_no_turn(
    book: Book, missed: str | None, right: str
) -> None:
    book.add(missed=missed)
    book.look("2030-01-05 02:00:01")
    book.end()
    book.look("2030-01-02 12:00")
    row = book.look(right)
    assert (row.turn_outcome, row.next_at) == ("started", at("2030-01-06 02:00"))
    assert row.turn_due == at("2030-01-05 02:00") and len(book.deployments()) == 1
    book.look("2030-01-06 02:00:01")
    assert len(book.deployments()) == 2


@sqlite_only
def test_controllers_whose_clocks_are_days_apart_take_a_turn_once(book: Book) -> None:
    book.add()
    for second in range(1, 20, 2):
        book.look(f"2030-01-05 02:00:{second:02}")
        book.end()
        book.look(f"2030-01-02 12:00:{second:02}")
    assert len(book.deployments()) == 1


@sqlite_only
def test_a_clock_that_was_hours_ahead_for_a_moment_silences_no_schedule(book: Book) -> None:
    book.add(rrule="DTSTART:20300101T000000Z RRULE:FREQ=HOURLY;INTERVAL=1")
    for moment in ("2030-01-05 00:00:01", "2030-01-05 20:00:01", "2030-01-05 00:00:30"):
        book.look(moment)
        book.end()
    for hour in range(1, 6):
        book.look(f"2030-01-05 {hour:02}:00:01")
        book.end()
    assert len(book.deployments()) == 2 + 5


@sqlite_only
@pytest.mark.parametrize("wrong", ["2030-01-05 01:00", "2030-01-05 03:00"])
def test_a_next_turn_that_is_no_time_of_the_rule_any_more_is_set_anew(
    book: Book, wrong: str
) -> None:
    book.add()
    with book.database.write() as session:  # as older rules of the time zone had it
        session.execute(update(Schedule).values(next_at=at(wrong)))
    row = book.look(f"{wrong}:01")
    right = at("2030-01-05 02:00") if at(wrong) < at("2030-01-05 02:00") else at("2030-01-06 02:00")
    assert (row.turn_outcome, row.next_at, book.deployments()) == ("", right, [])
    assert book.look(f"{right:%Y-%m-%d} 02:00:01").turn_outcome == "started"


@sqlite_only
def test_a_clock_that_was_years_ahead_for_a_moment_does_not_silence_a_schedule(book: Book) -> None:
    book.add(missed="once")
    row = book.look("2039-05-05 02:00:01")
    assert row.next_at == at("2039-05-06 02:00")
    book.end()
    row = book.look("2030-01-01 12:00")
    assert (row.next_at, len(book.deployments())) == (at("2030-01-02 02:00"), 1)
    book.look("2030-01-02 02:00:01")
    assert len(book.deployments()) == 2


@sqlite_only
def test_a_schedule_that_was_made_by_such_a_clock_is_led_back_too(book: Book) -> None:
    book.add()
    with book.database.write() as session:
        ahead = {"updated": at("2039-05-05 12:00"), "next_at": at("2039-05-06 02:00")}
        session.execute(update(Schedule).values(ahead))
    row = book.look("2030-01-01 12:00")
    assert (row.next_at, row.turn_at) == (at("2030-01-02 02:00"), None)
    assert row.updated == at("2030-01-01 12:00")


@pytest.mark.parametrize(
    ("overlap", "before", "outcome"),
    [
        (None, Status.RUNNING, "overlap"),
        ("skip", Status.CANCELING, "overlap"),
        ("skip", Status.QUEUED, "overlap"),
        ("wait", Status.RUNNING, "started"),
        ("wait", Status.QUEUED, "overlap"),  # one that waits is enough
        (None, Status.FAILED, "started"),
        (None, Status.INTERRUPTED, "started"),
    ],
)
def test_a_turn_while_the_one_before_goes_on(
    book: Book, overlap: str | None, before: Status, outcome: str
) -> None:
    book.add(overlap=overlap)
    book.look("2030-01-01 02:00:01")
    book.end(before)
    row = book.look("2030-01-02 02:00:01")
    assert row.turn_outcome == outcome
    assert ("deployment 1, of a turn before" in row.turn_reason) is (outcome == "overlap")
    assert (row.deployment_id, len(book.deployments())) == (
        (1, 1) if outcome == "overlap" else (2, 2)
    )


@sqlite_only
def test_a_schedule_that_is_turned_off_takes_no_turn_and_none_afterwards(book: Book) -> None:
    book.add()
    book.change(enabled=False)
    assert book.look("2030-01-01 02:00:01").next_at is None
    book.change(enabled=True)
    assert book.deployments() == []


@sqlite_only
def test_a_change_that_is_not_about_time_keeps_a_turn_that_is_due(book: Book) -> None:
    book.add()
    book.change(description="changed a moment before its turn was taken")
    assert book.look("2030-01-01 02:00:01").turn_outcome == "started"


@sqlite_only
def test_a_change_that_changes_nothing_keeps_a_turn_that_is_due(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add()
    monkeypatch.setattr(service, "now", lambda: at("2030-01-01 02:00:00") + timedelta(seconds=0.4))
    book.change(enabled=True, rrule=f" {NIGHTLY}\n", runs_in="controller")
    assert book.row().next_at == at("2030-01-01 02:00")
    assert book.look("2030-01-01 02:00:01").turn_outcome == "started"


@pytest.mark.parametrize("change", [{"enabled": False}, {"rrule": MINUTELY}])
def test_a_turn_that_a_change_does_away_with_is_missed(
    book: Book, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    book.add()
    monkeypatch.setattr(service, "now", lambda: at("2030-01-01 02:00:01"))
    book.change(**change)
    row = book.row()
    said = "the schedule was changed before the turn of 2030-01-01 02:00:00 UTC was taken"
    assert (row.turn_outcome, row.turn_reason) == ("missed", said)
    assert row.turn_due == at("2030-01-01 02:00") and book.deployments() == []
    assert _audited(book) == [{"outcome": "missed", "reason": said}]


@sqlite_only
def test_a_rule_that_comes_to_its_end_takes_its_last_turn(book: Book) -> None:
    book.add(rrule="DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=2")
    book.look("2030-01-01 02:00:01")
    book.end()
    assert book.look("2030-01-02 02:00:01").next_at is None
    assert len(book.deployments()) == 2
    assert book.look("2030-01-03 02:00:01").turn_due == at("2030-01-02 02:00")


def test_what_cannot_be_started_is_kept_and_audited_and_leaves_nothing_behind(book: Book) -> None:
    book.add()
    with book.database.write() as session:
        session.query(Hostgroup).filter_by(name="web").delete()
    row = book.look("2030-01-01 02:00:01")
    assert (row.turn_outcome, row.turn_reason) == ("failed", "there is no hostgroup 'web'")
    assert _audited(book) == [{"outcome": "failed", "reason": row.turn_reason}]
    book.change(deploy={})
    with book.database.write() as session:
        session.query(ReleaseRow).delete()
    row = book.look("2030-01-02 02:00:01")
    assert "nothing was published yet" in row.turn_reason
    assert book.deployments() == []


def test_hosts_that_another_deployment_holds_are_refused_where_that_is_asked(book: Book) -> None:
    with book.database.write() as session:
        request = {"hostgroups": ["web"]}
        wanted = deployments.DeploymentRequest.model_validate(request)
        deployments.start(session, book.by, book.context.vault, wanted)
    book.add(deploy={"hostgroups": ["web"], "conflict": "refuse"})
    row = book.look("2030-01-01 02:00:01")
    assert row.turn_outcome == "failed" and "holds hosts that this one wants" in row.turn_reason
    assert len(book.deployments()) == 1, "what was begun is taken back"
    book.change(deploy={"hostgroups": ["web"]})
    assert book.look("2030-01-02 02:00:01").turn_outcome == "started"


@sqlite_only
def test_a_surprise_ends_the_turn_and_keeps_no_other_schedule(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add()
    book.add("other", deploy={"hostgroups": ["db"]})
    real = deployments.start

    def break_once(*given: Any) -> Any:
        if given[3].hostgroups == ["web"]:
            raise ZeroDivisionError
        return real(*given)

    monkeypatch.setattr(deployments, "start", break_once)
    row = book.look("2030-01-01 02:00:01")
    assert row.turn_outcome == "failed" and "please report it" in row.turn_reason
    assert row.next_at == at("2030-01-02 02:00")
    assert [deployment.by for deployment in book.deployments()] == ["schedule other"]


@sqlite_only
@pytest.mark.parametrize("moment", ["2030-01-01 02:00:01", "2029-12-31 12:00"])
def test_a_rule_that_is_not_taken_any_more_keeps_no_other_schedule(book: Book, moment: str) -> None:
    book.add("aaa")
    book.add(rrule=MINUTELY)
    before = _metric("failed")
    with book.database.write() as session:
        gone = {"rrule": GONE, "updated": at("2039-01-01 00:00")}  # a clock was ahead
        session.execute(update(Schedule).where(Schedule.name == "aaa").values(gone))
    book.look(moment)
    row = book.row("aaa")
    assert (row.next_at, row.turn_outcome) == (None, "failed")
    assert "its rule cannot be worked out any more" in row.turn_reason
    assert "no time zone 'US/Gone'" in row.turn_reason
    assert _metric("failed") == before + 1
    assert book.look("2030-01-01 02:00:02").turn_outcome == "started"
    book.change("aaa", rrule=NIGHTLY)
    assert book.row("aaa").next_at


@sqlite_only
def test_a_database_that_fails_at_one_schedule_keeps_no_other(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add("aaa", deploy={"hostgroups": ["db"]})
    book.add()
    real = deployments.start

    def away_once(*given: Any) -> Any:
        if given[3].hostgroups == ["db"]:
            raise Unavailable("away")
        return real(*given)

    monkeypatch.setattr(deployments, "start", away_once)
    with pytest.raises(Unavailable):
        book.look("2030-01-01 02:00:01")
    assert [deployment.by for deployment in book.deployments()] == ["schedule nightly"]
    assert book.row("aaa").next_at == at("2030-01-01 02:00"), "to be taken when it answers"


@sqlite_only
def test_a_database_that_is_away_keeps_the_turn(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add()

    def away(*_: Any) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(deployments, "start", away)
        with pytest.raises(Unavailable):
            book.look("2030-01-01 02:00:01")
    assert book.look("2030-01-01 02:00:05").turn_outcome == "started"


def test_with_a_revoked_token_its_schedules_stand_still(book: Book) -> None:
    book.add(by=book.token("alice", Scope.OPERATOR))
    with book.database.write() as session:
        auth.revoke(session, CONTROLLER, "alice")
    row = book.look("2030-01-01 02:00:01")
    assert row.turn_outcome == "refused"
    assert "the token 'alice', whose rights this schedule has, is revoked" in row.turn_reason
    assert book.deployments() == []
    book.change(description="mine now")
    assert book.look("2030-01-02 02:00:01").turn_outcome == "started"


@sqlite_only
def test_with_an_expired_token_its_schedules_stand_still(book: Book) -> None:
    book.add(by=book.token("alice", Scope.OPERATOR))
    with book.database.write() as session:
        past = now() - timedelta(hours=1)
        session.execute(update(Token).where(Token.name == "alice").values(expires=past))
    assert "is expired" in book.look("2030-01-01 02:00:01").turn_reason


def test_a_limited_tokens_schedule_gains_no_rights(book: Book) -> None:
    limited = book.token("webs", Scope.OPERATOR, ["web"])
    for deploy in ({}, {"hostgroups": ["db"]}, {"hosts": ["db1"]}, {"hostgroups": ["all"]}):
        with pytest.raises(Forbidden):
            book.add(by=limited, deploy=deploy)
    book.add(by=limited, deploy={"hosts": ["web1"]})
    with book.database.write() as session:  # the host leaves the token's reach
        host = session.query(Host).filter_by(name="web1").one()
        session.query(Membership).filter_by(host_id=host.id).delete()
    row = book.look("2030-01-01 02:00:01")
    assert row.turn_outcome == "refused" and "not to web1" in row.turn_reason
    assert book.deployments() == []


def test_whoever_changes_a_schedule_vouches_for_all_of_it(book: Book) -> None:
    limited = book.token("webs", Scope.OPERATOR, ["web"])
    book.add()
    book.change(by=limited, description="theirs now")
    with pytest.raises(Forbidden):
        book.change(by=limited, deploy={})
    book.look("2030-01-01 02:00:01")
    [deployment] = book.deployments()
    assert deployment.by == "schedule nightly"


def _audited(book: Book) -> list[Any]:
    with book.database.read() as session:
        rows = session.query(AuditEntry).filter_by(action="schedule.turn").order_by(AuditEntry.id)
        return [row.after for row in rows]


def _metric(outcome: str) -> float:
    return REGISTRY.get_sample_value("plugfleet_schedule_turns_total", {"outcome": outcome}) or 0.0
