"""Schedules that AWX runs: in step whatever is changed there, and never in both places at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.audit.models import AuditEntry
from controller.auth import service as auth
from controller.auth.models import Scope
from controller.auth.principal import CONTROLLER
from controller.awx.schedules import AwxSchedules
from controller.fleet.models import Hostgroup
from controller.schedules import marks
from controller.schedules.alone import alone
from controller.schedules.keeper import Keeper
from controller.schedules.schemas import AwxJobView
from controller.schedules.views import awx_state, view
from controller.web.deps import Context
from tests.awx.stage import Stage
from tests.controller.deployments.conftest import eventually, postgresql_only, sqlite_only
from tests.controller.schedules.awx.conftest import Kept
from tests.controller.schedules.conftest import NIGHTLY, at
from tests.controller.server import Api

pytestmark = pytest.mark.awx_stand_in  # its time stands still

DEPLOYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"limit": "all", "job_type": None, "extra_data": {}}),
    ({"hostgroups": ["web", "db"], "hosts": ["web1"]}, {"limit": "web,db,web1"}),
    (
        {"hostgroups": ["all"], "check": True},
        {"limit": "all", "job_type": "check", "diff_mode": True},
    ),
    ({"batch_size": 5}, {"extra_data": {"plugin_serial": "5"}}),
    ({"max_lost": 2, "all": True}, {"extra_data": {"plugin_max_lost": 2}}),
]


@pytest.mark.parametrize(("deploy", "meant"), DEPLOYS)
def test_awx_gets_what_means_the_same_and_its_job_has_it(
    kept: Kept, deploy: dict[str, Any], meant: dict[str, Any]
) -> None:
    kept.book.add(deploy=deploy, runs_in="awx")
    assert kept.state() == "in step"
    assert kept.only() | meant == kept.only()
    assert kept.only()["rrule"] == NIGHTLY
    before = len(kept.stage.stand_in.requests)
    assert kept.state() == "in step"
    assert {method for method, _ in kept.stage.stand_in.requests[before:]} == {"GET"}


def test_the_job_of_a_schedule_is_not_silent_and_limited(kept: Kept) -> None:
    kept.book.add(deploy={"hostgroups": ["web"], "batch_size": 5}, runs_in="awx")
    kept.keep()
    kept.stage.stand_in.awx.fire(kept.only()["id"])
    [job] = kept.stage.jobs
    told = json.loads(job["extra_vars"])
    assert (job["limit"], told["plugin_serial"]) == ("web", "5")
    assert "plugfleet_wave" not in told


def test_what_came_of_the_last_job_is_shown(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    assert _job(kept) is None
    kept.moment = at("2030-01-01 02:00:40")
    number = kept.stage.stand_in.awx.fire(kept.only()["id"])
    status = kept.stage.awx.wait(f"jobs/{number}/")["status"]
    kept.keep()
    job = _job(kept)
    assert job and (job.id, job.status) == (number, status) and job.finished
    assert job.url == f"{kept.stage.awx.url}/#/jobs/playbook/{number}"
    kept.moment = at("2030-01-01 12:00")
    kept.keep()
    before = len(kept.stage.stand_in.requests)
    kept.keep()
    asked = [path for _, path in kept.stage.stand_in.requests[before:]]
    assert not any("/jobs/" in path for path in asked), "nothing can be new"
    kept.book.change(runs_in="controller")
    kept.keep()
    assert _job(kept) is None


def test_a_schedule_is_changed_turned_off_and_removed_there(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    kept.book.change(enabled=False, description="not now", deploy={"hosts": ["db1"]})
    assert kept.state() == "in step"
    found = kept.only()
    assert (found["enabled"], found["limit"]) == (False, "db1")
    assert found["description"].startswith("not now [plugfleet schedule ")
    kept.book.remove()
    assert kept.book.row().removing
    assert kept.keep() is None
    assert kept.there == []


def test_one_that_was_removed_in_awx_comes_back(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    kept.send("DELETE", kept.only()["id"], 204)
    row = kept.keep()
    assert row and row.awx_corrected.startswith("somebody had removed it in AWX")
    assert kept.only()["id"] == row.awx_id
    assert _audited(kept.book.context, "schedule.correct") == [{"removed": True}]


def test_one_that_was_changed_in_awx_is_set_right_and_told(kept: Kept) -> None:
    kept.book.add(runs_in="awx", deploy={"hostgroups": ["web"]})
    kept.keep()
    number = kept.only()["id"]
    stolen = {"limit": "all", "enabled": False, "description": "mine"}
    kept.send("PATCH", number, 200, **stolen)
    row = kept.keep()
    assert row and "changed description, enabled, limit in AWX" in row.awx_corrected
    assert (kept.only()["id"], kept.only()["limit"], kept.only()["enabled"]) == (
        number,
        "web",
        True,
    )
    assert _audited(kept.book.context, "schedule.correct") == [stolen]
    kept.book.change(enabled=False)
    row = kept.keep()
    assert row and row.awx_corrected == "", "a change of ours is none of somebody's"


def test_awx_runs_none_whose_owner_may_not_do_that_any_more(kept: Kept) -> None:
    book = kept.book
    book.add(by=book.token("alice", Scope.OPERATOR, ["web"]), runs_in="awx")
    assert kept.state() == "in step"
    with book.database.write() as session:
        auth.revoke(session, CONTROLLER, "alice")
    said = kept.state()
    assert said.startswith("turned off in AWX since 2029-12-31 12:01:00 UTC: the token 'alice'")
    assert not kept.only()["enabled"]
    row = kept.keep()
    assert row and (awx_state(row), row.awx_corrected, row.enabled) == (said, "", True)
    book.change(description="mine now")
    assert kept.state() == "in step"
    assert kept.only()["enabled"]
    with book.database.write() as session:
        session.query(Hostgroup).filter_by(name="web").delete()
    assert kept.state().endswith(": there is no hostgroup 'web'")
    kept.send("PATCH", kept.only()["id"], 200, enabled=True)
    row = kept.keep()
    assert row and "changed enabled" in row.awx_corrected and not kept.only()["enabled"]


def test_nothing_of_others_is_touched(kept: Kept) -> None:
    path = f"job_templates/{kept.stage.template}/schedules/"
    for description in ("", "[plugfleet schedule 1 of 0123456789ab]"):
        body = {"name": description or "theirs", "rrule": NIGHTLY, "description": description}
        kept.stage.awx.send("POST", path, 201, json=body)
    before = kept.there
    kept.book.add(runs_in="awx")
    administrator = {"awx_token": kept.stage.awx.token}  # may do more than it should
    kept.settings = kept.settings.model_copy(update=administrator)
    assert kept.state() == "in step"
    kept.book.remove()
    kept.keep()
    assert kept.there == before


@sqlite_only
def test_a_description_that_looks_like_a_mark_is_none(kept: Kept) -> None:
    with kept.book.database.read() as session:
        installed = marks.installation(session)
    kept.book.add(runs_in="awx", description=f"[plugfleet schedule 99 of {installed}]")
    kept.keep()
    number = kept.only()["id"]
    assert kept.state() == "in step" and kept.only()["id"] == number


@sqlite_only
def test_one_whose_time_zone_is_known_to_awx_alone_stays_in_step_and_can_be_moved(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.book.add(
        runs_in="awx", rrule=NIGHTLY.replace(":", ";TZID=Europe/London:", 1).replace("Z ", " ")
    )
    kept.keep()
    monkeypatch.setattr("controller.schedules.rules._zones", frozenset)
    assert kept.state() == "in step"
    kept.book.change(runs_in="controller")
    row = kept.keep()
    assert row and (kept.there, row.next_at) == ([], None)


def test_it_never_runs_in_both_when_it_moves(kept: Kept) -> None:
    kept.book.add()
    kept.book.change(runs_in="awx")
    assert kept.book.look("2030-01-01 02:00").next_at is None
    kept.keep()
    kept.stage.stand_in.down()
    kept.book.change(runs_in="controller")
    kept.keep()
    kept.book.look("2030-01-02 02:00")
    assert kept.book.deployments() == [], "AWX may still run it"
    kept.stage.stand_in.up()
    kept.moment = at("2030-01-02 12:00")
    row = kept.keep()
    assert row and (kept.there, row.next_at) == ([], at("2030-01-03 02:00"))
    kept.book.look("2030-01-03 02:00")
    assert len(kept.book.deployments()) == 1


def test_one_that_is_no_longer_wanted_when_it_was_just_made_is_removed_at_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.book.add(runs_in="awx")
    real = Keeper._open

    def open_slowly(keeper: Keeper) -> Any:
        # Between reading the rows and asking AWX.
        kept.book.change(runs_in="controller")
        return real(keeper)

    monkeypatch.setattr(Keeper, "_open", open_slowly)
    kept.keep()
    assert kept.there == []


def test_one_that_was_forgotten_while_awx_made_it_is_removed_there(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.book.add(runs_in="awx")
    real = AwxSchedules.create

    def create_slowly(awx: AwxSchedules, fields: Any, template: int) -> Any:
        made = real(awx, fields, template)
        kept.book.remove(forget=True)
        return made

    monkeypatch.setattr(AwxSchedules, "create", create_slowly)
    kept.keep()
    assert kept.there == []


def test_one_that_ends_by_a_local_clock_is_not_set_right_for_ever(kept: Kept) -> None:
    start = "DTSTART;TZID=Europe/London:20300101T020000"
    rule = f"{start} RRULE:FREQ=DAILY;INTERVAL=1;UNTIL="
    kept.book.add(runs_in="awx", rrule=f"{rule}20300701T020000")
    assert kept.state() == "in step"
    assert kept.only()["rrule"] == f"{rule}20300701T010000Z", "as AWX keeps it"
    before = len(kept.stage.stand_in.requests)
    row = kept.keep()
    assert {method for method, _ in kept.stage.stand_in.requests[before:]} == {"GET"}
    assert row and (row.rrule, row.awx_corrected) == (f"{rule}20300701T020000", "")


def test_with_another_template_it_moves_there(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    kept.keep()
    old = kept.only()
    other = kept.stage.awx.get(f"job_templates/{kept.stage.template}/") | {"name": "other"}
    fields = ("name", "inventory", "project", "playbook", "ask_limit_on_launch")
    body = {name: other[name] for name in fields}
    number = kept.stage.awx.send("POST", "job_templates/", 201, json=body)["id"]
    admin = {"awx_schedule_template": str(number), "awx_token": kept.stage.awx.token}
    row = kept.keep(kept.settings.model_copy(update=admin))
    assert row and awx_state(row) == "in step"
    assert (kept.there, row.awx_template, row.awx_corrected) == ([], number, "")
    assert row.awx_id != old["id"]


@postgresql_only
def test_of_several_controllers_one_at_a_time_is_at_awx(kept: Kept) -> None:
    kept.book.add(runs_in="awx")
    with alone(kept.book.database) as mine:
        assert mine
        kept.keep()
        assert kept.there == []
    assert kept.state() == "in step"


@sqlite_only
def test_a_running_controller_brings_awx_in_step_by_itself(api: Api, stage: Stage) -> None:
    body = {"name": "nightly", "rrule": NIGHTLY, "runs_in": "awx"}
    made = api.send("POST", "schedules", 201, json=body)
    assert made["awx"]["state"] == "to be made"

    def in_step() -> bool:
        return bool(api.get("schedules/nightly")["awx"]["state"] == "in step")

    assert eventually(10, in_step)
    page = api.get("schedules/nightly")["awx"]["url"]
    [found] = stage.awx.get(f"job_templates/{stage.template}/schedules/")["results"]
    there = f"/#/templates/job_template/{stage.template}/schedules/{found['id']}"
    assert page == f"{stage.awx.url}{there}"
    gone = api.send("DELETE", "schedules/nightly", 202)
    assert gone["removing"] and gone["next"] is None
    assert eventually(10, lambda: api.client.get("schedules/nightly").status_code == 404)


@sqlite_only
def test_a_document_brings_awx_in_step_as_every_other_change_does(api: Api, stage: Stage) -> None:
    def apply(status: int = 200, **schedules: Any) -> Any:
        query = {"prune": True}
        body = {"schedules": schedules}
        return api.send("POST", "configuration/apply", status, json=body, params=query)

    def in_step() -> bool:
        return bool(api.get("schedules/nightly")["awx"]["state"] == "in step")

    spec = {"rrule": NIGHTLY, "runs_in": "awx"}
    apply(nightly=spec)
    assert eventually(10, in_step)
    assert apply(nightly=spec)["changes"] == []
    apply(nightly=spec | {"enabled": False})
    assert eventually(10, in_step)
    [found] = stage.awx.get(f"job_templates/{stage.template}/schedules/")["results"]
    assert not found["enabled"]
    problem = apply(422, nightly=spec | {"deploy": {"conflict": "refuse"}})
    assert [told["field"] for told in problem["fields"]] == [
        "body.schedules.nightly.deploy.conflict"
    ]
    stage.stand_in.faults.set(where="DELETE .*", always=503)
    assert apply()["notes"] == ["schedule nightly goes as soon as it is gone from AWX"]
    assert apply()["changes"] == [] and api.get("configuration")["schedules"] == {}
    assert "is being removed" in apply(409, nightly=spec)["detail"]
    stage.stand_in.faults.clear()
    apply(other={"rrule": NIGHTLY})
    assert eventually(10, lambda: api.client.get("schedules/nightly").status_code == 404)


def _job(kept: Kept) -> AwxJobView | None:
    with kept.book.database.read() as session:
        found = view(session, kept.book.row(), kept.moment)
    return found.awx.job if found.awx else None


def _audited(context: Context, action: str) -> list[Any]:
    with context.database.read() as session:
        rows = session.query(AuditEntry).filter_by(action=action).order_by(AuditEntry.id)
        return [row.before for row in rows]
