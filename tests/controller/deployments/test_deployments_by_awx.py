"""Deployments that AWX plays, and what dies meanwhile: the states are true."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from controller.auth import service as auth
from controller.deployments.models import HostLock
from controller.settings import Settings
from controller.web.deps import Context
from tests.awx.fixtures import Awx
from tests.awx.simulated import Play as Simulated
from tests.awx.stage import Stage
from tests.controller.deployments.conftest import Fleet, ended, eventually, sqlite_only
from tests.controller.deployments.controllers import ControllerProcess
from tests.controller.server import Api

pytestmark = pytest.mark.awx_stand_in  # its hosts are simulated
HOSTS = list("abcde")


@pytest.fixture
def stage(awx: Awx) -> Stage:
    """An AWX that knows the hosts a to e."""
    return Stage(awx, HOSTS)


@pytest.fixture
def settings(settings: Settings, stage: Stage) -> Settings:
    return settings.model_copy(
        update={
            "execution": "awx",
            "awx_url": stage.awx.url,
            "awx_token": stage.awx.token,
            "awx_job_template": stage.name,
            "awx_slice_size": 3,
        }
    )


def test_what_awx_tells_is_streamed_and_its_absence_is_the_deployments_reason(
    api: Api, fleet: Fleet, stage: Stage
) -> None:
    fleet.publish()
    fleet.hosts(["a", "b"])
    stage.stand_in.down()
    deployment = api.send("POST", "deployments", 202, json={})["id"]

    def reason() -> str:
        return str(api.get(f"deployments/{deployment}")["reason"])

    eventually(20, lambda: "waits for AWX since" in reason())
    stage.stand_in.up()
    view = ended(api, deployment)
    assert (view["status"], view["reason"], view["hosts"]) == ("succeeded", "", {"changed": 2})
    events = api.get(f"deployments/{deployment}/events", params={"limit": 500})["items"]
    kinds = [event["kind"] for event in events]
    assert {"wave.waiting", "wave.resumed", "wave.job", "host.ended"} <= set(kinds)
    job = stage.jobs[0]
    counters = [e["counter"] for e in events if e["data"].get("job") == job["id"] and e["counter"]]
    assert sorted(counters) == list(range(1, stage.emitted(job["id"]) + 1))


@pytest.fixture
def controllers(context: Context, tmp_path: Path) -> Iterator[list[ControllerProcess]]:
    """Two controllers one after the other: the first runs, the second is started by `_next`."""
    with context.database.write() as session:
        token = auth.first_token(session)
    assert token
    started = [ControllerProcess(context.settings, token, tmp_path / "one")]
    yield started
    for controller in started:
        controller.end()


def _next(controllers: list[ControllerProcess], context: Context, folder: Path) -> Any:
    token = controllers[0].client.headers["Authorization"].removeprefix("Bearer ")
    controllers.append(ControllerProcess(context.settings, token, folder / "two"))
    return controllers[1]


# A controller that ends waits for most of its lease for an AWX that is away.
@sqlite_only
@pytest.mark.parametrize("lease", [3.0])
@pytest.mark.parametrize("how", ["killed", "stopped while AWX is away"])
def test_the_next_controller_ends_what_awx_still_does_and_reads_what_it_did(
    controllers: list[ControllerProcess],
    context: Context,
    fleet: Fleet,
    stage: Stage,
    tmp_path: Path,
    how: str,
) -> None:
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=0 if "b" in hosts else 20)
    fleet.publish()
    fleet.hosts(HOSTS)
    first = controllers[0]
    deployment = first.post("deployments")["id"]
    eventually(20, lambda: first.statuses(deployment)["b"] == "changed")
    eventually(20, lambda: [job["status"] for job in stage.jobs] == ["running", "successful"])
    if how == "killed":
        first.process.kill()
        os.kill(fleet.run_pid(), signal.SIGKILL)
    else:
        stage.stand_in.down()
        first.process.terminate()
    first.process.wait(30)
    if how != "killed":
        stage.stand_in.up()
    after = _next(controllers, context, tmp_path)
    view = after.ended(deployment, 30)
    assert view["status"] == "interrupted"
    assert {job["status"] for job in stage.jobs} <= {"canceled", "successful"}
    statuses = after.statuses(deployment)
    assert statuses["b"] == statuses["d"] == "changed"
    assert set(statuses.values()) <= {"changed", "interrupted", "canceled"}
    events = after.get(f"deployments/{deployment}/events")["items"]
    told = [(e["data"]["job"], e["counter"]) for e in events if e["counter"]]
    assert len(told) == len(set(told)), "no event is kept twice"
    with fleet.database.read() as session:
        assert session.scalar(select(func.count()).select_from(HostLock)) == 0


@sqlite_only
def test_a_run_that_dies_is_followed_by_one_that_settles_its_jobs(
    api: Api, fleet: Fleet, stage: Stage
) -> None:
    stage.stand_in.awx.jobs.play = lambda job, hosts: Simulated(seconds=20)
    fleet.publish()
    fleet.hosts(["a", "b"])
    deployment = api.send("POST", "deployments", 202, json={"batch_size": 1})["id"]
    eventually(20, lambda: [job["status"] for job in stage.jobs] == ["running"])
    eventually(20, lambda: fleet.run_pid())
    os.kill(fleet.run_pid(), signal.SIGKILL)
    view = ended(api, deployment)
    assert view["status"] == "failed"
    assert "killed by signal 9" in view["waves"][0]["reason"]
    assert [job["status"] for job in stage.jobs] == ["canceled"], "and no later wave begins"
