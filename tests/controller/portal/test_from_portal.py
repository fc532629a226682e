"""We follow the portal, or take it over: in one transaction, with what cannot be taken left out by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from controller.agents.models import AgentRow
from controller.fleet.models import Host
from tests.controller.portal.conftest import Sync, told
from tests.controller.portal.falconplus import FalconPlus
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

Import = Callable[..., Any]


@pytest.fixture
def take_over(api: Api, portal: FalconPlus) -> Import:
    """Imports the portal, or the content that is given; its report."""

    def run(content: Any = None, status: int = 200, **wanted: Any) -> Any:
        body = {"content": content, **wanted}
        return api.send("POST", "portal/import", status, json=body)

    return run


def bound(api: Api) -> dict[str, list[str]]:
    """Plugins by hostgroup."""
    found: dict[str, list[str]] = {}
    for row in api.get("bindings?sort=plugin")["items"]:
        found.setdefault(row["hostgroup"], []).append(row["plugin"])
    return found


def hosts_of(api: Api, group: str) -> list[str]:
    return [row["host"] for row in api.get(f"hostgroups/{group}/members")["items"]]


def test_a_portal_is_taken_over_and_a_second_time_there_is_nothing_to_do(
    api: Api, portal: FalconPlus, take_over: Import
) -> None:
    portal.add("web", ("web1", "web2"), ("sys/ntp", "/net/http/", "net/http"))
    portal.add("db", ("web2",), ("db/60_mysql.py(a,b)",))
    portal.hosts |= {"web1": "192.0.2.1", "web2": "127.0.0.1"}
    planned = take_over(dry_run=True)
    assert api.get("hosts")["items"] == [] and planned["status"] == "planned"
    assert {step["result"] for step in planned["steps"]} == {"planned"}
    done = take_over()
    assert told(done) == told(planned) and done["status"] == "done"
    assert [(h["name"], h["address"], h["agent_kind"]) for h in api.get("hosts")["items"]] == [
        ("web1", "192.0.2.1", "falcon"),
        ("web2", "", "falcon"),
    ]
    assert bound(api) == {"web": ["net/http", "sys/ntp"], "db": ["db/60_mysql.py(a,b)"]}
    assert hosts_of(api, "db") == ["web2"]
    assert take_over()["steps"] == []
    assert api.get("portal/report")["kind"] == "import"
    assert portal.changes() == []


def test_what_is_here_already_stays_as_it_is(
    api: Api, portal: FalconPlus, take_over: Import
) -> None:
    known = {"name": "web1", "address": "198.51.100.7", "labels": {"idc": "bj"}}
    api.send("POST", "hosts", 201, json=known)
    api.send("POST", "hosts", 201, json={"name": "mine"})
    api.send("POST", "hostgroups", 201, json={"name": "web", "rule": "idc=sh"})
    api.send("POST", "hostgroups/web/members", 200, json={"add": ["mine"]})
    body = {"hostgroup": "web", "plugin": "sys/ntp", "config": {"a": 1}}
    api.send("POST", "bindings", 201, json=body)
    portal.add("web", ("web1",), ("sys/ntp",))
    portal.hosts["web1"] = "192.0.2.1"
    assert told(take_over()) == [("add", "member", "web", "web1")]
    host = api.get("hosts/web1")
    assert (host["address"], host["agent_kind"]) == ("198.51.100.7", "executor")
    assert hosts_of(api, "web") == ["mine", "web1"]
    assert api.get("bindings")["items"][0]["config"] == {"a": 1}


def test_names_that_cannot_be_ours_are_left_out_and_nothing_else_is(
    api: Api, portal: FalconPlus, take_over: Import
) -> None:
    for name in (
        "all",
        "pf_x",
        "机器",
        "a b",
        "x" * 101,
        "<b>",
        "{{ 1 }}",
        "e\u202el",
        "n\x00l",
        "",
    ):
        portal.add(name, ("h",), ("sys/ntp",))
    plugins = (
        "../../etc",
        "sys/ntp ",
        "a(b",
        "{{ lookup('pipe', 'id') }}",
        "x\ny",
        ".git/x",
        "\ud800",
    )
    portal.add(
        "good", ("ok", "-oProxyCommand=x", "a/b", "1\n2", "é", "'; DROP TABLE grp; --"), plugins
    )
    portal.add("collides", ("good",), ("sys/disk",))
    report = take_over()
    assert [group["name"] for group in api.get("hostgroups")["items"]] == [
        "all",
        "collides",
        "good",
    ]
    assert [host["name"] for host in api.get("hosts")["items"]] == ["ok"]
    assert bound(api) == {"collides": ["sys/disk"]}
    kinds = [entry["kind"] for entry in report["skipped"]]
    assert (kinds.count("hostgroup"), kinds.count("member"), kinds.count("binding")) == (10, 6, 7)
    assert all(entry["reason"] and entry["name"].isprintable() for entry in report["skipped"])


def test_a_hostgroup_that_has_a_hosts_name_is_left_out(
    api: Api, portal: FalconPlus, take_over: Import
) -> None:
    api.send("POST", "hosts", 201, json={"name": "web"})
    portal.add("web", ("a",), ("sys/ntp",))
    report = take_over()
    assert report["steps"] == [] and "a host has that name" in report["skipped"][0]["reason"]


def test_what_no_release_has_is_bound_and_named(
    api: Api, portal: FalconPlus, take_over: Import, make_source: Callable[..., SourceRepository]
) -> None:
    publish(api, make_source())
    portal.add("web", (), ("sys/ntp", "sys/gone"))
    notes = take_over()["notes"]
    assert "sys/gone of hostgroup web would not run" in notes[0]
    assert "publishing is refused" in notes[1] and len(notes) == 2
    assert bound(api) == {"web": ["sys/gone", "sys/ntp"]}


def test_following_takes_away_what_the_portal_had_and_has_no_more(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    for name in ("a", "b", "mine"):
        api.send("POST", "hosts", 201, json={"name": name})
    number = portal.add("web", ("a", "b", "stranger"), ("sys/ntp", "sys/disk"))
    portal.add("old", ("a",), ("sys/old",))
    report = sync("from-portal")
    assert [(s["name"], s["kind"]) for s in report["skipped"]] == [("stranger", "member")]
    assert "portal import" in report["skipped"][0]["reason"]
    assert hosts_of(api, "web") == ["a", "b"]
    assert sync("from-portal")["steps"] == []
    api.send("POST", "hostgroups/web/members", 200, json={"add": ["mine"]})
    api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "mine/too"})
    portal.members[number] = ["a"]
    portal.plugins = [row for row in portal.plugins if row[2] == "sys/ntp"]
    del portal.groups[2 + 2]
    planned = sync("from-portal", dry_run=True)
    report = sync("from-portal")
    assert (
        told(report)
        == told(planned)
        == [
            ("remove", "binding", "old", "sys/old"),
            ("remove", "binding", "web", "sys/disk"),
            ("remove", "member", "old", "a"),
            ("remove", "member", "web", "b"),
        ]
    )
    assert [(s["kind"], s["hostgroup"], s["name"]) for s in report["skipped"]] == [
        ("binding", "web", "mine/too"),
        ("member", "web", "mine"),
        ("hostgroup", "old", ""),
    ]
    assert told(sync("from-portal", prune=True)) == [
        ("remove", "binding", "web", "mine/too"),
        ("remove", "member", "web", "mine"),
        ("delete", "hostgroup", "old"),
    ]
    assert bound(api) == {"web": ["sys/ntp"]} and hosts_of(api, "web") == ["a"]
    assert sync("from-portal", prune=True)["steps"] == []


def test_what_people_take_away_and_make_again_is_theirs(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.add("other")
    number = portal.add("web", (), ("sys/ntp",))
    sync("from-portal")
    portal.plugins.clear()
    row = api.get("bindings")["items"][0]
    api.send("DELETE", f"bindings/{row['id']}", 204)
    sync("from-portal")
    api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "sys/ntp"})
    assert sync("from-portal")["steps"] == [] and number in portal.groups


@pytest.mark.parametrize("prune", [False, True])
def test_an_empty_portal_does_not_stop_every_plugin(
    api: Api, portal: FalconPlus, sync: Sync, prune: bool
) -> None:
    portal.add("web", (), ("sys/ntp",))
    sync("from-portal")
    portal.groups.clear()
    assert "would stop" in sync("from-portal", 409, prune=prune)["detail"]
    assert bound(api) == {"web": ["sys/ntp"]}


def test_a_configured_plugin_is_none_of_a_portals(api: Api, portal: FalconPlus, sync: Sync) -> None:
    portal.add("web", (), ("sys/ntp",))
    sync("from-portal")
    body = {"hostgroup": "web", "plugin": "httpcheck", "config": {}}
    api.send("POST", "bindings", 201, json=body)
    assert sync("from-portal", prune=True)["steps"] == []


def test_content_can_be_given_without_any_portal(api: Api) -> None:
    content = {
        "hostgroups": [{"name": "web", "hosts": ["web1"], "plugins": ["sys/ntp"]}],
        "addresses": {"web1": "2001:db8::1"},
    }
    report = api.send("POST", "portal/import", 200, json={"content": content})
    assert report["portal"] == "" and len(report["steps"]) == 4
    assert api.get("hosts/web1")["address"] == "2001:db8::1"


def test_what_would_harm_the_agents_of_its_hostgroup_is_left_out(
    api: Api, portal: FalconPlus, take_over: Import
) -> None:
    portal.add("web", ("a",), ("sys/ntp",))
    take_over()
    with api.context.database.write() as session:
        host = session.scalars(select(Host.id)).one()
        session.add(AgentRow(host_id=host, version="5.1.2", listed="", stamp=1))
    portal.add("web2", ("a",), ("sys/60_x.py(a)", "sys/disk"))
    (left,) = take_over()["skipped"]
    assert (left["kind"], left["name"]) == ("binding", "sys/60_x.py(a)")
    assert "would harm agents" in left["reason"]
    assert bound(api) == {"web": ["sys/ntp"], "web2": ["sys/disk"]}


def test_a_portal_that_lost_most_of_what_it_held_is_not_followed(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    for name in ("a", "b", "c"):
        api.send("POST", "hosts", 201, json={"name": name})
    number = portal.add("web", ("a", "b", "c"), ("sys/ntp", "sys/disk", "sys/cpu"))
    sync("from-portal")
    # Restored without grp_host and plugin_dir.
    portal.members[number] = []
    portal.plugins.clear()
    assert "3 of the 3 members" in sync("from-portal", 409)["detail"]
    portal.members[number] = ["a", "b", "c"]
    assert "3 of the 3 bindings" in sync("from-portal", 409)["detail"]
    assert hosts_of(api, "web") == ["a", "b", "c"]
    assert len(sync("from-portal", accept_loss=True)["steps"]) == 3
    assert bound(api) == {}


def test_members_that_are_left_out_once_are_asked_for_again(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    for name in ("a", "b"):
        api.send("POST", "hosts", 201, json={"name": name})
    number = portal.add("web", ("a", "b"))
    sync("from-portal")
    hosts = [{"id": 1, "hostname": "b", "ip": ""}]
    portal.faults.append((f"GET hostgroup/{number}", (200, {"hostgroup": {}, "hosts": hosts})))
    assert sync("from-portal")["steps"] == []
    portal.members[number] = ["b"]
    assert told(sync("from-portal")) == [("remove", "member", "web", "a")]


def test_a_hosts_name_is_one_whatever_its_case(
    api: Api, portal: FalconPlus, sync: Sync, take_over: Import
) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1"})
    portal.add("web", ("WEB1",))
    assert told(sync("from-portal"))[-1] == ("add", "member", "web", "web1")
    assert sync("from-portal", prune=True)["steps"] == [] == take_over()["steps"]


def test_one_hostgroup_that_the_portal_deleted_is_let_go(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    number = portal.add("web", (), ("sys/ntp",))
    portal.add("other")
    sync("from-portal")
    del portal.groups[number]
    assert told(sync("from-portal", hostgroups=["web"])) == [
        ("remove", "binding", "web", "sys/ntp")
    ]


def test_a_directory_may_be_named_like_a_script(
    api: Api,
    portal: FalconPlus,
    take_over: Import,
    make_source: Callable[..., SourceRepository],
) -> None:
    publish(api, make_source(script="sys/60_disk/60_a.py"))
    portal.add("web", ("a",))
    take_over()
    with api.context.database.write() as session:
        host = session.scalars(select(Host.id)).one()
        session.add(AgentRow(host_id=host, version="5.1.2", listed="", stamp=1))
    portal.add("web2", ("a",), ("sys/60_disk",))
    assert take_over()["skipped"] == [] and bound(api) == {"web2": ["sys/60_disk"]}
