"""The machine's clock is set hours forward and back: nothing ends, nothing expires, all stays in order."""

from __future__ import annotations

import datetime as module
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from controller.database import base
from controller.deployments.models import HostLock
from tests.controller.deployments.conftest import Fleet, ended, eventually, postgresql_only
from tests.controller.server import Api

SetClock = Callable[[float], None]


pytestmark = postgresql_only


@pytest.fixture
def lease() -> float:
    return 8.0


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets this process's clock some hours off the true time."""
    off = [0.0]
    true_time = time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return module.datetime.now(tz) + timedelta(hours=off[0])

    def set_to(hours: float) -> None:
        off[0] = hours

    monkeypatch.setattr(base, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: true_time() + off[0] * 3600)
    return set_to


def test_a_clock_that_jumps_ends_no_run_and_no_lease(
    api: Api, fleet: Fleet, set_clock: SetClock
) -> None:
    fleet.publish()
    fleet.host("a", seconds=8)
    fleet.host("b")
    first = api.send("POST", "deployments", 202, json={"hosts": ["a"]})["id"]
    eventually(20, lambda: api.get(f"deployments/{first}")["status"] == "running")
    driver = fleet.claimed_by(first)
    ids = [first]
    for hours in (26, -26):
        set_clock(hours)
        ids.append(api.send("POST", "deployments", 202, json={"hosts": ["b"], "all": True})["id"])
        time.sleep(api.context.settings.lease / 4)
        assert api.get(f"deployments/{first}")["status"] == "running"
        with fleet.database.read() as session:
            assert session.query(HostLock).filter_by(deployment_id=first).count() == 1
    views = [ended(api, deployment) for deployment in ids]
    assert {view["status"] for view in views} == {"succeeded"}
    assert {fleet.claimed_by(deployment) for deployment in ids} == {driver}, "its lease went on"
    told = api.get(f"deployments/{first}/events")["items"]
    kinds = [event["kind"] for event in told]
    assert [event["id"] for event in told] == sorted(event["id"] for event in told)
    assert kinds[0] == "deployment.queued" and kinds[-1] == "deployment.ended"
    assert kinds.index("wave.started") < kinds.index("host.ended") < kinds.index("wave.ended")
    assert _pages(api) == ids[::-1]


def _pages(api: Api) -> list[int]:
    found: list[int] = []
    cursor = ""
    while True:
        page = api.get("deployments", params={"limit": 1, "cursor": cursor})
        found += [item["id"] for item in page["items"]]
        if not (cursor := page["next"] or ""):
            return found
