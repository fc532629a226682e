"""`plugfleet export` and `apply`: schedules as YAML in git, beside what they deploy to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from controller.auth.models import Scope
from controller.fleet.models import Host
from controller.schedules.models import Schedule
from tests.controller.cli.conftest import Command
from tests.controller.deployments.conftest import eventually, postgresql_only, sqlite_only
from tests.controller.server import Api

NIGHTLY = "DTSTART;TZID=Europe/London:20300701T020000 RRULE:FREQ=DAILY;INTERVAL=1"
FILE = f"""\
hostgroups:
  web: {{}}
schedules:
  nightly:
    rrule: {NIGHTLY}
    description: every night
    missed: once
    grace: 600
    deploy:
      hostgroups: [web]
      batch_size: 5
  audit:
    rrule: DTSTART:20300101T040000Z
      RRULE:FREQ=DAILY;INTERVAL=1
    deploy: {{check: true}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "fleet.yml"
    found.write_text(FILE)
    return found


def names(api: Api) -> list[str]:
    return [row["name"] for row in api.get("schedules")["items"]]


def apply(api: Api, status: int = 200, **schedules: Any) -> Any:
    return api.send("POST", "configuration/apply", status, json={"schedules": schedules})


def test_schedules_are_planned_applied_exported_and_pruned_like_all_else(
    api: Api, plugfleet: Command, file: Path, tmp_path: Path
) -> None:
    planned = plugfleet("apply", file, "--dry-run", code=1).out
    for line in (
        "+ schedule nightly",
        f'    rrule: "{NIGHTLY}"',
        '    deploy: {"hostgroups": ["web"], "batch_size": 5}',
        "3 to create, 0 to change, 0 to delete",
    ):
        assert line in planned
    assert names(api) == []
    plugfleet("apply", file, "--yes")
    assert names(api) == ["audit", "nightly"]
    shown = api.get("schedules/nightly")
    assert (shown["next"], shown["owner"]) == ("2030-07-01T02:00:00+01:00", "admin")
    assert (shown["grace"], shown["deploy"]["batch_size"]) == (600, 5)
    assert "Nothing to do." in plugfleet("apply", file, "--prune").out
    assert api.client.get("schedules/nightly").json() == shown

    folder = tmp_path / "folder"
    folder.mkdir()
    plugfleet("export", "-o", folder)
    assert (folder / "schedules.yml").read_text().splitlines()[1:] == [
        "schedules:",
        "  audit:",
        "    deploy:",
        "      check: true",
        "    enabled: true",
        "    runs_in: controller",
        "    rrule: DTSTART:20300101T040000Z RRULE:FREQ=DAILY;INTERVAL=1",
        "  nightly:",
        "    deploy:",
        "      hostgroups:",
        "      - web",
        "      batch_size: 5",
        "    description: every night",
        "    enabled: true",
        "    missed: once",
        "    grace: 600",
        "    runs_in: controller",
        f"    rrule: {NIGHTLY}",
    ]
    assert "Nothing to do." in plugfleet("apply", folder, "--prune").out

    plugfleet("schedule", "add", "other", NIGHTLY)
    file.write_text(FILE.replace("    missed: once\n    grace: 600\n", "    enabled: false\n"))
    run = plugfleet("apply", file, "--dry-run", code=1)
    assert "not in the files: schedule other" in run.err
    for line in ("~ schedule nightly", "    enabled: true -> false", '    missed: "once" -> null'):
        assert line in run.out
    plugfleet("apply", file, "--prune", "--yes")
    assert names(api) == ["audit", "nightly"]
    changed = api.get("schedules/nightly")
    assert (changed["enabled"], changed["missed"], changed["next"]) == (False, None, None)
    actions = [entry["action"] for entry in api.get("audit?kind=schedule")["items"]]
    assert sorted(set(actions)) == ["schedule.create", "schedule.delete", "schedule.update"]
    file.write_text("hostgroups: {web: {}}\n")
    assert "Nothing to do." in plugfleet("apply", file, "--prune").out, "no file has the section"


BAD = [
    (f"rrule: {NIGHTLY}", "rrule: every night", 5, "is no rule"),
    (f"rrule: {NIGHTLY}", "rrule: DTSTART:20000101T000000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=1",
     5, "past"),
    (f"    rrule: {NIGHTLY}\n", "", 4, "required"),
    ("grace: 600", "grace: 5", 8, "greater than or equal to 60"),
    ("missed: once", "overlap: skip", 8, "needs missed to be `once`"),
    ("missed: once\n    grace: 600", "runs_in: awx", 7, "needs awx_url"),
    ("missed: once", "owner: admin", 7, "not permitted"),
    ("batch_size: 5", "batch: 5", 11, "not permitted"),
    ("hostgroups: [web]", "hostgroups: [wbe]", 10, "no hostgroup 'wbe'"),
    ("batch_size: 5", "hosts: [web1]", 11, "no host 'web1'"),
    ("  audit:", "  au dit:", 12, "letters, digits"),
]  # fmt: skip


@sqlite_only
def test_what_is_wrong_with_a_schedule_is_named_by_line_and_nothing_is_changed(
    api: Api, plugfleet: Command, file: Path
) -> None:
    for old, new, line, says in BAD:
        assert FILE.count(old) == 1, old
        file.write_text(FILE.replace(old, new))
        run = plugfleet("apply", file, "--yes", code=2)
        assert f"{file}:{line}:" in run.err and says in run.err, (new, run.err)
    assert names(api) == []
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]


def test_who_changes_a_schedule_by_a_document_vouches_for_it_and_who_does_not_does_not(
    api: Api,
) -> None:
    made = api.send("POST", "tokens", 201, json={"name": "maker", "scope": "operator"})
    client = api.connect(made["token"])
    spec = {"rrule": NIGHTLY}
    document = {"schedules": {"nightly": spec}}
    assert client.post("configuration/apply", json=document).status_code == 200
    assert api.get("schedules/nightly")["owner"] == "maker"
    assert apply(api, nightly=spec) == {
        "changes": [], "not_named": [], "notes": [], "applied": True
    }  # fmt: skip
    assert api.get("schedules/nightly")["owner"] == "maker"
    api.send("DELETE", "tokens/maker", 200)
    [note] = apply(api, nightly=spec)["notes"]
    assert "turns of schedule nightly are refused" in note and "'maker'" in note
    [change] = apply(api, nightly=spec | {"overlap": "wait"})["changes"]
    assert [entry["field"] for entry in change["fields"]] == ["overlap"]
    assert api.get("schedules/nightly")["owner"] == "admin"
    viewer = api.connect(api.token_of(Scope.VIEWER))
    assert viewer.post("configuration/apply", json=document).status_code == 403


def test_a_plan_of_schedules_that_is_no_longer_true_is_not_applied(api: Api) -> None:
    apply(api, nightly={"rrule": NIGHTLY})
    body = {"schedules": {"nightly": {"rrule": NIGHTLY, "overlap": "wait"}}}
    shown = api.client.post("configuration/apply", json=body, params={"dry_run": True})
    assert api.get("schedules/nightly")["overlap"] is None
    api.send("PATCH", "schedules/nightly", 200, json={"overlap": "skip"})
    headers = {"If-Match": shown.headers["ETag"]}
    api.send("POST", "configuration/apply", 412, json=body, headers=headers)
    assert api.get("schedules/nightly")["overlap"] == "skip"


@sqlite_only
def test_a_schedule_whose_times_are_past_can_stay_and_be_turned_off(api: Api) -> None:
    past = "DTSTART:20200101T000000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=2"
    apply(api, nightly={"rrule": NIGHTLY})
    with api.context.database.write() as session:
        row = session.query(Schedule).one()
        row.rrule, row.next_at = past, datetime(2020, 1, 1, tzinfo=UTC)
    there = api.get("configuration")["schedules"]
    assert apply(api, **there)["changes"] == []
    there["nightly"] |= {"enabled": False, "rrule": past.replace(" ", "\n")}
    [change] = apply(api, **there)["changes"]
    assert [entry["field"] for entry in change["fields"]] == ["enabled"]
    assert "past" in apply(api, 422, other={"rrule": past})["detail"]


@postgresql_only
def test_it_holds_schedules_before_hosts_as_the_report_of_a_run_does(api: Api) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1"})
    nightly = {"nightly": {"rrule": NIGHTLY}}
    apply(api, **nightly)
    document = {"hostgroups": {"web": {"members": ["web1"]}}, "schedules": nightly}
    database = api.context.database

    def waits() -> bool:
        query = "wait_event_type = 'Lock' AND datname = current_database()"
        with database.read() as session:
            found = session.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {query}"))
        return bool(found)

    with ThreadPoolExecutor(1) as pool, database.write() as report:
        report.execute(select(Schedule.id).with_for_update())
        applied = pool.submit(api.client.post, "configuration/apply", json=document)
        eventually(20, waits)
        report.execute(select(Host.id).with_for_update(nowait=True))
    assert applied.result().status_code == 200
