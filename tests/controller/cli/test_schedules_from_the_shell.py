"""`plugfleet schedule`: making, showing, changing, running and removing schedules."""

from __future__ import annotations

import pytest

from controller.catalog.models import ReleaseRow
from controller.schedules.models import Schedule
from tests.controller.cli.conftest import Command
from tests.controller.server import Api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
RULE = "DTSTART;TZID=Europe/London:20300701T020000 RRULE:FREQ=DAILY;INTERVAL=1"


@pytest.fixture
def groups(api: Api) -> Api:
    """A controller with the empty hostgroups web and db, and a release."""
    for name in ("web", "db"):
        api.send("POST", "hostgroups", 201, json={"name": name})
    with api.context.database.write() as session:
        session.add(ReleaseRow(number=1, commit="1" * 40, tree="0" * 40))
    return api


def test_a_schedule_from_its_making_to_its_end(groups: Api, plugfleet: Command) -> None:
    said = plugfleet("schedule", "add", "nightly", RULE, "-g", "web", "--batch", 5, "--check").out
    assert said == "Added schedule nightly. Its next turn: 2030-07-01T02:00:00+01:00.\n"
    assert "nightly" in plugfleet("schedule", "list").out
    shown = plugfleet("schedule", "show", "nightly").out
    assert "hostgroups=web, check=yes, batch_size=5" in shown
    assert "2030-07-02T02:00:00+01:00" in shown and "overlap" not in shown
    shown = plugfleet("schedule", "show", "nightly", "--json").json()
    assert shown["deploy"]["hostgroups"] == ["web"]
    assert (shown["deploy"]["batch_size"], shown["deploy"]["check"]) == (5, True)
    plugfleet("schedule", "edit", "nightly", "--no-check", "--missed", "once", "--grace", 600)
    plugfleet("schedule", "edit", "nightly", "--group", "db", "--max-lost", 2, "--overlap", "wait")
    shown = plugfleet("schedule", "show", "nightly", "--json").json()
    told = (shown["deploy"]["hostgroups"], shown["deploy"]["check"], shown["deploy"]["max_lost"])
    assert told == (["db"], False, 2)
    assert shown["deploy"]["batch_size"] == 5, "what was not named stays"
    assert (shown["missed"], shown["grace"], shown["overlap"]) == ("once", 600, "wait")
    plugfleet("schedule", "edit", "nightly", "--missed", "default", "--disable")
    shown = plugfleet("schedule", "show", "nightly", "--json").json()
    assert (shown["missed"], shown["grace"], shown["enabled"]) == (None, None, False)
    assert "controller, disabled" in plugfleet("schedule", "list").out
    assert "Deployment 1 succeeded" in plugfleet("schedule", "run", "nightly").out
    listed = plugfleet("schedule", "list").out
    assert "succeeded" in listed and "there are no such hosts" in listed
    assert plugfleet("schedule", "remove", "nightly").out == "Removed schedule nightly.\n"
    assert "no schedule" in plugfleet("schedule", "show", "nightly", code=2).err


def test_a_rule_is_tried(groups: Api, plugfleet: Command) -> None:
    said = plugfleet("schedule", "preview", RULE, "--count", 2).out
    assert said == "2030-07-01T02:00:00+01:00\n2030-07-02T02:00:00+01:00\n"
    said = plugfleet("schedule", "preview", "every night", code=2).err
    assert "'every night' is no rule; write it as 'DTSTART;TZID=Europe/London:2030" in said


def test_a_schedule_that_is_over_says_so(groups: Api, plugfleet: Command) -> None:
    plugfleet("schedule", "add", "nightly", RULE)
    with groups.context.database.write() as session:
        past = {"rrule": RULE.replace("2030", "2020") + ";COUNT=3", "next_at": None}
        session.query(Schedule).update(past)
    listed = plugfleet("schedule", "list").out
    assert "over" in listed and "all of its times are past" in listed
    assert "all of its times are past" in plugfleet("schedule", "show", "nightly").out
    said = plugfleet("schedule", "edit", "nightly", "--description", "it was").out
    assert said == "Changed schedule nightly. Its next turn: none; all of its times are past.\n"


def test_what_is_wrong_is_said(groups: Api, plugfleet: Command) -> None:
    said = plugfleet("schedule", "add", "nightly", RULE, "-g", "nowhere", code=2).err
    assert "there is no hostgroup 'nowhere'" in said
    assert "names no host" in plugfleet("schedule", "add", "n", RULE, "--hosts", ",", code=2).err
    said = plugfleet("schedule", "add", "nightly", RULE, "--in", "awx", code=2).err
    assert "this controller knows no AWX" in said and "awx_url" in said
    plugfleet("schedule", "add", "nightly", RULE)
    assert "nothing to change" in plugfleet("schedule", "edit", "nightly", code=2).err
