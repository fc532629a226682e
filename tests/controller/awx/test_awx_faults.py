"""AWX that is away, slow, forgetful or wrong: the wave waits, says so, and ends truthfully."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cli.follow import Board
from controller.deployments.models import Status
from controller.deployments.tracking import Stopped
from tests.awx.delivery import Delivery
from tests.awx.simulated import Play as Simulated
from tests.awx.stage import Stage
from tests.awx.standin import StandIn
from tests.controller.awx.conftest import Play, Played, Playing
from tests.controller.deployments.conftest import eventually

pytestmark = pytest.mark.awx_stand_in

CANCELED = Stopped(Status.CANCELED, "the deployment was canceled")
DIED = Stopped(Status.INTERRUPTED, "the controller died")
RIGHT = {"a": "changed", "b": "changed"}


def _runs(stage: Stage, seconds: float) -> None:
    """Let jobs take a while."""
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=seconds)


def _begun(stage: Stage, playing: Playing) -> int:
    """The id of the job, once its events come."""
    eventually(10, lambda: any(e.counter for e in playing.played.events))
    return int(stage.jobs[0]["id"])


def _waited(playing: Playing) -> None:
    """Once the deployment says that it waits."""
    eventually(10, lambda: any("waits for AWX since" in wait for wait in playing.played.waits))


def test_awx_that_is_down_at_the_launch_is_waited_for(stage: Stage, play: Play) -> None:
    stage.stand_in.down()
    playing = play("ab")
    _waited(playing)
    stage.stand_in.up()
    played = playing.end()
    assert played.statuses == RIGHT
    assert "cannot be reached" in played.waits[0] and played.waits[-1] == ""


def test_awx_that_goes_down_in_the_middle_costs_no_event(stage: Stage, play: Play) -> None:
    _runs(stage, 0.5)
    playing = play("ab")
    job = _begun(stage, playing)
    stage.stand_in.down()
    _waited(playing)
    stage.stand_in.up()
    played = playing.end()
    assert played.statuses == RIGHT
    assert sorted(played.counters(job)) == list(range(1, len(played.counters(job)) + 1))


@pytest.mark.parametrize(
    "fault",
    [
        {"statuses": [502, 503, 504, 429, 502]},
        {"statuses": [502, 502], "where": "job_events"},
        {"slow": 0.05},
    ],
    ids=["busy", "events", "slow"],
)
def test_errors_that_pass_are_waited_out(
    stage: Stage, play: Play, fault: dict[str, object]
) -> None:
    stage.stand_in.faults.set(**fault)
    assert play("ab").end().statuses == RIGHT
    assert stage.launches() <= 2 and len(stage.jobs) == 1


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    stage: Stage, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    from controller.awx import transport

    monkeypatch.setattr(transport, "_ANSWER", 0.1)
    stage.stand_in.faults.set(where="GET /api/v2/jobs/", slow=0.3)
    playing = play("ab")
    _waited(playing)
    stage.stand_in.faults.clear()
    played = playing.end()
    assert "does not answer in time" in played.waits[0] and played.statuses == RIGHT


def test_a_launch_whose_answer_was_lost_is_found_by_its_marker(stage: Stage, play: Play) -> None:
    stage.stand_in.faults.set(where="POST .*/launch/", lose_answers=1)
    played = play("ab").end()
    assert played.statuses == RIGHT
    assert len(stage.jobs) == 1 and stage.launches() == 1
    assert played.saved[-1].jobs[0].id == stage.jobs[0]["id"]


def test_a_launch_that_a_proxy_lost_is_tried_again(stage: Stage, play: Play) -> None:
    stage.stand_in.faults.set(where="POST .*/launch/", statuses=[502])
    assert play("ab").end().statuses == RIGHT
    assert len(stage.jobs) == 1 and stage.launches() == 2


def test_a_job_that_awx_lost_leaves_its_hosts_interrupted(stage: Stage, play: Play) -> None:
    _runs(stage, 1)
    playing = play("ab")
    stage.stand_in.faults.gone.add(_begun(stage, playing))
    played = playing.end()
    assert set(played.statuses.values()) == {"interrupted"}
    assert played.end and "AWX has lost its job" in played.end.reason


@pytest.mark.parametrize("status", [200, 302, 401, 404])
def test_what_a_proxy_says_is_waited_out_while_a_job_runs(
    stage: Stage, play: Play, status: int
) -> None:
    _runs(stage, 0.3)
    playing = play("ab")
    _begun(stage, playing)
    stage.stand_in.faults.set(where="/jobs/", always=status)
    _waited(playing)
    stage.stand_in.faults.clear()
    played = playing.end()
    assert played.statuses == RIGHT
    assert [job["status"] for job in stage.jobs] == ["successful"]


def test_a_launch_that_a_maintenance_page_answers_takes_place_once(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.faults.set(where="POST .*/launch/", statuses=[200])
    assert play("ab").end().statuses == RIGHT
    assert len(stage.jobs) == 1


def test_a_job_that_cannot_be_followed_is_not_left_running(stage: Stage, play: Play) -> None:
    _runs(stage, 5)
    playing = play("ab")
    _begun(stage, playing)
    stage.stand_in.faults.set(where=r"GET /api/v2/jobs/\d+/$", always=400)
    played = playing.end()
    assert set(played.statuses.values()) == {"interrupted"}
    stage.stand_in.faults.clear()
    eventually(10, lambda: [job["status"] for job in stage.jobs] == ["canceled"])


def test_a_job_that_breaks_tells_awx_words(stage: Stage, play: Play) -> None:
    broken = Simulated(breaks="no space left on device", silent=frozenset("b"))
    stage.stand_in.awx.jobs.play = lambda job, hosts: broken
    played = play("ab").end()
    assert played.statuses == {"a": "changed", "b": "interrupted"}
    assert "broke: RuntimeError: no space left on device" in played.outcomes["b"].message


def test_a_job_that_broke_shows_nobody_a_traceback(stage: Stage, play: Play) -> None:
    broken = Simulated(breaks="no space", silent=frozenset("a"))
    stage.stand_in.awx.jobs.play = lambda job, hosts: broken
    played = play("a").end()
    assert "Traceback" not in repr(played) and "jobs.py" not in repr(played)


def test_a_job_whose_process_awx_lost_says_so_and_calls_no_silent_host_right(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.awx.jobs.deliveries.rule = Delivery(flush=0.0)
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(reaped=6)
    played = play("ab").end()
    assert played.statuses == {"a": "changed", "b": "interrupted"}
    assert "not present in the job queue" in played.outcomes["b"].message
    assert played.end and "1 interrupted; AWX ended its job" in played.end.reason


@pytest.mark.parametrize(
    ("after", "status"), [(2, "failed"), (3, "interrupted")], ids=["before the visit", "in it"]
)
def test_a_job_that_awx_ends_early_says_why_and_leaves_visited_hosts_interrupted(
    stage: Stage, play: Play, after: int, status: str
) -> None:
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(timeout=after)
    played = play("ab").end()
    assert played.statuses == {"a": status, "b": status}
    assert "early: Job terminated due to timeout" in played.outcomes["a"].message


def test_a_project_that_could_not_be_fetched_is_told_where_awx_launches_nothing(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.awx.jobs.failing["project"] = "git server away"
    stage.update_project()
    played = play("ab").end()
    assert played.statuses == {"a": "failed", "b": "failed"}
    assert "playbook: Missing a revision to run" in played.outcomes["a"].message
    assert not played.outcomes["a"].touched and stage.jobs == []


def test_a_job_that_could_not_begin_tells_awx_words(stage: Stage, play: Play) -> None:
    stage.awx.send("PATCH", f"projects/{stage.project}/", 200, json={"scm_update_on_launch": True})
    stage.stand_in.awx.jobs.failing["project"] = "git server away"
    played = play("ab").end()
    assert played.statuses == {"a": "failed", "b": "failed"}
    assert "Previous Task Failed" in played.outcomes["a"].message
    assert not played.outcomes["a"].touched


def test_a_job_that_somebody_cancels_in_awx_is_no_success(stage: Stage, play: Play) -> None:
    _runs(stage, 1)
    playing = play("ab")
    job = _begun(stage, playing)
    stage.awx.send("POST", f"jobs/{job}/cancel/", 202)
    played = playing.end()
    assert played.end and played.end.status is Status.FAILED
    assert f"AWX's job {job} was canceled in AWX" in played.end.reason


@pytest.mark.parametrize(
    "rule",
    [
        Delivery(flush=0.2),
        Delivery(held=frozenset({2, 5}), held_for=0.25),
        Delivery(held=frozenset({8}), held_for=0.25),
    ],
    ids=["out of order", "late", "last one late"],
)
def test_events_that_come_late_or_out_of_order_are_all_kept(
    stage: Stage, play: Play, rule: Delivery
) -> None:
    stage.stand_in.awx.jobs.deliveries.rule = rule
    played = play("ab").end()
    assert played.statuses == RIGHT
    (job,) = stage.jobs
    assert sorted(played.counters(job["id"])) == list(range(1, stage.emitted(job["id"]) + 1))
    assert played.end and played.end.status is Status.SUCCEEDED


def test_events_that_never_come_are_said_and_their_hosts_are_not_called_right(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.awx.jobs.deliveries.rule = Delivery(lost=frozenset({6}))
    played = play("ab").end()
    assert sorted(played.statuses.values()) == ["changed", "interrupted"]
    assert played.end and "AWX did not keep all events" in played.end.reason
    assert any(e.kind == "wave.events_missing" for e in played.events)


def test_a_job_that_waits_for_long_is_told_of(stage: Stage, play: Play) -> None:
    stage.stand_in.awx.jobs.stuck.set()
    playing = play("ab")
    eventually(10, lambda: any("has been pending since" in w for w in playing.played.waits))
    stage.stand_in.awx.jobs.stuck.clear()
    played = playing.end()
    assert played.statuses == RIGHT and played.waits[-1] == ""


def test_a_canceled_deployment_waits_for_an_awx_that_is_away_to_cancel_its_job(
    stage: Stage, play: Play
) -> None:
    _runs(stage, 3)
    playing = play("ab")
    _begun(stage, playing)
    stage.stand_in.down()
    playing.stop(CANCELED)
    _waited(playing)
    stage.stand_in.up()
    played = playing.end()
    assert [job["status"] for job in stage.jobs] == ["canceled"]
    assert played.end and played.end.status is Status.CANCELED


def test_a_wave_that_took_too_long_says_that_its_job_may_still_run(
    stage: Stage, play: Play
) -> None:
    _runs(stage, 3)
    playing = play("ab")
    job = _begun(stage, playing)
    stage.stand_in.down()
    playing.stop(Stopped(Status.FAILED, "the run took longer than run_timeout (10 s)"))
    played = playing.end()
    stage.stand_in.up()
    assert set(played.statuses.values()) == {"interrupted"}
    assert f"its job {job} has ended: it may still run" in played.outcomes["a"].message


def test_a_controller_that_ends_while_awx_is_away_leaves_its_jobs_to_the_next(
    stage: Stage, play: Play
) -> None:
    _runs(stage, 1)
    playing = play("ab")
    job = _begun(stage, playing)
    stage.stand_in.down()
    playing.stop(DIED, hurry=True)
    before = playing.end()
    assert playing.engine.left and before.end is None
    stage.stand_in.up()
    played = _settled(stage, play, before)
    assert [j["id"] for j in stage.jobs] == [job], "nothing was begun again"
    assert set(played.outcomes) == {"a", "b"}


@pytest.mark.parametrize("known", [True, False], ids=["id known", "answer never seen"])
def test_the_jobs_of_a_killed_controller_are_ended_and_read(
    stage: Stage, play: Play, known: bool
) -> None:
    _runs(stage, 0)
    before = play("ab").end()
    rows = before.saved[1 if known else 0]
    assert (rows.jobs[0].id is not None) is known
    played = _settled(stage, play, Played(saved=[rows]))
    assert played.statuses == RIGHT, "what AWX has is taken"
    assert stage.launches() == 1


def test_a_job_that_a_killed_controller_never_began_is_not_begun(stage: Stage, play: Play) -> None:
    before = play("ab").end()
    rows = before.saved[0]
    rows.jobs[0].marker = "7-1-1-never-launched"
    played = _settled(stage, play, Played(saved=[rows]))
    assert played.statuses == {"a": "canceled", "b": "canceled"}
    assert stage.launches() == 1


def test_jobs_of_another_awx_are_not_asked_for_with_our_token(stage: Stage, play: Play) -> None:
    before = play("ab").end()
    rows = before.saved[1]
    rows.url = "https://other.example.com"
    played = _settled(stage, play, Played(saved=[rows]))
    assert set(played.statuses.values()) == {"interrupted"}
    assert "https://other.example.com's" in played.outcomes["a"].message


def _settled(stage: Stage, play: Play, before: Played) -> Played:
    settling = play("ab", jobs=before.saved[-1].as_json(), before=before)
    settling.stop(DIED)
    return settling.end()


def test_a_certificate_is_held_against_the_authority_that_is_named(
    awx_with_tls: tuple[StandIn, Path], play: Play, tmp_path: Path
) -> None:
    stand_in, authority = awx_with_tls
    given = {"awx_url": stand_in.url, "awx_token": stand_in.token}
    played = play("a", **given).end()
    assert "is not to be trusted" in played.outcomes["a"].message
    assert "awx_ca_file" in played.outcomes["a"].message
    trusted = play("a", awx_ca_file=authority, **given).end()
    assert "no job template" in trusted.outcomes["a"].message, "so it was spoken with"
    nothing = play("a", awx_ca_file=tmp_path / "nothing.pem", **given).end()
    assert "cannot be used" in nothing.outcomes["a"].message


def test_the_token_stands_in_nothing_that_is_kept(stage: Stage, play: Play) -> None:
    stage.stand_in.faults.set(statuses=[502] * 3)
    played = play("ab").end()
    assert stage.awx.token not in repr(played)


def test_whoever_follows_a_deployment_is_told_what_it_waits_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {"wave": 2, "data": {"reason": "waits for AWX since 10:00:00 UTC: it is away"}}
    Board(None).event("wave.waiting", told)
    assert "Wave 2 waits for AWX since 10:00:00 UTC" in capsys.readouterr().err
