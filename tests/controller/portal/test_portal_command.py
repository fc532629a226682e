"""`plugfleet portal`: the plan is shown first, and what came of it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controller.cli.conftest import Command, command, plugfleet
from tests.controller.portal.falconplus import FalconPlus
from tests.controller.server import Api

__all__ = ["command", "plugfleet"]  # fixtures

DUMP = """\
INSERT INTO grp VALUES (1,'web','','',1),(2,'a b','','',1);
INSERT INTO grp_host VALUES (1,1),(1,2);
INSERT INTO host VALUES (1,'web1','192.0.2.1','','',0,0,''),(2,'\\n','','','',0,0,'');
INSERT INTO plugin_dir VALUES (1,1,'sys/ntp','','');
"""


def test_a_sync_shows_its_plan_and_needs_a_yes(
    api: Api, portal: FalconPlus, plugfleet: Command
) -> None:
    plugfleet("group", "add", "web")
    plugfleet("bind", "add", "web", "sys/ntp")
    planned = plugfleet("portal", "sync", "--dry-run", code=1)
    assert "+ hostgroup web" in planned.out and "+ binding web: sys/ntp" in planned.out
    assert "2 to do." in planned.out
    assert "--yes" in plugfleet("portal", "sync", code=2).err
    assert portal.changes() == []
    plugfleet("portal", "report", code=2)
    assert "Done: 2 done, 0 failed, 0 not done." in plugfleet("portal", "sync", "--yes").out
    assert plugfleet("portal", "sync").out == "Nothing to do.\n"
    assert plugfleet("portal", "sync", "--dry-run", "--json").json()["steps"] == []
    shown = plugfleet("portal", "report")
    assert "+ hostgroup web" in shown.out and "to-portal" in shown.out


def test_what_failed_is_shown_and_is_exit_code_1(
    api: Api, portal: FalconPlus, plugfleet: Command
) -> None:
    plugfleet("group", "add", "web")
    portal.faults = [("POST hostgroup", (417, {"error": "Error 1062"}))]
    failed = plugfleet("portal", "sync", "--yes", code=1)
    assert "[failed]" in failed.out and "Error 1062" in failed.out
    assert "[failed]" in plugfleet("portal", "report", code=1).out


def test_following_the_portal_by_hostgroup(
    api: Api, portal: FalconPlus, plugfleet: Command
) -> None:
    portal.add("web", (), ("sys/ntp",))
    portal.add("db")
    plugfleet("portal", "sync", "--direction", "from-portal", "-g", "web", "--yes")
    assert [group["name"] for group in api.get("hostgroups")["items"]] == ["all", "web"]


@pytest.mark.parametrize("given", ["file", "-"])
def test_a_dump_is_imported_without_any_portal(
    api: Api, plugfleet: Command, tmp_path: Path, given: str
) -> None:
    file = tmp_path / "portal.sql"
    file.write_text(DUMP)
    words = ("portal", "import", "--dump", file if given == "file" else "-")
    text = DUMP if given == "-" else ""
    planned = plugfleet(*words, "--dry-run", code=1, given=text)
    assert "+ host: web1" in planned.out
    assert "left out: hostgroup 'a b'" in planned.err and "left out: member web" in planned.err
    plugfleet(*words, "--yes", given=text)
    assert api.get("hosts/web1")["address"] == "192.0.2.1"
    assert api.get("bindings")["items"][0]["plugin"] == "sys/ntp"
    assert "Nothing to do." in plugfleet(*words, given=text).out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"INSERT INTO grp VALUES (1,'we", "cut off"),
        (b"\x00\x01", "no text"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_dump_imports_nothing(
    plugfleet: Command, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "portal.sql"
    if content is not None:
        file.write_bytes(content)
    assert said in plugfleet("portal", "import", "--dump", file, code=2).err


def test_a_portal_that_is_down_is_exit_code_3(
    api: Api, portal: FalconPlus, plugfleet: Command
) -> None:
    portal.faults = [("GET hostgroup", (401, {"error": "session not found"}))]
    assert "portal_token" in plugfleet("portal", "sync", "--dry-run", code=3).err
