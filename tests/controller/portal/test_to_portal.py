"""The portal follows us: incrementally, and taking away only what was ours."""

from __future__ import annotations

import pytest

from tests.controller.portal.conftest import Sync, told
from tests.controller.portal.falconplus import FalconPlus
from tests.controller.server import Api


@pytest.fixture
def fleet(api: Api) -> None:
    """Hostgroup web: a and b with Falcon agents, c with our executor; two plugins."""
    for name in ("a", "b"):
        api.send("POST", "hosts", 201, json={"name": name, "agent_kind": "falcon"})
    api.send("POST", "hosts", 201, json={"name": "c"})
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hostgroups/web/members", 200, json={"add": ["a", "b", "c"]})
    bind(api, "sys/ntp")
    bind(api, "sys/disk/60_io.py(sda,sdb)")


def bind(api: Api, plugin: str, **fields: object) -> int:
    """Bind a plugin to web; its number."""
    body = {"hostgroup": "web", "plugin": plugin, **fields}
    number: int = api.send("POST", "bindings", 201, json=body)["id"]
    return number


WEB = (["a", "b"], ["sys/disk/60_io.py(sda,sdb)", "sys/ntp"])


@pytest.mark.usefixtures("fleet")
def test_the_plan_is_carried_out_and_a_second_sync_changes_nothing(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    planned = sync(dry_run=True)
    assert portal.changes() == [] and planned["id"] is None and planned["status"] == "planned"
    assert told(planned) == [
        ("create", "hostgroup", "web"),
        ("add", "binding", "web", "sys/disk/60_io.py(sda,sdb)"),
        ("add", "binding", "web", "sys/ntp"),
        ("add", "member", "web", "a", "b"),
    ]
    assert planned["notes"][0].endswith("put into the portal: 1")
    done = sync()
    assert done["status"] == "done" and told(done) == told(planned)
    assert {step["result"] for step in done["steps"]} == {"done"}
    assert portal.content() == {"web": WEB}
    portal.changes()
    assert sync()["steps"] == [] and portal.changes() == []
    assert api.get("portal/report")["steps"] == []
    entries = [e for e in api.get("audit")["items"] if e["action"] == "portal.sync"]
    assert [(entry["name"], entry["after"]["members"]) for entry in entries] == [
        ("web", ["a", "b"])
    ]


@pytest.mark.usefixtures("fleet")
def test_what_others_made_there_stays_unless_pruned(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.add("web", ("A", "old"), ("sys/ntp", "foreign/one", "../../etc"))
    portal.add("theirs", ("x",), ("their/plugin",))
    report = sync()
    assert told(report) == [
        ("add", "binding", "web", "sys/disk/60_io.py(sda,sdb)"),
        ("add", "member", "web", "b"),
    ]
    left = {(entry["kind"], entry["name"]) for entry in report["skipped"]}
    assert left == {("member", "'old'"), ("binding", "'foreign/one'"), ("binding", "'../../etc'")}
    assert report["notes"][0].endswith("left alone: 1")
    assert "old" in portal.content()["web"][0]
    assert told(sync(prune=True)) == [
        ("remove", "binding", "web", "foreign/one"),
        ("remove", "binding", "web", "../../etc"),
        ("remove", "member", "web", "old"),
    ]
    assert portal.content() == {"web": (["A", "b"], WEB[1]), "theirs": (["x"], ["their/plugin"])}
    assert all(not asked.startswith("POST hostgroup/host") for asked in portal.asked)


@pytest.mark.usefixtures("fleet")
def test_what_a_sync_made_goes_when_it_is_here_no_more(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    number = bind(api, "net/http")
    sync()
    portal.members[1].append("theirs")
    portal.plugins.append((99, 1, "their/plugin"))
    api.send("DELETE", f"bindings/{number}", 204)
    api.send("POST", "hostgroups/web/members", 200, json={"remove": ["b"]})
    assert told(sync()) == [
        ("remove", "binding", "web", "net/http"),
        ("remove", "member", "web", "b"),
    ]
    api.send("DELETE", "hostgroups/web?force=true", 204)
    report = sync()
    assert portal.content() == {"web": (["theirs"], ["their/plugin"])}
    assert "here no more" in report["skipped"][-1]["reason"]
    assert told(sync(prune=True))[-1] == ("delete", "hostgroup", "web")
    assert portal.content() == {}
    assert sync(prune=True)["steps"] == []


@pytest.mark.usefixtures("fleet")
def test_a_hostgroup_that_others_made_outlives_ours_even_when_pruned(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.add("web", ("theirs",), ("their/plugin",))
    sync()
    api.send("DELETE", "hostgroups/web?force=true", 204)
    sync(prune=True)
    assert portal.content() == {"web": (["theirs"], ["their/plugin"])}


@pytest.mark.usefixtures("fleet")
def test_what_is_bound_more_than_once_is_bound_once(portal: FalconPlus, sync: Sync) -> None:
    portal.add(
        "web", ("a", "b"), ("/sys/ntp/", "sys/ntp", "sys/ntp", "odd/..", "odd/..", "sys//disk")
    )
    assert ("remove", "duplicate", "web", "sys/ntp") in told(sync())
    assert portal.content()["web"][1] == [
        "odd/..",
        "sys//disk",
        "sys/disk/60_io.py(sda,sdb)",
        "sys/ntp",
    ]
    portal.changes()
    assert sync()["steps"] == [] and portal.changes() == []


@pytest.mark.usefixtures("fleet")
def test_what_a_portal_cannot_hold_is_named(api: Api, portal: FalconPlus, sync: Sync) -> None:
    bind(api, "httpcheck", config={"items": []})
    body = {"hostgroup": "all", "plugin": "sys/disk"}
    api.send("POST", "bindings", 201, json=body)
    api.send("POST", "hostgroups", 201, json={"name": "Db"})
    portal.add("DB")
    report = sync()
    assert {(entry["kind"], entry["hostgroup"]) for entry in report["skipped"]} == {
        ("binding", "web"),
        ("hostgroup", "Db"),
    }
    assert any("'all'" in note for note in report["notes"])
    assert portal.content()["web"] == WEB


@pytest.mark.usefixtures("fleet")
def test_only_named_hostgroups_are_touched(api: Api, portal: FalconPlus, sync: Sync) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "db"})
    sync(hostgroups=["db"])
    assert list(portal.content()) == ["db"]
    api.send("DELETE", "hostgroups/db", 204)
    sync(hostgroups=["web"], prune=True)
    assert list(portal.content()) == ["db", "web"]


def test_a_large_portal_is_read_page_by_page(api: Api, portal: FalconPlus, sync: Sync) -> None:
    for number in range(1203):
        portal.add(f"g{number}")
    assert sync(dry_run=True)["notes"][0].endswith("left alone: 1203")
    assert portal.asked == ["GET hostgroup"] * 3


@pytest.mark.usefixtures("fleet")
def test_exactly_the_plan_that_was_agreed_to_is_carried_out(api: Api, portal: FalconPlus) -> None:
    planned = api.client.post("portal/sync", json={"dry_run": True})
    agreed = {"If-Match": planned.headers["ETag"]}
    portal.add("web", ("a",))
    refused = api.send("POST", "portal/sync", 412, json={}, headers=agreed)
    assert "changed since the plan" in refused["detail"]
    assert portal.changes() == []
    portal.groups.clear()
    assert api.send("POST", "portal/sync", 200, json={}, headers=agreed)["status"] == "done"


@pytest.mark.usefixtures("fleet")
def test_a_sync_that_is_sent_again_is_carried_out_once(api: Api, portal: FalconPlus) -> None:
    once = {"Idempotency-Key": "k"}
    first = api.send("POST", "portal/sync", 200, json={}, headers=once)
    portal.changes()
    portal.groups.clear()
    assert api.send("POST", "portal/sync", 200, json={}, headers=once) == first
    assert portal.asked == []
