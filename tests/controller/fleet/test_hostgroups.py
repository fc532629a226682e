"""Hostgroups and their members, by name and by label rule; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from controller.auth.principal import CONTROLLER
from controller.bindings.models import BindingRow
from controller.database.engine import Database
from controller.fleet import hostgroups, service
from controller.fleet.schemas import HostCreate, HostgroupCreate
from controller.web.deps import Context
from tests.controller.server import Api


def members(api: Api, hostgroup: str) -> dict[str, str]:
    """Why each host is in a hostgroup: `n` by name, `r` by rule."""
    rows = api.get(f"hostgroups/{hostgroup}/members", params={"limit": 500})["items"]
    return {row["host"]: "n" * row["by_name"] + "r" * row["by_rule"] for row in rows}


def make(api: Api, name: str, **labels: str) -> None:
    """Make a host."""
    api.send("POST", "hosts", 201, json={"name": name, "labels": labels})


def change_members(api: Api, hostgroup: str, status: int = 200, **change: list[str]) -> Any:
    """Add and remove members by name."""
    return api.send("POST", f"hostgroups/{hostgroup}/members", status, json=change)


def test_a_hostgroup_is_shown_as_it_was_made_but_for_its_secrets(api: Api) -> None:
    body = {
        "name": "web",
        "description": "What customers\nsee",
        "rule": "idc=bj, role!=db",
        "variables": {"ntp": ["a", "b"]},
        "secrets": {"ansible_password": "s3cret"},
    }
    response = api.client.post("hostgroups", json=body)
    assert response.status_code == 201
    assert response.headers["location"] == "/api/v1/hostgroups/web"
    made = api.get("hostgroups/web")
    assert made == response.json()
    assert {k: made[k] for k in body} == {**body, "secrets": ["ansible_password"]}
    assert made["hosts"] == 0
    assert "taken" not in api.send("POST", "hostgroups", 409, json={"name": "web"})["detail"]


def test_adding_one_member_removes_no_other(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    for name in ("a", "b", "c"):
        make(api, name)
        change_members(api, "web", add=[name])
    assert members(api, "web") == {"a": "n", "b": "n", "c": "n"}
    answer = change_members(api, "web", add=["a"], remove=["c"])
    assert answer == {"added": 0, "removed": 1, "stay_by_rule": [], "hosts": 2}
    assert members(api, "web") == {"a": "n", "b": "n"}


def test_unknown_members_are_each_named_and_nothing_is_changed(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    make(api, "a")
    problem = change_members(api, "web", 422, add=["a", "nosuch"], remove=["gone"])
    assert {field["field"]: field["message"] for field in problem["fields"]} == {
        "body.add.1": "there is no host 'nosuch'",
        "body.remove.0": "there is no host 'gone'",
    }
    assert members(api, "web") == {}
    assert "added and removed" in change_members(api, "web", 422, add=["a"], remove=["a"])["detail"]


def test_members_by_rule_follow_labels_and_rule(api: Api) -> None:
    make(api, "early", idc="bj")
    make(api, "other", idc="sh")
    api.send("POST", "hostgroups", 201, json={"name": "bj", "rule": "idc=bj"})
    assert members(api, "bj") == {"early": "r"}
    make(api, "late", idc="bj")
    api.send("PATCH", "hosts/other", 200, json={"labels": {"idc": "bj"}})
    api.send("PATCH", "hosts/early", 200, json={"labels": {"idc": None}})
    assert members(api, "bj") == {"late": "r", "other": "r"}
    api.send("PATCH", "hostgroups/bj", 200, json={"rule": "idc!=bj"})
    assert members(api, "bj") == {"early": "r"}
    api.send("PATCH", "hostgroups/bj", 200, json={"rule": ""})
    assert members(api, "bj") == {}


def test_a_member_by_name_and_rule_stays_as_long_as_one_of_them_holds(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "bj", "rule": "idc=bj"})
    make(api, "a", idc="bj")
    change_members(api, "bj", add=["a"])
    assert members(api, "bj") == {"a": "nr"}
    assert change_members(api, "bj", remove=["a"])["stay_by_rule"] == ["a"]
    assert members(api, "bj") == {"a": "r"}
    change_members(api, "bj", add=["a"])
    api.send("PUT", "hosts/a", 200, json={"labels": {}})
    assert members(api, "bj") == {"a": "n"}
    assert api.get("hosts/a")["hostgroups"] == ["bj"]


def test_every_host_is_in_all_always(api: Api) -> None:
    make(api, "a")
    make(api, "b")
    assert members(api, "all") == {"a": "", "b": ""}
    assert api.get("hostgroups/all")["hosts"] == 2
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]
    assert api.get("hosts/a")["hostgroups"] == []
    changed = api.send("PATCH", "hostgroups/all", 200, json={"variables": {"ntp": "a"}})
    assert changed["variables"] == {"ntp": "a"}
    api.send("DELETE", "hostgroups/all", 409)
    api.send("PATCH", "hostgroups/all", 409, json={"rule": "idc=bj"})
    change_members(api, "all", 409, add=["a"])
    assert "reserved" not in api.send("POST", "hostgroups", 422, json={"name": "all"})["detail"]


def test_a_hostgroup_with_bindings_is_deleted_only_by_force(api: Api) -> None:
    made = api.send("POST", "hostgroups", 201, json={"name": "web"})
    make(api, "a")
    change_members(api, "web", add=["a"])
    with api.context.database.write() as session:
        hostgroup = hostgroups.find(session, CONTROLLER, made["name"])
        session.add(BindingRow(hostgroup_id=hostgroup.id, plugin="sys/ntp"))
    problem = api.send("DELETE", "hostgroups/web", 409)
    assert "sys/ntp" in problem["detail"] and "force" in problem["hint"]
    api.send("DELETE", "hostgroups/web", 204, params={"force": True})
    api.get("hostgroups/web", 404)
    assert api.get("hosts/a")["hostgroups"] == []
    entry = api.get("audit", params={"kind": "hostgroup"})["items"][0]
    assert entry["before"]["bindings"] == ["sys/ntp"] and entry["before"]["hosts"] == 1


IMPOSSIBLE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "a/b"}, "body.name"),
    ({"name": ".."}, "body.name"),
    ({"name": "pf_failed"}, "body.name"),
    ({"name": "\u202eweb"}, "body.name"),
    ({"name": "x" * 101}, "body.name"),
    ({"name": "ok", "description": "\x00"}, "body.description"),
    ({"name": "ok", "rule": "idc=bj,idc=sh"}, "body.rule"),
    ({"name": "ok", "rule": "idc=("}, "body.rule"),
    ({"name": "ok", "rule": "idc\n=bj"}, "body.rule"),
    ({"name": "ok", "rule": "x" * 10_240}, "body.rule"),
    ({"name": "ok", "variables": {"ansible_become_password": "x"}}, "variables.ansible_become_password"),
    ({"name": "ok", "members": ["a"]}, "body.members"),
)  # fmt: skip


def test_a_hostgroup_that_cannot_be_is_refused_by_its_field(api: Api) -> None:
    for body, field in IMPOSSIBLE:
        problem = api.send("POST", "hostgroups", 422, json=body)
        assert field in [entry["field"] for entry in problem["fields"]], problem
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]
    for path in ("hostgroups/a%00b", "hostgroups/..%2Fx", "hostgroups/nosuch/members"):
        assert api.client.get(path).status_code in (404, 422)


def test_a_rule_error_says_where_it_is_wrong(api: Api) -> None:
    problem = api.send("POST", "hostgroups", 422, json={"name": "ok", "rule": "idc=bj;x"})
    assert "at character 7" in problem["fields"][0]["message"]


def test_a_change_of_what_somebody_else_changed_is_refused(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web", "variables": {"a": 1, "b": 2}})
    read = api.client.get("hostgroups/web").headers["etag"]
    api.send("PATCH", "hostgroups/web", 200, json={"variables": {"a": None}})
    stale = {"If-Match": read}
    for method, path, body in (
        ("PUT", "hostgroups/web", {}),
        ("PATCH", "hostgroups/web", {"description": "mine"}),
        ("POST", "hostgroups/web/members", {"add": []}),
        ("DELETE", "hostgroups/web", None),
    ):
        api.send(method, path, 412, headers=stale, json=body)
    assert api.get("hostgroups/web")["variables"] == {"b": 2}
    fresh = api.client.get("hostgroups/web").headers["etag"]
    put = api.send("PUT", "hostgroups/web", 200, headers={"If-Match": fresh}, json={})
    assert put["variables"] == {}


def test_changes_of_members_stand_in_the_audit_log(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    make(api, "a")
    make(api, "b")
    change_members(api, "web", add=["a"])
    change_members(api, "web", add=["b"], remove=["a"])
    change_members(api, "web", add=["b"])
    entries = api.get("audit", params={"kind": "hostgroup", "name": "web"})["items"]
    assert [(e["action"], e["before"], e["after"]) for e in entries[:-1]] == [
        ("hostgroup.members", {"members": ["a"]}, {"members": ["b"]}),
        ("hostgroup.members", {"members": []}, {"members": ["a"]}),
    ]


def test_a_rule_and_labels_changed_at_the_same_moment_still_fit(context: Context) -> None:
    """Neither transaction sees what the other is writing; so the second must wait for the first."""
    database = context.database

    def make_host() -> None:
        with database.write() as session:
            spec = HostCreate(name="a", labels={"idc": "bj"})
            service.create(session, CONTROLLER, context.vault, spec)

    thread = threading.Thread(target=make_host)
    with database.write() as session:
        spec = HostgroupCreate(name="bj", rule="idc=bj")
        hostgroups.create(session, CONTROLLER, context.vault, spec)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(20)
    with database.read() as session:
        assert hostgroups.find(session, CONTROLLER, "bj").memberships[0].by_rule


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that a database gets meanwhile."""
    statements: list[str] = []

    def note(_1: object, _2: object, statement: str, *_3: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def test_members_of_a_rule_are_written_as_sets(api: Api) -> None:
    hosts = [{"name": f"h{n}", "labels": {"idc": "bj" if n % 2 else "sh"}} for n in range(3000)]
    api.send("POST", "hosts/import?format=json", 200, json=hosts)
    api.send("POST", "hostgroups", 201, json={"name": "g"})
    names = [host["name"] for host in hosts]
    for path, body, hosts_in_it in (
        ("hostgroups/g", {"rule": "idc"}, 3000),
        ("hostgroups/g", {"rule": "idc=bj"}, 1500),
        ("hostgroups/g/members", {"add": names}, 3000),
        ("hostgroups/g/members", {"remove": names[:2000]}, 2000),
        ("hostgroups/g", {"rule": ""}, 1000),
    ):
        method = "POST" if path.endswith("members") else "PATCH"
        with counted(api.context.database) as statements:
            answer = api.send(method, path, 200, json=body)
        assert answer["hosts"] == hosts_in_it
        assert len(statements) < 40, statements
