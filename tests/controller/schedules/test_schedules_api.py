"""Schedules over REST: who may do what, what is refused, and what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.auth.models import Scope
from controller.catalog.models import ReleaseRow
from controller.database.engine import Database
from controller.schedules.models import Schedule
from tests.controller.deployments.conftest import eventually, sqlite_only
from tests.controller.schedules.conftest import NIGHTLY
from tests.controller.server import Api

NEW = {"name": "nightly", "rrule": NIGHTLY}


@pytest.fixture
def fleet(api: Api) -> Api:
    """A controller with the hostgroups web and db, a host in each, and nothing published."""
    for name in ("web", "db"):
        api.send("POST", "hostgroups", 201, json={"name": name})
        api.send("POST", "hosts", 201, json={"name": f"{name}1", "hostgroups": [name]})
    return api


def test_a_schedule_is_made_shown_changed_and_removed(fleet: Api) -> None:
    body = NEW | {"deploy": {"hostgroups": ["web"]}, "description": "every night"}
    made = fleet.send("POST", "schedules", 201, json=body)
    assert made["next"] == "2030-01-01T02:00:00Z"
    assert len(made["times"]) == 5 and made["times"][1] == "2030-01-02T02:00:00Z"
    assert (made["owner"], made["runs_in"], made["awx"]) == ("admin", "controller", None)
    assert (made["turn"], made["deployment"]) == (None, None)
    assert made["deploy"]["hostgroups"] == ["web"]
    shown = fleet.client.get("schedules/nightly")
    assert shown.json() == made
    tag = {"If-Match": shown.headers["ETag"]}
    changed = fleet.send("PATCH", "schedules/nightly", 200, json={"enabled": False}, headers=tag)
    assert (changed["enabled"], changed["next"], changed["rrule"]) == (False, None, NIGHTLY)
    fleet.send("PATCH", "schedules/nightly", 412, json={"enabled": True}, headers=tag)
    fleet.send("DELETE", "schedules/nightly", 412, headers=tag)
    fleet.send("DELETE", "schedules/nightly", 204)
    fleet.send("GET", "schedules/nightly", 404)
    audited = fleet.get("audit?kind=schedule")["items"]
    assert [entry["action"] for entry in audited] == [
        "schedule.delete", "schedule.update", "schedule.create"
    ]  # fmt: skip
    assert audited[1]["before"]["enabled"] and not audited[1]["after"]["enabled"]


def test_a_schedule_is_made_once_for_a_key_and_its_name_is_taken_once(fleet: Api) -> None:
    key = {"Idempotency-Key": "once"}
    fleet.send("POST", "schedules", 201, json=NEW, headers=key)
    fleet.send("POST", "schedules", 201, json=NEW, headers=key)
    assert "already" in fleet.send("POST", "schedules", 409, json=NEW)["detail"]
    assert len(fleet.get("schedules")["items"]) == 1


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"rrule": "every day at 2"}, "body.rrule", "is no rule; write it as 'DTSTART;TZID=Europe"),
    ({"rrule": "x" * 2000}, "body.rrule", "at most 1000"),
    ({"name": "a b"}, "body.name", "letters, digits"),
    ({"name": "n" * 81}, "body.name", "at most 80"),
    (
        {"deploy": {"hostgroups": ["nowhere"]}},
        "body.deploy.hostgroups",
        "there is no hostgroup 'nowhere'",
    ),
    ({"deploy": {"hosts": ["nobody"]}}, "body.deploy.hosts", "there is no host 'nobody'"),
    ({"deploy": {"retry_of": 1}}, "body.deploy.retry_of", "Extra inputs"),
    ({"grace": 600}, "body.grace", "needs missed to be `once`"),
    ({"missed": "once", "grace": 5}, "body.grace", "greater than or equal to 60"),
    ({"runs_in": "awx"}, "body.runs_in", "needs awx_url and awx_token"),
    ({"runs_in": "cron"}, "body.runs_in", "'controller' or 'awx'"),
    ({"description": "a\nb"}, "body.description", "control"),
    ({"rrule": f"{NIGHTLY} \0"}, "body.rrule", "is neither DTSTART nor RRULE"),
]


def test_what_cannot_be_is_refused_and_nothing_is_kept(fleet: Api) -> None:
    for given, field, said in BAD:
        problem = fleet.send("POST", "schedules", 422, json=NEW | given)
        [told] = [entry for entry in problem["fields"] if entry["field"] == field]
        assert said in told["message"], given
    assert fleet.get("schedules")["items"] == []


NOT_IN_AWX: list[tuple[dict[str, Any], str, str]] = [
    ({"deploy": {"conflict": "refuse"}}, "body.deploy.conflict", "knows no locks"),
    ({"missed": "once"}, "body.missed", "begins one turn that it missed, however late"),
    ({"missed": "skip"}, "body.missed", "cannot be told otherwise"),
    ({"overlap": "skip"}, "body.overlap", "lets a job wait until the one before has ended"),
]


def test_what_awx_cannot_mean_is_refused_with_the_reason(fleet: Api) -> None:
    fleet.context.settings.awx_url, fleet.context.settings.awx_token = "http://127.0.0.1:1", "token"
    for given, field, said in NOT_IN_AWX:
        problem = fleet.send("POST", "schedules", 422, json=NEW | given | {"runs_in": "awx"})
        [told] = problem["fields"]
        assert (told["field"], said in told["message"]) == (field, True), given
        fleet.send("POST", "schedules", 201, json=NEW | given)
        fleet.send("PATCH", "schedules/nightly", 422, json={"runs_in": "awx"})
        fleet.send("DELETE", "schedules/nightly", 204)
    made = fleet.send("POST", "schedules", 201, json=NEW | {"runs_in": "awx", "overlap": "wait"})
    assert made["awx"]["state"] == "to be made"
    assert made["next"] == "2030-01-01T02:00:00Z"


def test_a_limited_token_sees_and_makes_schedules_of_its_own_hosts(fleet: Api) -> None:
    limited = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    viewer = fleet.connect(fleet.token_of(Scope.VIEWER, ["web"]))
    for name, deploy in (("all", {}), ("db", {"hostgroups": ["db"]}), ("db1", {"hosts": ["db1"]})):
        body = {"name": name, "rrule": NIGHTLY, "deploy": deploy}
        assert limited.post("schedules", json=body).status_code == 403, name
        fleet.send("POST", "schedules", 201, json=body)
    body = {"name": "web", "rrule": NIGHTLY, "deploy": {"hosts": ["web1"], "hostgroups": ["web"]}}
    assert limited.post("schedules", json=body).status_code == 201
    assert [one["name"] for one in viewer.get("schedules").json()["items"]] == ["web"]
    for name in ("all", "db", "db1"):
        assert viewer.get(f"schedules/{name}").status_code == 404
        assert limited.patch(f"schedules/{name}", json={"enabled": False}).status_code == 404
        assert limited.delete(f"schedules/{name}").status_code == 404
        assert limited.post(f"schedules/{name}/run").status_code == 404
    assert limited.patch("schedules/web", json={"deploy": {}}).status_code == 403
    assert len(fleet.get("schedules")["items"]) == 4


def test_a_schedule_whose_hosts_are_gone_is_shown_to_those_who_knew_them(fleet: Api) -> None:
    owner, other = (fleet.connect(fleet.token_of(Scope.OPERATOR, ["web", "db"])) for _ in range(2))
    stranger = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    fleet.send("POST", "hosts", 201, json={"name": "db2", "hostgroups": ["db"]})
    for name, deploy in (("host", {"hosts": ["db1", "db2"]}), ("group", {"hostgroups": ["db"]})):
        body = {"name": name, "rrule": NIGHTLY, "deploy": deploy}
        assert owner.post("schedules", json=body).status_code == 201

    def seen(by: Any) -> list[str]:
        return [one["name"] for one in by.get("schedules").json()["items"]]

    fleet.send("DELETE", "hosts/db1", 204)
    assert (seen(owner), seen(other), seen(stranger)) == (["group", "host"], ["group", "host"], [])
    fleet.send("DELETE", "hosts/db2", 204)
    fleet.send("DELETE", "hostgroups/db", 204)
    assert (seen(owner), seen(other), seen(stranger)) == (["group", "host"], ["group"], [])
    assert stranger.delete("schedules/host").status_code == 404
    assert stranger.patch("schedules/host", json={"enabled": False}).status_code == 404
    assert owner.delete("schedules/host").status_code == 204


@sqlite_only
def test_a_rule_that_is_not_taken_any_more_is_shown_as_such(fleet: Api) -> None:
    fleet.send("POST", "schedules", 201, json=NEW)
    with fleet.context.database.write() as session:
        session.query(Schedule).update({"rrule": NIGHTLY.replace(":", ";TZID=US/Gone:", 1)})
    shown = fleet.get("schedules/nightly")
    assert (shown["times"], shown["next"]) == ([], "2030-01-01T02:00:00Z")
    assert shown["over"].startswith("its rule is not taken any more: ")
    assert "there is no time zone 'US/Gone'" in shown["over"]
    assert fleet.get("schedules")["items"][0]["over"] == shown["over"]
    assert fleet.send("PATCH", "schedules/nightly", 200, json={"rrule": NIGHTLY})["over"] == ""


@sqlite_only
def test_a_schedule_whose_times_are_all_past_says_so(fleet: Api) -> None:
    rule = NIGHTLY.replace("2030", "2020") + ";COUNT=3"
    problem = fleet.send("POST", "schedules", 422, json=NEW | {"rrule": rule})
    assert "all of its times are past" in problem["detail"]
    assert fleet.send("POST", "schedules", 201, json=NEW)["over"] == ""
    with fleet.context.database.write() as session:
        session.query(Schedule).update({"rrule": rule, "next_at": None})
    shown = fleet.send("PATCH", "schedules/nightly", 200, json={"enabled": True})
    assert (shown["next"], shown["over"]) == (None, "all of its times are past")
    assert fleet.send("PATCH", "schedules/nightly", 200, json={"enabled": False})["over"] == ""


@sqlite_only
def test_all_times_of_a_rule_are_shown_in_its_zone(fleet: Api) -> None:
    rule = "DTSTART;TZID=Europe/London:20300701T020000 RRULE:FREQ=DAILY;INTERVAL=1"
    made = fleet.send("POST", "schedules", 201, json=NEW | {"rrule": rule})
    assert made["next"] == made["times"][0] == "2030-07-01T02:00:00+01:00"
    with fleet.context.database.write() as session:
        then = datetime(2026, 7, 1, 1, tzinfo=UTC)
        session.query(Schedule).update(
            {"turn_due": then, "turn_at": then, "turn_outcome": "missed"}
        )
    assert fleet.get("schedules/nightly")["turn"]["due"] == "2026-07-01T02:00:00+01:00"


@sqlite_only
def test_schedules_are_listed_by_page_and_by_what_comes_next(fleet: Api) -> None:
    for name, hour in (("a", 3), ("b", 1), ("c", 2)):
        rule = f"DTSTART:20300101T0{hour}0000Z RRULE:FREQ=DAILY;INTERVAL=1"
        fleet.send("POST", "schedules", 201, json={"name": name, "rrule": rule})
    fleet.send("PATCH", "schedules/b", 200, json={"enabled": False})
    first = fleet.get("schedules?sort=next&limit=2")
    assert [one["name"] for one in first["items"]] == ["c", "a"]
    after = fleet.get(f"schedules?sort=next&limit=2&cursor={first['next']}")
    assert ([one["name"] for one in after["items"]], after["next"]) == (["b"], None)
    fleet.send("GET", "schedules?sort=rrule", 422)


@sqlite_only
def test_a_rule_is_tried_before_it_is_kept(fleet: Api) -> None:
    rule = "DTSTART;TZID=Europe/London:20300630T020000 RRULE:FREQ=DAILY;INTERVAL=1"
    shown = fleet.send("POST", "schedules/preview", 200, json={"rrule": rule, "count": 2})
    assert shown["times"] == ["2030-06-30T02:00:00+01:00", "2030-07-01T02:00:00+01:00"]
    assert (shown["rrule"], shown["time_zone"]) == (rule, "Europe/London")
    problem = fleet.send("POST", "schedules/preview", 422, json={"rrule": rule[:-1] + "0"})
    assert problem["fields"][0]["field"] == "body.rrule"
    assert "INTERVAL must be a number" in problem["detail"]


def test_a_schedule_can_be_run_at_once_with_the_callers_rights(fleet: Api) -> None:
    body = NEW | {"deploy": {"hosts": ["web1"]}}
    fleet.send("POST", "schedules", 201, json=body)
    assert "nothing was published" in fleet.send("POST", "schedules/nightly/run", 409)["detail"]
    _publish(fleet.context.database)
    fleet.send("PATCH", "schedules/nightly", 200, json={"deploy": {"hostgroups": ["db"]}})
    fleet.send("DELETE", "hosts/db1", 204)
    started = fleet.send("POST", "schedules/nightly/run", 202)
    assert (started["status"], started["by"]) == ("succeeded", "admin")
    shown = fleet.get("schedules/nightly")
    assert shown["deployment"]["id"] == started["id"]
    assert (shown["turn"], shown["next"]) == (None, "2030-01-01T02:00:00Z")


@sqlite_only
def test_the_controller_takes_turns_by_itself(fleet: Api) -> None:
    _publish(fleet.context.database)
    fleet.send("DELETE", "hosts/web1", 204)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    rule = f"DTSTART:{soon:%Y%m%dT%H%M%S}Z RRULE:FREQ=DAILY;INTERVAL=1"
    body = {"name": "soon", "rrule": rule, "deploy": {"hostgroups": ["web"]}}
    made = fleet.send("POST", "schedules", 201, json=body)
    turn = eventually(10, lambda: fleet.get("schedules/soon")["turn"])
    assert (turn["outcome"], turn["due"]) == ("started", made["next"])
    shown = fleet.get("schedules/soon")
    assert shown["deployment"]["status"] == "succeeded"
    assert fleet.get(f"deployments/{shown['deployment']['id']}")["by"] == "schedule soon"


def _publish(database: Database) -> None:
    with database.write() as session:
        session.add(ReleaseRow(number=1, commit="1" * 40, tree="0" * 40))
