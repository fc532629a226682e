"""Deployments of the real playbooks by an AWX that was set up by one command; the stand-in's, or a real one's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.app import open_context
from controller.schedules.models import Schedule
from controller.settings import Settings
from tests.awx.fixtures import callback, opened
from tests.controller.deployments.conftest import eventually
from tests.controller.deployments.ready import Ready
from tests.controller.server import serving

pytestmark = pytest.mark.awx_calls
_NIGHTLY = "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"
_NOBODY = {"ansible_connection": "ssh", "ansible_port": 1}
# A login that never comes about.
_SILENT = {
    "ansible_ssh_common_args": "-o ProxyCommand='sleep 20'",
    "ansible_timeout": 60,
}


@pytest.fixture(scope="module")
def ready(
    default_settings: Settings,
    migrated_sqlite: Path,
    project_repository: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ready]:
    """One for all tests here, as a real AWX takes minutes to become ready."""
    folder = tmp_path_factory.mktemp("ready")
    database = folder / "plugfleet.db"
    database.write_bytes(migrated_sqlite.read_bytes())
    own = {"data_dir": folder / "data", "database_url": f"sqlite:///{database}"}
    address, port = callback()
    listen = address if address == "127.0.0.1" else "0.0.0.0"
    with (
        pytest.MonkeyPatch.context() as patch,
        opened() as awx,
        serving(
            open_context(default_settings.model_copy(update=own)), host=listen, port=port
        ) as api,
        # In a job's container there is no folder of the tests', but this one.
        tempfile.TemporaryDirectory(prefix="plugfleet-awx-") as hosts,
    ):
        patch.setenv("PLUGFLEET_CONFIG", os.devnull)
        url = f"http://{address}:{api.url.rpartition(':')[2]}"
        made = Ready(api, awx, url, project_repository, Path(hosts), folder)
        try:
            made.begin()
            yield made
        finally:
            made.end()
    api.context.database.close()


def test_from_a_fresh_awx_to_the_first_scheduled_deployment(ready: Ready) -> None:
    number = ready.awx.fire(ready.schedules["deploy"])
    job = ready.awx.wait(f"jobs/{number}/")
    told = ready.awx.get(f"jobs/{number}/stdout/?format=txt")
    assert job["status"] == "successful", told
    assert ready.node.states() == {"one": "converged", "two": "converged"}
    assert job["artifacts"]["plugfleet_summary"] == [
        "2 hosts: 0 right, 2 changed, 0 failed, 0 unreachable"
    ]
    [reported, *_] = ready.api.get("deployments")["items"]
    assert reported["hosts"] == {"changed": 2}

    if ready.awx.stand_in:  # a container is gone with its job, and nothing in it drifts
        (ready.node.folder / "two/agent/plugin/sys/disk/60_disk.sh").write_text("#!/bin/sh\n")
        # From a playbook that does not lie at the top.
        job = ready.awx.wait(f"jobs/{ready.awx.fire(ready.schedules['audit'])}/")
        assert job["artifacts"]["plugfleet_changed_hosts"] == ["two"]
        assert ready.node.states() == {"one": "converged", "two": "drifted"}


# A real one is made to begin a schedule by another rule, which the controller would set right.
@pytest.mark.awx_stand_in
def test_what_a_schedule_of_the_controllers_deploys_by_awx_is_that_schedules(ready: Ready) -> None:
    deploy = {"hosts": ["one"], "check": True}
    spec = {"name": "nightly", "rrule": _NIGHTLY, "deploy": deploy, "runs_in": "awx"}
    ready.api.send("POST", "schedules", 201, json=spec)

    def in_step() -> bool:
        return bool(ready.api.get("schedules/nightly")["awx"]["state"] == "in step")

    assert eventually(ready.awx.patience, in_step), ready.api.get("schedules/nightly")
    with ready.api.context.database.read() as session:
        number = session.query(Schedule).one().awx_id
    assert number is not None
    ready.awx.wait(f"jobs/{ready.awx.fire(number)}/")
    [reported, *_] = ready.api.get("deployments")["items"]
    assert (reported["by"], reported["check"]) == ("schedule nightly", True)
    assert ready.api.get("schedules/nightly")["deployment"]["id"] == reported["id"]
    ready.api.send("DELETE", "schedules/nightly", 202)
    assert eventually(
        ready.awx.patience,
        lambda: ready.api.client.get("schedules/nightly").status_code == 404,
    )


def test_each_host_gets_from_awx_what_it_gets_from_this_machine(ready: Ready) -> None:
    asked = {"max_lost": 2, "hosts": ["away", "full", "one", "two"]}
    with (
        ready.host("full", ansible_connection="local", plugin_sync_root="/dev/null/full"),
        ready.host("away", **_NOBODY),
    ):
        ready.wipe()
        by_awx = ready.deploy(**asked)
        ready.wipe()
        ready.api.context.settings.execution = "local"
        try:
            here = ready.deploy(**asked)
        finally:
            ready.api.context.settings.execution = "awx"
    assert by_awx["hosts"] == {"changed": 2, "failed": 1, "unreachable": 1}
    assert ready.told(by_awx) == ready.told(here)
    steps = [step["step"] for step in by_awx["results"]["one"]["steps"] if step["changed"]]
    assert steps == ["install", "sync", "configure", "start", "update"]
    jobs = ready.jobs(by_awx)
    # One wave, cut in two.
    told = {(job["limit"], job["status"]) for job in jobs}
    assert told == {("away,one", "failed"), ("full,two", "failed")}
    kept = ready.api.get(f"deployments/{by_awx['id']}/events", params={"limit": 500})["items"]
    for job in jobs:
        path = f"jobs/{job['id']}/job_events/?not__event=runner_on_start&page_size=200"
        there = {event["counter"] for event in ready.awx.get(path)["results"]}
        assert there == {e["counter"] for e in kept if e["data"].get("job") == job["id"]} - {0}


def test_a_check_changes_nothing_and_names_the_host_that_awx_does_not_know_yet(
    ready: Ready,
) -> None:
    ready.wipe()
    with ready.as_of_now(), ready.host("new", ansible_connection="local"):
        asked = {"hosts": ["one", "new"], "batch_size": 1, "max_lost": 1}
        view = ready.deploy(check=True, **asked)
    found = {name: (row["status"], row["message"]) for name, row in view["results"].items()}
    assert found["one"][0] == "changed"
    assert found["one"][1].startswith("would install (the executor is missing")
    assert found["new"][0] == "failed"
    assert "AWX's inventory does not have this host" in found["new"][1]
    jobs = [(job["job_type"], job["limit"]) for job in ready.jobs(view)]
    assert jobs == [("check", "new"), ("check", "one")], "one wave after the other"
    assert not (ready.node.folder / "one").exists()


def test_a_rollback_is_the_controllers_and_its_waves_are_awxs(ready: Ready) -> None:
    ready.node.source.write("sys/disk/60_disk.sh", "#!/bin/sh\n")
    ready.node.source.commit()
    ready.api.send("POST", "releases", 201, json={})
    asked = {"limit": "one", "extra_vars": {"plugin_release": 1}}
    job = ready.launch("rollback", **asked)
    told = ready.awx.get(f"jobs/{job['id']}/stdout/?format=txt")
    assert job["status"] == "successful", told
    assert job["artifacts"]["plugfleet_run"]["release"]["number"] == 3
    assert job["artifacts"]["plugfleet_changed_hosts"] == ["one"]
    [deployment, *_] = ready.api.get("deployments")["items"]
    assert (deployment["release"], deployment["hosts"]) == (3, {"changed": 1})


def test_a_canceled_deployment_cancels_the_job_at_its_visit(ready: Ready) -> None:
    with ready.host("slow", **_SILENT):
        asked = {"all": True, "hosts": ["slow"]}
        number = ready.api.send("POST", "deployments", 202, json=asked)["id"]

        def visits() -> bool:
            events = ready.api.get(f"deployments/{number}/events")["items"]
            return any("visit" in event["data"].get("task", "") for event in events)

        eventually(ready.awx.patience, visits)
        ready.api.send("POST", f"deployments/{number}/cancel", 202)
        view = ready.ended(number)
        assert view["status"] == "canceled"
        assert view["hosts"] == {"interrupted": 1}
        assert [job["status"] for job in ready.jobs(view)] == ["canceled"]
