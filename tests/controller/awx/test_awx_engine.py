"""A wave as jobs of AWX: what is launched, what is told of it, and what each host gets of that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.awx.client import Awx as AwxClient
from controller.awx.template import cut
from controller.deployments.models import Status
from controller.deployments.tracking import Stopped
from tests.awx.delivery import Delivery
from tests.awx.simulated import Play as Simulated
from tests.awx.stage import Stage
from tests.controller.awx.conftest import Play, Playing
from tests.controller.deployments.conftest import eventually

pytestmark = pytest.mark.awx_stand_in  # its hosts are simulated
CANCELED = Stopped(Status.CANCELED, "the deployment was canceled")
STOPPED = Stopped(Status.INTERRUPTED, "the controller was stopped")


def test_each_host_gets_its_result_and_every_event_is_kept_once(stage: Stage, play: Play) -> None:
    outcomes = {"a": "ok", "b": "failed", "c": "unreachable"}
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(outcomes)
    played = play("abcd").end()
    assert played.statuses == {"a": "ok", "b": "failed", "c": "unreachable", "d": "changed"}
    assert played.outcomes["d"].steps and played.outcomes["d"].message == "d: changed"
    (job,) = stage.jobs
    assert sorted(played.counters(job["id"])) == list(range(1, stage.emitted(job["id"]) + 1))
    assert played.end and played.end.status is Status.FAILED
    assert played.end.reason == "of 4 hosts: 1 failed, 1 unreachable"


def test_a_host_whose_result_awx_does_not_keep_is_not_called_right(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.awx.jobs.deliveries.rule = Delivery(largest=1000)
    outcomes = {"a": "ok", "b": "failed", "c": "unreachable"}
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(outcomes, padding=1000)
    played = play("abc").end()
    assert played.statuses == {"a": "failed", "b": "failed", "c": "unreachable"}
    assert "without a word about this host" in played.outcomes["a"].message
    assert "went wrong" in played.outcomes["b"].message


def test_a_job_is_launched_with_its_hosts_the_release_and_a_marker_that_was_written_before(
    stage: Stage, play: Play
) -> None:
    played = play("ab", check=True).end()
    (job,) = stage.jobs
    assert (job["limit"], job["job_type"], job["diff_mode"], job["forks"]) == (
        "a,b",
        "check",
        True,
        20,
    )
    variables = json.loads(job["extra_vars"])
    assert variables["plugin_source_release"] == {"number": 3, "commit": "c" * 40}
    assert played.saved[0].jobs[0].id is None
    assert variables["plugfleet_wave"] == played.saved[0].jobs[0].marker
    assert played.saved[1].jobs[0].id == job["id"], "the id is written as soon as it is known"
    assert played.saved[-1].jobs[0].over
    assert played.end and played.end.status is Status.SUCCEEDED


def test_a_large_wave_becomes_several_jobs_of_about_the_same_size(stage: Stage, play: Play) -> None:
    played = play("abcdef", awx_slice_size=2, awx_slices=4).end()
    assert sorted(job["limit"] for job in stage.jobs) == ["a,d", "b,e", "c,f"]
    assert played.statuses == dict.fromkeys("abcdef", "changed")
    assert {job["job_slice_count"] for job in stage.jobs} == {1}


@pytest.mark.parametrize(
    ("hosts", "size", "most", "sizes"),
    [
        (1, 250, 4, [1]),
        (250, 250, 4, [250]),
        (251, 250, 4, [126, 125]),
        (1000, 250, 4, [250] * 4),
        (5000, 250, 4, [1250] * 4),
        (2, 1, 4, [1, 1]),
        (2000, 2000, 1, [1000, 1000]),
    ],
)
def test_hosts_are_cut_evenly_and_into_what_a_command_line_holds(
    hosts: int, size: int, most: int, sizes: list[int]
) -> None:
    names = [f"{'h' * 90}{number:04}" if hosts == 2000 else f"h{number}" for number in range(hosts)]
    parts = cut(names, size, most)
    assert [len(part) for part in parts] == sizes
    assert sorted(host for part in parts for host in part) == sorted(names)


@pytest.mark.parametrize(
    ("template", "wave", "said"),
    [
        ({"ask_limit_on_launch": False}, {}, "ask_limit_on_launch"),
        ({"ask_variables_on_launch": False}, {}, "ask_variables_on_launch"),
        ({"ask_job_type_on_launch": False}, {"check": True}, "ask_job_type_on_launch"),
        ({"ask_diff_mode_on_launch": False}, {"check": True}, "ask_diff_mode_on_launch"),
        ({"job_type": "check", "ask_job_type_on_launch": False}, {}, "ask_job_type_on_launch"),
        ({"allow_simultaneous": False}, {"awx_slice_size": 1}, "allow_simultaneous"),
        ({"job_slice_count": 3}, {}, "job slicing to 1"),
        ({"playbook": "playbooks/rollback.yml"}, {}, "not deploy-plugins.yml"),
        ({"survey_enabled": True}, {}, "variables_needed_to_start"),
        ({}, {"forks": 300}, "Maximum number of forks (200) exceeded"),
        ({}, {"awx_job_template": "nowhere"}, "no job template 'nowhere'"),
        ({}, {"awx_job_template": "4711"}, "no job template 4711"),
        ({}, {"awx_token": "wrong"}, "does not take our token"),
        ({}, {"awx_user": "admin", "awx_token": "wrong"}, "does not take our password"),
    ],
)
def test_a_template_or_token_that_does_not_fit_is_told_with_what_to_set(
    stage: Stage, play: Play, template: dict[str, Any], wave: dict[str, Any], said: str
) -> None:
    stage.stand_in.awx.jobs.offered.append("playbooks/rollback.yml")
    stage.update_project()
    if template.get("survey_enabled"):
        question = {"question_name": "?", "variable": "why", "type": "text", "required": True}
        spec = {"name": "", "description": "", "spec": [question]}
        stage.awx.send("POST", f"job_templates/{stage.template}/survey_spec/", 200, json=spec)
    stage.change(**template)
    played = play("ab", **wave).end()
    assert played.statuses == {"a": "failed", "b": "failed"}
    assert said in played.outcomes["a"].message
    assert not played.outcomes["a"].touched
    assert played.end and said in played.end.reason
    assert stage.jobs == []


def test_a_template_with_fewer_switches_serves_where_no_more_is_needed(
    stage: Stage, play: Play
) -> None:
    switches = ("ask_job_type_on_launch", "ask_diff_mode_on_launch", "ask_forks_on_launch")
    stage.change(**dict.fromkeys(switches, False))
    assert play("ab").end().statuses == {"a": "changed", "b": "changed"}


def test_a_template_that_changes_between_look_and_launch_touches_no_host(
    stage: Stage, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    from controller.deployments.engines import awx as engine

    kept = engine.fit
    stage.change(ask_limit_on_launch=False)
    stage.stand_in.awx.jobs.pace = 0.05
    monkeypatch.setattr(
        engine,
        "fit",
        lambda found, **wanted: kept({**found, "ask_limit_on_launch": True}, **wanted),
    )
    played = play("ab").end()
    assert played.statuses == {"a": "failed", "b": "failed"}
    assert "switch on 'Prompt on launch' for: ask_limit_on_launch" in played.outcomes["a"].message
    assert [job["status"] for job in stage.jobs] == ["canceled"]


@pytest.mark.parametrize(
    ("can_cancel", "status", "said"),
    [(True, "failed", "which was canceled"), (False, "interrupted", "which may still run")],
)
def test_a_template_that_begins_to_cut_by_itself_between_look_and_launch_is_called_off(
    stage: Stage,
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
    can_cancel: bool,
    status: str,
    said: str,
) -> None:
    from controller.deployments.engines import awx as engine

    kept = engine.fit
    stage.change(job_slice_count=2)
    stage.stand_in.awx.jobs.pace = 0.1
    monkeypatch.setattr(
        engine, "fit", lambda found, **wanted: kept({**found, "job_slice_count": 1}, **wanted)
    )
    if not can_cancel:
        stage.stand_in.faults.set(where="POST .*/cancel/", always=503)
    played = play("ab", awx_token=_least(stage)).end()
    assert played.statuses == {"a": status, "b": status}
    assert said in played.outcomes["a"].message
    assert "set its job slicing (job_slice_count) to 1" in played.outcomes["a"].message
    if can_cancel:
        eventually(10, lambda: [job["status"] for job in stage.jobs] == ["canceled"] * 2)


def _least(stage: Stage) -> str:
    """A token that may do no more than docs/awx.md asks for."""
    return stage.awx.limited_token(
        {f"job_templates/{stage.template}": "Execute", f"inventories/{stage.inventory}": "Read"}
    )


def test_least_rights_are_execute_on_the_template_and_read_on_its_inventory(
    stage: Stage, play: Play
) -> None:
    played = play(["a", "nobody"], awx_token=_least(stage)).end()
    assert played.statuses == {"a": "changed", "nobody": "failed"}
    assert "AWX's inventory does not have this host" in played.outcomes["nobody"].message


def test_no_address_is_longer_than_proxies_take_however_long_the_names_are(stage: Stage) -> None:
    awx = AwxClient(stage.awx.url, stage.awx.token)
    names = [*"abc", *(f"{number}-{'ö' * 120}" for number in range(60))]
    assert awx.hosts(stage.inventory, names) == dict.fromkeys("abc", True)
    awx.close()
    assert max(len(path) for _, path in stage.stand_in.requests) < 8000


def test_a_token_that_may_only_look_is_told_what_right_is_missing(stage: Stage, play: Play) -> None:
    token = stage.awx.limited_token({f"job_templates/{stage.template}": "Read"})
    played = play("a", awx_token=token).end()
    assert "the role Execute on the job template" in played.outcomes["a"].message


def test_hosts_that_awx_does_not_know_or_has_turned_off_fail_with_that_reason(
    stage: Stage, play: Play
) -> None:
    (found,) = stage.awx.get("hosts/", params={"name": "b"})["results"]
    stage.awx.send("PATCH", f"hosts/{found['id']}/", 200, json={"enabled": False})
    played = play(["a", "b", "nobody"]).end()
    assert played.statuses == {"a": "changed", "b": "failed", "nobody": "failed"}
    assert "turned off in AWX's inventory" in played.outcomes["b"].message
    assert not played.outcomes["b"].touched
    assert played.end and played.end.reason == "of 3 hosts: 2 failed"


def test_a_canceled_deployment_cancels_its_jobs_and_keeps_what_was_done(
    stage: Stage, play: Play
) -> None:
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=2 if "a" in hosts else 0)
    playing = play("ab", awx_slice_size=1)
    eventually(10, lambda: "b" in playing.played.outcomes)
    eventually(10, lambda: "running" in [job["status"] for job in stage.jobs])
    playing.stop(CANCELED)
    played = playing.end()
    assert played.statuses == {"a": "canceled", "b": "changed"}
    assert [job["status"] for job in stage.jobs] == ["canceled", "successful"]
    assert played.end and played.end.status is Status.CANCELED


def test_a_canceled_job_that_was_visiting_leaves_its_hosts_interrupted(
    stage: Stage, play: Play
) -> None:
    # Six events: the visit begins with the third, and the first host's result is the sixth.
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=1.5)
    playing = play("a")
    eventually(10, lambda: any("Visit" in str(e.data) for e in playing.played.events))
    playing.stop(CANCELED)
    played = playing.end()
    assert played.statuses == {"a": "interrupted"}
    assert "while this host was being visited" in played.outcomes["a"].message


def test_what_another_process_wrote_is_not_written_again_when_its_jobs_are_settled(
    stage: Stage, play: Play
) -> None:
    before = play("ab").end()
    rows = before.saved[1].as_json()
    assert not rows["jobs"][0]["over"], "as the controller left it when it was killed"
    first = {host: outcome for host, outcome in before.outcomes.items() if host == "a"}
    half = type(before)(outcomes=first, events=[e for e in before.events if e.counter < 4])
    settling = play("ab", jobs=rows, before=half)
    settling.stop(STOPPED)
    after = settling.end()
    assert after.statuses == {"b": "changed"}
    assert min(e.counter for e in after.events if e.counter) == 4
    assert stage.launches() == 1


@pytest.mark.parametrize("least", [True, False], ids=["least rights", "administrator"])
def test_a_job_that_has_ended_when_it_is_to_be_canceled_gives_its_results(
    stage: Stage, play: Play, least: bool
) -> None:
    stage.stand_in.awx.jobs.deliveries.rule = Delivery(delay=0.3)
    playing = play("ab", awx_token=_least(stage) if least else stage.awx.token)
    eventually(10, lambda: [job["status"] for job in stage.jobs] == ["successful"])
    playing.stop(CANCELED)
    assert playing.end().statuses == {"a": "changed", "b": "changed"}


def _on_record(stage: Stage, play: Play, seconds: float) -> tuple[Playing, dict[str, Any]]:
    """A wave whose job takes this long, and what is on record of it once the job is known."""
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=seconds)
    playing = play("ab")
    eventually(10, lambda: bool(playing.played.saved[1:]))
    return playing, playing.played.saved[1].as_json()


def test_a_job_that_the_token_may_not_cancel_is_followed_to_its_own_end(
    stage: Stage, play: Play
) -> None:
    first, rows = _on_record(stage, play, 1)
    playing = play("ab", jobs=rows, awx_token=_least(stage))  # the job is another user's
    playing.stop(STOPPED)
    played = playing.end()
    assert played.statuses == first.end().statuses == {"a": "changed", "b": "changed"}
    assert any("to end by itself: AWX's token may not" in wait for wait in played.waits)


def test_every_stray_of_a_launch_is_ended_also_where_one_cannot_be(
    stage: Stage, play: Play
) -> None:
    first, rows = _on_record(stage, play, 5)
    first.engine.stop(STOPPED, hurry=True)
    first.end()
    variables = {"plugfleet_wave": rows["jobs"][0]["marker"]}
    token = _least(stage)
    for who in (stage.awx.token, token, token):
        stage.awx.client.post(
            f"job_templates/{stage.template}/launch/",
            json={"limit": "a", "extra_vars": variables},
            headers={"Authorization": f"Bearer {who}"},
        )
    settling = play("ab", jobs=rows, awx_token=token)
    settling.stop(STOPPED)
    settling.end()
    eventually(10, lambda: [j["status"] for j in stage.jobs][2:] == ["canceled"] * 2)
    assert stage.jobs[1]["status"] == "running", "it is another user's"
