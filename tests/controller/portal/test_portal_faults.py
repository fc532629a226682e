"""A portal that is down, slow, broken or somebody else: it is said clearly, and nothing is half recorded."""

from __future__ import annotations

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.auth.models import Scope
from controller.auth.principal import CONTROLLER
from controller.database import base
from controller.portal import client, runs
from controller.portal.schemas import PortalReport
from controller.settings import Settings
from tests.controller.portal.conftest import Sync, told
from tests.controller.portal.falconplus import TOKEN, FalconPlus
from tests.controller.server import Api


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """SQLite alone: it is the portal that matters here."""
    return f"sqlite:///{shutil.copyfile(migrated_sqlite, tmp_path / 'plugfleet.db')}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits before something is asked again."""
    monkeypatch.setattr(client, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def web(api: Api) -> None:
    api.send("POST", "hosts", 201, json={"name": "a", "agent_kind": "falcon"})
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hostgroups/web/members", 200, json={"add": ["a"]})
    for plugin in ("sys/disk", "sys/ntp"):
        api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": plugin})


def results(report: Any) -> list[str]:
    return [step["result"] for step in report["steps"]]


UNREADABLE: list[tuple[Any, str]] = [
    ("drop", "cannot be reached"),
    ((500, {"error": "Error 2006: MySQL server has gone away"}), "gone away"),
    ((500, b"<html>"), "HTTP 500"),
    ((401, {"error": "session not found"}), "does not take our token"),
    ((400, {"error": "limit is wrong"}), "refused it"),
    ((404, b"404 page not found"), "is no falcon-plus API"),
    ((302, b""), "is no falcon-plus API"),
    ((200, b"<html>login</html>"), "is no falcon-plus API"),
    ((200, b'{"id": 1}'), "that a falcon-plus API does not"),
    ((200, b'[{"id": "1", "grp_name": "web"}]'), "that a falcon-plus API does not"),
    ((200, b'[{"id": true, "grp_name": "web"}]'), "that a falcon-plus API does not"),
    ((200, b"[" * 100_000), "is no falcon-plus API"),
    ((417, {"error": "x\x1b[31m" + "y" * 1000}), "x [31my"),
]


@pytest.mark.usefixtures("web")
def test_a_portal_that_cannot_be_read_changes_nothing(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    for direction in ("to-portal", "from-portal"):
        for answer, said in UNREADABLE:
            portal.faults = [("GET hostgroup", answer)] * 3
            problem = sync(direction, 502)
            assert said in problem["detail"] and len(problem["detail"]) < 500, answer
    assert portal.changes() == []
    assert "no sync" in api.get("portal/report", 404)["detail"]


@pytest.mark.usefixtures("web")
def test_a_portal_that_hangs_is_not_waited_for(
    portal: FalconPlus, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAUSES", ())
    monkeypatch.setattr(client, "_ANSWER", 0.2)
    portal.faults = [("GET hostgroup", "hang")]
    assert "did not answer GET hostgroup" in sync(status=502)["detail"]


@pytest.mark.usefixtures("web")
def test_more_than_two_at_a_time_do_not_wait_for_a_slow_portal(
    portal: FalconPlus, sync: Sync
) -> None:
    with client.Portal(portal.url, "", ""), client.Portal(portal.url, "", ""):
        assert "under way" in sync(status=409, dry_run=True)["detail"]
    assert sync(dry_run=True)["status"] == "planned"


@pytest.mark.usefixtures("web")
def test_what_only_reads_is_asked_again(portal: FalconPlus, sync: Sync) -> None:
    portal.faults = [("GET hostgroup", "drop"), ("GET hostgroup", (502, b"bad gateway"))]
    assert sync()["status"] == "done"


@pytest.mark.usefixtures("web")
def test_nobody_at_the_portals_address(api: Api, portal: FalconPlus, sync: Sync) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api.context.settings.portal_url = f"http://127.0.0.1:{port}"
    assert "cannot be reached" in sync(status=502)["detail"]


def test_no_portal_is_set(api: Api) -> None:
    assert "no portal is set" in api.send("POST", "portal/sync", 409, json={})["detail"]
    assert "no portal is set" in api.send("POST", "portal/import", 409, json={})["detail"]


@pytest.mark.usefixtures("web")
def test_a_refused_step_keeps_no_other_from_being_done(portal: FalconPlus, sync: Sync) -> None:
    refused = (400, {"error": "You don't have permission!"})
    portal.faults = [("POST plugin", refused)]
    report = sync()
    assert report["status"] == "failed" and report["reason"] == ""
    assert results(report) == ["done", "failed", "done", "done"]
    assert "permission" in report["steps"][1]["reason"]
    assert told(sync()) == [("add", "binding", "web", "sys/disk")]
    assert portal.content() == {"web": (["a"], ["sys/disk", "sys/ntp"])}


@pytest.mark.usefixtures("web")
def test_an_older_api_that_could_only_replace_members_is_not_used_for_them(
    portal: FalconPlus, sync: Sync
) -> None:
    portal.faults = [("PATCH .*", (404, b"404 page not found"))]
    report = sync()
    assert results(report) == ["done", "done", "done", "failed"]
    assert "too old" in report["steps"][3]["reason"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://falcon:8080", "http://falcon:8080"),
        (" https://falcon.example.com/portal/api/v1/ ", "https://falcon.example.com/portal"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080"),
        ("falcon:8080", None),
        ("ftp://falcon", None),
        ("http://", None),
        ("http://falcon:99999", None),
        ("http://root:s3cret@falcon:8080", None),
        ("http://falcon:8080/?q=1", None),
    ],
)
def test_the_portals_address(monkeypatch: pytest.MonkeyPatch, given: str, kept: str | None) -> None:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    if kept is None:
        with pytest.raises(ValidationError, match="portal_url"):
            Settings(portal_url=given)
    else:
        assert Settings(portal_url=given).portal_url == kept


@pytest.mark.usefixtures("web")
def test_what_was_refused_is_not_ours_when_somebody_else_makes_it(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.faults = [("POST plugin", (417, {"error": "no"}))]
    sync()
    portal.plugins.append((99, 1, "sys/disk"))
    row = api.get("bindings?plugin=sys/disk")["items"][0]
    api.send("DELETE", f"bindings/{row['id']}", 204)
    assert sync()["steps"] == []
    assert portal.content()["web"][1] == ["sys/disk", "sys/ntp"]


@pytest.mark.usefixtures("web")
def test_a_hostgroup_that_is_not_made_has_nothing_put_into_it(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "zz"})
    portal.faults = [("POST hostgroup", (417, {"error": "Error 1062: Duplicate entry"}))]
    report = sync()
    assert results(report) == ["failed", "not done", "not done", "not done", "done"]
    assert portal.content() == {"zz": ([], [])}


@pytest.mark.usefixtures("web")
def test_a_portal_that_goes_away_half_way_ends_it_and_the_next_goes_on(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    for answer in ("drop", (401, {"error": "session not found"})):
        portal.faults = [("POST plugin", answer)]
        report = sync()
        assert report["status"] == "failed" and report["reason"]
        assert results(report)[-3:] == ["failed", "not done", "not done"], answer
        assert api.get("portal/report") == report
    assert portal.plugins == []
    assert sync()["status"] == "done"
    assert portal.content() == {"web": (["a"], ["sys/disk", "sys/ntp"])}


@pytest.mark.usefixtures("web")
def test_three_faults_one_after_another_end_it(portal: FalconPlus, sync: Sync) -> None:
    portal.faults = [(".*(plugin|host)", (500, {"error": "panic"}))] * 3
    portal.add("web")
    report = sync()
    assert results(report) == ["failed", "failed", "failed"] and "panic" in report["reason"]


@pytest.mark.usefixtures("web")
def test_what_was_done_though_its_answer_was_lost_is_ours(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.faults = [("POST plugin", "lose")]
    assert sync()["status"] == "failed"
    assert portal.content()["web"][1] == ["sys/disk"]
    assert told(sync()) == [("add", "binding", "web", "sys/ntp"), ("add", "member", "web", "a")]
    row = api.get("bindings?plugin=sys/disk")["items"][0]
    api.send("DELETE", f"bindings/{row['id']}", 204)
    assert told(sync()) == [("remove", "binding", "web", "sys/disk")]


@pytest.mark.usefixtures("web")
def test_a_binding_that_is_gone_already_was_taken_away(
    api: Api, portal: FalconPlus, sync: Sync
) -> None:
    portal.add("web", ("a",), ("sys/disk", "sys/ntp", "sys/ntp"))
    portal.faults = [("DELETE plugin/.*", (417, {"error": "record not found"}))]
    assert results(sync()) == ["done"]


@pytest.mark.usefixtures("web")
def test_only_one_sync_changes_something_at_a_time(
    api: Api, portal: FalconPlus, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api.context.database.write() as session:
        now = base.now()
        report = PortalReport(kind="to-portal", portal="x", by="ann", status="running", started=now)
        runs.begin(session, CONTROLLER, report)
    assert "under way" in sync(status=409)["detail"] and portal.changes() == []
    assert api.get("portal/report")["status"] == "running"
    monkeypatch.setattr(runs, "_LONGEST", timedelta(0))
    assert api.get("portal/report")["status"] == "interrupted"
    assert sync()["status"] == "done"


@pytest.mark.usefixtures("web")
def test_two_syncs_at_once_bind_nothing_twice(portal: FalconPlus, sync: Sync) -> None:
    with ThreadPoolExecutor(2) as threads:
        ended = [threads.submit(_tried, sync) for _ in range(2)]
        assert all(future.result() in ("done", 409) for future in ended)
    assert portal.content() == {"web": (["a"], ["sys/disk", "sys/ntp"])}


def _tried(sync: Sync) -> Any:
    try:
        return sync()["status"]
    except AssertionError as error:
        assert ": 409 " in str(error)
        return 409


@pytest.mark.usefixtures("web")
def test_the_portals_time_is_limited(
    portal: FalconPlus, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.Portal.__init__, "__defaults__", (0.0,))
    assert "more time than a sync may have" in sync(status=502)["detail"]


@pytest.mark.usefixtures("web")
def test_an_endless_answer_is_not_read(
    portal: FalconPlus, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_MOST_BYTES", 10_000)
    portal.faults = [("GET hostgroup", (200, b" " * 100_000))]
    assert "more than 10000 bytes" in sync(status=502)["detail"]


@pytest.mark.usefixtures("web")
def test_the_token_is_told_to_nobody(
    api: Api, portal: FalconPlus, sync: Sync, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    api.context.settings.portal_token = "s3cret-sig"
    told = str(sync(status=502))
    api.context.settings.portal_token = TOKEN
    told += str(sync()) + str(api.get("portal/report")) + str(api.get("audit"))
    told += repr(api.context.settings) + caplog.text
    assert "session not found ***" in told
    assert "s3cret-sig" not in told and TOKEN not in told


def test_a_token_limited_to_hostgroups_may_not(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    limited = api.connect(api.token_of(Scope.OPERATOR, ["web"]))
    for method, path in (
        ("POST", "portal/sync"),
        ("POST", "portal/import"),
        ("GET", "portal/report"),
    ):
        body = {"json": {}} if method == "POST" else {}
        assert limited.request(method, path, **body).status_code == 403
