"""Deployments by REST: decided, run by a real ansible-runner, recorded; on both databases."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import func, select

from controller.auth.models import Scope
from controller.deployments.models import HostLock, RunEvent, Wave
from controller.deployments.processes import mark
from controller.deployments.rundir import RunDir
from tests.controller.deployments.conftest import Fleet, ended, results, sqlite_only
from tests.controller.server import Api

FAILS = {"failed": True, "msg": "sync: no space left"}
AWAY = {"unreachable": True, "msg": "no route to host"}
DIFF = [{"before": "a\n", "after": "b\n", "before_header": "cfg", "after_header": "cfg"}]


def test_each_host_is_brought_to_its_plan_and_says_so(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    steps = [{"step": "sync", "changed": True, "msg": "got release 1", "seconds": 0.2}]
    fleet.host("a", result={"changed": True, "msg": "brought", "steps": steps})
    fleet.host("b")
    started = api.send("POST", "deployments", 202, json={})
    assert started["status"] == "queued" and started["hosts"] == {"waiting": 2}
    view = ended(api, started["id"])
    assert (view["status"], view["reason"]) == ("succeeded", "")
    assert view["hosts"] == {"changed": 1, "ok": 1}
    assert view["waves"][0]["exit_status"] == 0
    found = results(api, started["id"])
    assert found["a"]["message"] == "brought" and found["a"]["steps"][0]["seconds"] == 0.2
    row = fleet.row("a")
    assert (row.state, row.reported_release) == ("converged", 1)
    assert row.reported_plan == found["a"]["plan"] != ""
    again = api.send("POST", "deployments", 202, json={})
    assert (again["status"], again["hosts"]) == ("succeeded", {"current": 2})
    whole = api.send("POST", "deployments", 202, json={"all": True, "hosts": ["b"]})
    assert ended(api, whole["id"])["hosts"] == {"ok": 1}
    assert [row["status"] for row in api.get("deployments")["items"]] == ["succeeded"] * 3
    entry = api.get("audit", params={"kind": "deployment"})["items"][0]
    assert (entry["action"], entry["after"]["visited"]) == ("deployment.start", 1)


def test_lost_hosts_end_later_waves_and_are_tried_again(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", result=FAILS)
    fleet.host("b", result=AWAY)
    fleet.host("c", result={"changed": True, "msg": "brought"})
    fleet.host("d")
    body = {"batch_size": 3, "max_lost": 1}
    view = ended(api, api.send("POST", "deployments", 202, json=body)["id"])
    assert view["status"] == "failed"
    assert "max_lost (1)" in view["reason"] and "1 failed, 1 unreachable" in view["reason"]
    assert [(wave["status"], wave["exit_status"]) for wave in view["waves"]] == [
        ("failed", 0),
        ("canceled", None),
    ]
    found = results(api, view["id"])
    assert {name: row["status"] for name, row in found.items()} == {
        "a": "failed",
        "b": "unreachable",
        "c": "changed",
        "d": "canceled",
    }
    assert found["a"]["message"] == FAILS["msg"]
    assert (fleet.row("a").state, fleet.row("b").state) == ("failed", "unreachable")
    assert fleet.row("a").last_error == f"deployment {view['id']}: {FAILS['msg']}"
    assert fleet.row("d").state == "pending" and fleet.row("d").last_error == ""
    again = api.send("POST", f"deployments/{view['id']}/retry", 202)
    assert (again["retry_of"], again["hosts"]) == (view["id"], {"waiting": 3})
    assert set(results(api, again["id"])) == {"a", "b", "d"}
    assert ended(api, again["id"])["waves"][0]["number"] == 1


@sqlite_only
def test_check_tells_what_would_change_and_changes_no_host(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", result={"changed": True, "msg": "would sync", "diff": DIFF})
    before = fleet.row("a")
    view = ended(api, api.send("POST", "deployments", 202, json={"check": True})["id"])
    assert view["check"] and view["hosts"] == {"changed": 1}
    assert results(api, view["id"])["a"]["diff"][0] == {**DIFF[0], "prepared": ""}
    after = fleet.row("a")
    assert (after.state, after.reported_plan) == (before.state, before.reported_plan)


@sqlite_only
def test_a_check_run_finds_drift_and_the_next_deployment_repairs_it(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", result={"changed": True, "msg": "would update (edited sys/ntp)"})
    fleet.host("b")
    fleet.converge()
    nightly = {"all": True, "check": True}
    assert ended(api, api.send("POST", "deployments", 202, json=nightly)["id"])["hosts"] == {
        "changed": 1,
        "ok": 1,
    }
    assert (fleet.row("a").state, fleet.row("b").state) == ("drifted", "converged")
    assert "would update (edited sys/ntp)" in fleet.row("a").last_error
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    assert view["hosts"] == {"changed": 1, "current": 1}
    assert (fleet.row("a").state, fleet.row("a").last_error) == ("converged", "")


@sqlite_only
def test_a_playbook_that_gets_nowhere_fails_every_host_with_its_reason(
    api: Api, fleet: Fleet
) -> None:
    fleet.publish()
    fleet.hosts(["a", "b"])
    with api.context.database.write() as session:
        for name in ("a", "b"):
            row = session.merge(fleet.row(name))
            row.variables = row.variables | {"pretend_no_release": True}
            row.reported_plan = "kept"
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    assert (view["status"], view["hosts"]) == ("failed", {"failed": 2})
    for row in results(api, view["id"]).values():
        assert row["message"] == "Publish the release: the release is not here"
    assert fleet.row("a").reported_plan == "kept", "nothing was done to it"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"hosts": ["a", "nobody", "none"]}, ["hosts", "hosts"]),
        ({"hostgroups": ["web", "nowhere"]}, ["hostgroups"]),
        ({"hosts": ["a/../b"]}, ["body.hosts.0"]),
        ({"batch_size": -1}, ["body.batch_size"]),
        ({"conflict": "fight"}, ["body.conflict"]),
        ({"surprise": 1}, ["body.surprise"]),
    ],
)
def test_what_cannot_be_deployed_is_refused_by_name(
    api: Api, fleet: Fleet, body: dict[str, object], fields: list[str]
) -> None:
    fleet.publish()
    fleet.host("a", groups=("web",))
    problem = api.send("POST", "deployments", 422, json=body)
    assert [entry["field"] for entry in problem["fields"]] == fields
    assert api.get("deployments")["items"] == []


def test_nothing_published_is_told_with_what_to_do(api: Api, fleet: Fleet) -> None:
    fleet.host("a")
    problem = api.send("POST", "deployments", 409, json={})
    assert "nothing was published" in problem["detail"] and "releases" in problem["hint"]


@sqlite_only
def test_an_idempotency_key_starts_one_deployment(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a")
    key = {"Idempotency-Key": "once"}
    first = api.client.post("deployments", json={}, headers=key)
    again = api.client.post("deployments", json={}, headers=key)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == f"/api/v1/deployments/{first.json()['id']}"
    assert len(api.get("deployments")["items"]) == 1
    ended(api, first.json()["id"])


def test_a_limited_token_deploys_to_and_sees_its_own_hosts_only(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", groups=("web",))
    fleet.host("b", groups=("db",), result=FAILS)
    limited = api.connect(api.token_of(Scope.OPERATOR, ["web"]))
    for body in ({}, {"hosts": ["b"]}, {"hostgroups": ["db"]}, {"hostgroups": ["all"]}):
        assert limited.post("deployments", json=body).status_code == 403, body
    whole = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    seen = limited.get(f"deployments/{whole['id']}").json()
    assert seen["hosts"] == {"ok": 1}
    rows = limited.get(f"deployments/{whole['id']}/hosts").json()["items"]
    assert [row["host"] for row in rows] == ["a"]
    told = limited.get(f"deployments/{whole['id']}/events").json()["items"]
    assert {event["host"] for event in told} == {"", "a"}
    assert limited.post(f"deployments/{whole['id']}/cancel").status_code in (403, 409)
    other = api.send("POST", "deployments", 202, json={"hosts": ["b"]})
    assert limited.get(f"deployments/{other['id']}").status_code == 404
    own = limited.post("deployments", json={"hostgroups": ["web"], "all": True}).json()
    assert ended(api, own["id"])["hosts"] == {"ok": 1}
    ended(api, other["id"])


def test_a_thousand_hosts_that_are_right_are_decided_at_once_with_no_run(
    api: Api, fleet: Fleet
) -> None:
    fleet.publish()
    fleet.hosts([f"h{number:04}" for number in range(1000)], groups=("web",))
    fleet.converge()
    began = time.monotonic()
    view = api.send("POST", "deployments", 202, json={})
    assert time.monotonic() - began < 2
    assert (view["status"], view["hosts"], view["waves"]) == ("succeeded", {"current": 1000}, [])
    with api.context.database.read() as session:
        assert session.scalar(select(func.count(Wave.id))) == 0


@sqlite_only
def test_a_run_leaves_no_folder_no_lock_and_no_secret(api: Api, fleet: Fleet) -> None:
    secret = 'p4ss"word\\with signs'
    fleet.publish()
    fleet.host("a", result={"failed": True, "msg": f"tried {secret}", "diff": [{"after": secret}]})
    fleet.seal("a", {"ansible_password": secret, "pretend_say": secret})
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    assert results(api, view["id"])["a"]["message"] == "tried ********"
    context = api.context
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(HostLock)) == 0
        wave = session.scalars(select(Wave)).one()
        texts = list(session.scalars(select(RunEvent.data)))
    assert any("said ********" in text for text in texts), "the run has used it"
    everything = f"{texts} {results(api, view['id'])} {fleet.row('a').last_error}"
    assert "p4ss" not in everything
    folder = RunDir(mark(wave.id, context.settings.database), context.settings.data_dir)
    assert not folder.path.exists()
    kept = [file for file in context.settings.data_dir.rglob("*") if file.is_file()]
    assert kept and not any(b"p4ss" in file.read_bytes() for file in kept)


def test_a_release_that_comes_between_waves_waits_for_its_own_deployment(
    api: Api, fleet: Fleet
) -> None:
    fleet.publish(1)
    fleet.hosts(["a", "b"], seconds=0.8)
    started = api.send("POST", "deployments", 202, json={"batch_size": 1})
    time.sleep(0.2)
    fleet.publish(2)
    assert ended(api, started["id"])["hosts"] == {"ok": 2}
    row = fleet.row("b")
    assert (row.reported_release, row.state, row.reported_plan) == (1, "pending", "")
