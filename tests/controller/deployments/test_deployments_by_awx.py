"""Deployments that AWX plays: the same results as this machine's, and true states whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
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
from tests.controller.deployments.conftest import Fleet, ended, eventually, results, sqlite_only
from tests.controller.deployments.controllers import ControllerProcess
from tests.controller.server import Api

pytestmark = pytest.mark.awx_stand_in  # its hosts are simulated
STEPS = [{"step": "sync", "changed": True, "msg": "got release 1", "seconds": 0.2}]
DIFF = [{"before": "a\n", "after": "b\n", "before_header": "cfg", "after_header": "cfg"}]
PRETEND: dict[str, dict[str, Any]] = {
    "a": {"changed": True, "msg": "brought", "steps": STEPS, "diff": DIFF},
    "b": {},
    "c": {"failed": True, "msg": "sync: no space left", "steps": STEPS},
    "d": {"unreachable": True, "msg": "no route to host"},
    "e": {"warnings": ["the agent is old"]},
}


@pytest.fixture
def lease() -> float:
    """A controller that ends waits for most of it for an AWX that is away."""
    return 3.0


@pytest.fixture
def stage(awx: Awx) -> Stage:
    """An AWX that knows the hosts a to e."""
    return Stage(awx, list(PRETEND))


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


def _really(stage: Stage, project: Path, folder: Path) -> None:
    """Let AWX's jobs run the project that pretends, with the hosts' variables in AWX's inventory."""
    repository = folder / "repository"
    subprocess.run(["cp", "-r", project, repository], check=True)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", repository, *command], check=True)
    source = {"scm_url": f"file://{repository}", "scm_branch": "main"}
    stage.awx.send("PATCH", f"projects/{stage.project}/", 200, json=source)
    stage.update_project()
    for host in stage.awx.get("hosts/?page_size=200")["results"]:
        pretend = {"result": PRETEND[host["name"]]}
        variables = {"ansible_connection": "local", "pretend": pretend}
        given = {"variables": json.dumps(variables)}
        stage.awx.send("PATCH", f"hosts/{host['id']}/", 200, json=given)


@sqlite_only
def test_each_host_gets_what_it_gets_from_this_machine(
    api: Api, fleet: Fleet, stage: Stage, project: Path, tmp_path: Path
) -> None:
    _really(stage, project, tmp_path)
    fleet.publish()
    for name, result in PRETEND.items():
        fleet.host(name, result=result)
    found = []
    for execution in ("awx", "local"):
        api.context.settings.execution = execution  # type: ignore[assignment]  # one of its words
        view = ended(api, api.send("POST", "deployments", 202, json={"all": True})["id"])
        rows = results(api, view["id"]).values()
        told = ("host", "status", "message", "warnings", "steps", "diff", "plan")
        states = {name: fleet.row(name).state for name in PRETEND}
        found.append(([[row[key] for key in told] for row in rows], states, view["hosts"]))
        addresses = view["waves"][0]["jobs"]
        assert len(addresses) == (2 if execution == "awx" else 0)
    assert found[0] == found[1]
    assert found[0][2] == {"changed": 1, "failed": 1, "ok": 2, "unreachable": 1}
    assert [job["status"] for job in stage.jobs] == ["failed", "failed"]


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
    assert sorted(counters) == list(range(1, job["emitted_events"] + 1))


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


@sqlite_only
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
    fleet.hosts(list(PRETEND))
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
