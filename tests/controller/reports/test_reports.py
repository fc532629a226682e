"""What a control node reports of its own run: recorded as a deployment, and told of the hosts."""

from __future__ import annotations

from typing import Any

import pytest

from controller.auth.models import Scope
from controller.database.base import now
from controller.schedules.models import Schedule
from tests.controller.reports.conftest import in_awx
from tests.controller.server import Api


def plans(api: Api) -> dict[str, str]:
    hostvars = api.get("inventory")["_meta"]["hostvars"]
    return {name: variables["plugfleet_plan"] for name, variables in hostvars.items()}


def entry(api: Api, host: str, status: str, **more: Any) -> dict[str, Any]:
    return {"host": host, "status": status, "plan": plans(api).get(host, ""), **more}


def send(api: Api, status: int, *hosts: dict[str, Any], **more: Any) -> Any:
    return api.send("POST", "reports", status, json={"release": 3, "hosts": hosts, **more})


def states(api: Api) -> dict[str, str]:
    return {host["name"]: host["state"] for host in api.get("hosts")["items"]}


def test_a_report_is_a_deployment_that_has_ended(fleet: Api) -> None:
    taken = send(
        fleet,
        201,
        entry(fleet, "web1", "changed", message="done", steps=[{"step": "sync", "seconds": 0.5}]),
        entry(fleet, "web2", "failed", message="update: no git"),
        started="2026-01-02T03:04:05Z",
    )
    shown = fleet.get(f"deployments/{taken['deployment']}")
    assert shown["status"] == "failed"
    assert shown["by"] == "admin"
    assert shown["release"] == 3
    assert shown["started"].startswith("2026-01-02T03:04:05")
    assert "reported by a control node; 1 host was lost" in shown["reason"]
    results = fleet.get(f"deployments/{taken['deployment']}/hosts")["items"]
    assert [(row["host"], row["status"], row["message"]) for row in results] == [
        ("web1", "changed", "done"),
        ("web2", "failed", "update: no git"),
    ]
    assert results[0]["steps"][0]["seconds"] == 0.5


def test_the_hosts_states_follow(fleet: Api) -> None:
    send(
        fleet,
        201,
        entry(fleet, "web1", "ok"),
        entry(fleet, "web2", "failed", message="no git"),
        entry(fleet, "db1", "unreachable"),
    )
    assert states(fleet) == {"web1": "converged", "web2": "failed", "db1": "unreachable"}
    assert fleet.get("hosts/web1")["reported_release"] == 3
    assert "no git" in fleet.get("hosts/web2")["last_error"]
    assert fleet.get("inventory")["pf_converged"]["hosts"] == ["web1"]


def test_a_plan_that_changed_meanwhile_is_not_converged(fleet: Api) -> None:
    before = entry(fleet, "web1", "changed")
    fleet.send("PATCH", "hosts/web1", 200, json={"variables": {"plugin_sync_timeout": 10}})
    send(fleet, 201, before)
    assert states(fleet)["web1"] == "pending"


def test_a_check_says_nothing_of_a_host_that_has_yet_to_get_its_plan(fleet: Api) -> None:
    send(fleet, 201, entry(fleet, "web1", "changed"), entry(fleet, "web2", "ok"), check=True)
    assert (states(fleet)["web1"], states(fleet)["web2"]) == ("pending", "pending")


def test_a_check_that_finds_what_nobody_deployed_says_that_the_host_has_drifted(fleet: Api) -> None:
    send(fleet, 201, entry(fleet, "web1", "ok"), entry(fleet, "web2", "ok"))
    before = fleet.get("hosts/web1")["state_since"]
    edited = "would update (changed on the host: edited sys/ntp/600_ntp.py)"
    found = entry(fleet, "web1", "changed", message=edited)
    send(fleet, 201, found, entry(fleet, "web2", "ok"), check=True)
    assert states(fleet) == {"web1": "drifted", "web2": "converged", "db1": "pending"}
    host = fleet.get("hosts/web1")
    assert host["last_error"] == f"deployment 2: differs from its plan: {edited}"
    assert host["state_since"] > before
    assert fleet.get("inventory")["pf_drifted"]["hosts"] == ["web1"]
    chosen = fleet.send("POST", "deployments", 202, json={})
    assert chosen["hosts"] == {"waiting": 2, "current": 1}, "it is not taken for right"
    since = host["state_since"]
    fleet.send("POST", f"deployments/{chosen['id']}/cancel", 202)
    send(fleet, 201, found, check=True)
    assert fleet.get("hosts/web1")["state_since"] == since, "it has been so all the time"


@pytest.mark.parametrize("check", [True, False])
def test_a_drifted_host_is_converged_again_when_it_is_right(fleet: Api, check: bool) -> None:
    send(fleet, 201, entry(fleet, "web1", "ok"))
    send(fleet, 201, entry(fleet, "web1", "changed", message="would update"), check=True)
    send(fleet, 201, entry(fleet, "web1", "ok"), check=check)
    host = fleet.get("hosts/web1")
    assert (host["state"], host["last_error"]) == ("converged", "")


def test_a_drifted_host_with_a_new_plan_stays_so_until_it_gets_that(fleet: Api) -> None:
    send(fleet, 201, entry(fleet, "web1", "ok"))
    send(fleet, 201, entry(fleet, "web1", "changed", message="would update"), check=True)
    fleet.send("PATCH", "hosts/web1", 200, json={"variables": {"plugin_sync_timeout": 10}})
    send(fleet, 201, entry(fleet, "web1", "ok"), check=True)
    assert states(fleet)["web1"] == "drifted"
    send(fleet, 201, entry(fleet, "web1", "ok"))
    assert states(fleet)["web1"] == "converged"


def test_a_check_that_a_visit_came_into_says_nothing_of_that_host(fleet: Api) -> None:
    began = now().isoformat()
    send(fleet, 201, entry(fleet, "web1", "changed"), entry(fleet, "web2", "ok"))
    found = entry(fleet, "web1", "changed", message="would update")
    send(fleet, 201, found, check=True, started=began)
    assert states(fleet)["web1"] == "converged"


def test_a_check_with_another_plan_says_nothing(fleet: Api) -> None:
    send(fleet, 201, entry(fleet, "web1", "ok"))
    for plan in ("", "1" * 64):
        send(fleet, 201, {"host": "web1", "status": "changed", "plan": plan}, check=True)
    assert states(fleet)["web1"] == "converged"


def test_hosts_that_are_not_known_are_named_and_left_out(fleet: Api) -> None:
    taken = send(fleet, 201, entry(fleet, "web1", "ok"), entry(fleet, "gone", "ok"))
    assert taken["unknown"] == ["gone"]
    assert taken["hosts"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"release": 9}, "body.release"),
        ({"hosts": []}, "body.hosts"),
        ({"hosts": [{"host": "nobody", "status": "ok"}]}, "body.hosts"),
        ({"hosts": [{"host": "web1", "status": "ok"}] * 2}, "body.hosts"),
        ({"hosts": [{"host": "web1", "status": "great"}]}, "body.hosts.0.status"),
        ({"hosts": [{"host": "web1", "status": "ok", "plan": "x"}]}, "body.hosts.0.plan"),
        ({"started": "yesterday"}, "body.started"),
        ({"surprise": 1}, "body.surprise"),
    ],
)
def test_a_report_that_cannot_be_is_refused_by_its_field(
    fleet: Api, change: dict[str, Any], field: str
) -> None:
    body = {"release": 3, "hosts": [{"host": "web1", "status": "ok"}], **change}
    problem = fleet.send("POST", "reports", 422, json=body)
    assert field in [entry["field"] for entry in problem["fields"]]
    assert fleet.get("deployments")["items"] == []


def test_texts_that_no_database_takes_are_cleaned(fleet: Api) -> None:
    odd = "a\x00b\x1b[31mred\x1b[0m\u202e"
    taken = send(fleet, 201, entry(fleet, "web1", "failed", message=odd, warnings=["\x00"]))
    [result] = fleet.get(f"deployments/{taken['deployment']}/hosts")["items"]
    assert result["message"] == "a\ufffdbred\u202e"


def test_secrets_are_not_kept(fleet: Api) -> None:
    fleet.send("PATCH", "hosts/web1", 200, json={"secrets": {"ansible_password": "hunter2hunter2"}})
    taken = send(
        fleet,
        201,
        entry(
            fleet,
            "web1",
            "failed",
            message="sudo said hunter2hunter2",
            diff=[{"before": "", "after": "password: hunter2hunter2", "after_header": "cfg.json"}],
        ),
    )
    rows = fleet.get(f"deployments/{taken['deployment']}/hosts")
    assert "hunter2" not in str(rows) + str(fleet.get("hosts/web1"))


def test_the_same_report_is_recorded_once(fleet: Api) -> None:
    body = {"release": 3, "hosts": [entry(fleet, "web1", "ok")]}
    headers = {"Idempotency-Key": "one"}
    first = fleet.send("POST", "reports", 201, json=body, headers=headers)
    assert fleet.send("POST", "reports", 201, json=body, headers=headers) == first
    assert len(fleet.get("deployments")["items"]) == 1


def test_a_limited_token_reports_its_own_hosts_only(fleet: Api) -> None:
    fleet.send("POST", "hostgroups", 201, json={"name": "web"})
    fleet.send("POST", "hostgroups/web/members", 200, json={"add": ["web1"]})
    client = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    body = {"release": 3, "hosts": [{"host": "web1", "status": "ok"}]}
    assert client.post("reports", json=body).status_code == 201
    body["hosts"].append({"host": "db1", "status": "ok"})  # type: ignore[attr-defined]
    refused = client.post("reports", json=body)
    assert refused.status_code == 403
    assert "db1" in refused.json()["detail"]


def test_it_stands_in_the_audit_log(fleet: Api) -> None:
    send(fleet, 201, entry(fleet, "web1", "ok"))
    [found] = [e for e in fleet.get("audit")["items"] if e["action"] == "deployment.report"]
    assert found["after"] == {"release": 3, "check": False, "hosts": 1}


def test_a_run_that_a_schedule_began_in_awx_is_that_schedules(fleet: Api) -> None:
    said = in_awx(fleet)
    began = {"awx_schedule": said, "started": "2026-01-02T03:04:05Z"}
    taken = send(fleet, 201, entry(fleet, "web1", "failed"), **began)
    shown = fleet.get(f"deployments/{taken['deployment']}")
    assert (shown["by"], shown["status"]) == ("schedule nightly", "failed")
    last = fleet.get("schedules/nightly")["deployment"]
    assert (last["id"], last["status"]) == (taken["deployment"], "failed")
    [found, *_] = [e for e in fleet.get("audit")["items"] if e["action"] == "deployment.report"]
    assert (found["actor"], found["after"]["schedule"]) == ("admin", "nightly")
    # One that began earlier, and is reported later, is no newer for that.
    send(fleet, 201, entry(fleet, "web1", "ok"), awx_schedule=said, started="2026-01-01T00:00:00Z")
    assert fleet.get("schedules/nightly")["deployment"]["id"] == taken["deployment"]


def test_a_report_is_kept_whatever_schedule_it_claims(fleet: Api) -> None:
    said = in_awx(fleet)
    claims = [said | {"id": 8}, said | {"name": "plugfleet schedule weekly"}, said | {"name": ""}]
    for claim in claims:
        taken = send(fleet, 201, entry(fleet, "web1", "ok"), awx_schedule=claim)
        assert fleet.get(f"deployments/{taken['deployment']}")["by"] == "admin", claim
    fleet.send("POST", "hostgroups", 201, json={"name": "db"})
    fleet.send("POST", "hostgroups/db/members", 200, json={"add": ["db1"]})
    limited = fleet.connect(fleet.token_of(Scope.OPERATOR, ["db"]))
    body = {"release": 3, "hosts": [{"host": "db1", "status": "ok"}], "awx_schedule": said}
    assert limited.post("reports", json=body).status_code == 201
    with fleet.context.database.write() as session:
        session.query(Schedule).one().awx_url = ""  # as when it was moved back, and is gone there
    send(fleet, 201, entry(fleet, "web1", "ok"), awx_schedule=said)
    assert len(fleet.get("deployments")["items"]) == len(claims) + 2
    assert fleet.get("schedules/nightly")["deployment"] is None


def test_what_was_lost_can_be_tried_again(fleet: Api) -> None:
    taken = send(fleet, 201, entry(fleet, "web1", "ok"), entry(fleet, "web2", "failed"))
    again = fleet.send("POST", f"deployments/{taken['deployment']}/retry", 202)
    hosts = fleet.get(f"deployments/{again['id']}/hosts")["items"]
    assert [row["host"] for row in hosts] == ["web2"]
