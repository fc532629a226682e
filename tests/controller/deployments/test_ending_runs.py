"""Runs that are ended in the middle, by whom or what ever: no process goes on, every host's row is true."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from controller.deployments.drive import Drive
from controller.deployments.processes import mark
from controller.deployments.rundir import RunDir
from controller.settings import Settings
from tests.controller.deployments.conftest import (
    Fleet,
    ended,
    eventually,
    results,
    runs_alive,
    sqlite_only,
)
from tests.controller.server import Api


def _start(api: Api, fleet: Fleet) -> tuple[int, str]:
    """A run in which one host is through, one is being visited and one has not been begun."""
    fleet.publish()
    fleet.host("a", result={"changed": True, "msg": "brought"})
    fleet.host("b", seconds=60)
    fleet.host("c", seconds=60)
    api.context.settings.forks = 1
    deployment = api.send("POST", "deployments", 202, json={})["id"]
    eventually(20, lambda: _began(api, deployment, "b"))
    wave = api.get(f"deployments/{deployment}")["waves"][0]["number"]
    assert wave == 1
    known_by = mark(1, api.context.settings.database)
    assert len(runs_alive(known_by)) >= 4, "the run, ansible-playbook, its worker, the visit"
    return deployment, known_by


def _began(api: Api, deployment: int, host: str) -> bool:
    events = api.get(f"deployments/{deployment}/events")["items"]
    return any(e["kind"] == "host.began" and e["host"] == host for e in events)


def _statuses(api: Api, deployment: int) -> dict[str, str]:
    return {name: row["status"] for name, row in results(api, deployment).items()}


def _process(known_by: str, words: str) -> int:
    """The one that was started first: what it forked has its words, and can have a lower id."""
    alive = [psutil.Process(pid) for pid in runs_alive(known_by)]
    named = [process for process in alive if words in " ".join(process.cmdline())]
    parents = {process.pid for process in named}
    (first,) = [process for process in named if process.ppid() not in parents]
    return first.pid


def test_canceling_leaves_no_process_and_says_which_hosts_were_touched(
    api: Api, fleet: Fleet
) -> None:
    deployment, known_by = _start(api, fleet)
    began = time.monotonic()
    assert api.send("POST", f"deployments/{deployment}/cancel", 202)["status"] == "canceling"
    view = ended(api, deployment, 15)
    assert time.monotonic() - began < 10
    assert (view["status"], view["reason"]) == ("canceled", "canceled by admin")
    assert runs_alive(known_by) == []
    assert _statuses(api, deployment) == {"a": "changed", "b": "interrupted", "c": "canceled"}
    assert fleet.row("a").state == "converged"
    assert (fleet.row("b").state, fleet.row("b").reported_plan) == ("failed", "")
    assert fleet.row("c").state == "pending"
    assert "has ended" in api.send("POST", f"deployments/{deployment}/cancel", 409)["detail"]
    assert api.send("POST", f"deployments/{deployment}/retry", 202)["hosts"] == {"waiting": 2}
    api.send("POST", f"deployments/{deployment + 1}/cancel", 202)


@sqlite_only
@pytest.mark.parametrize(
    ("victim", "reason"),
    [
        ("controller.deployments.spawner", "the run's process was killed by signal 9"),
        ("ansible-playbook", "ansible-playbook was killed"),
    ],
)
def test_a_killed_run_is_never_a_success(api: Api, fleet: Fleet, victim: str, reason: str) -> None:
    deployment, known_by = _start(api, fleet)
    os.kill(_process(known_by, victim), signal.SIGKILL)
    view = ended(api, deployment, 20)
    assert view["status"] == "failed"
    assert view["waves"][0]["reason"] == reason and view["waves"][0]["exit_status"] is None
    assert runs_alive(known_by) == []
    assert _statuses(api, deployment) == {"a": "changed", "b": "interrupted", "c": "failed"}
    assert "was not visited" in results(api, deployment)["c"]["message"]
    assert fleet.row("a").state == "converged"


@sqlite_only
def test_a_run_that_takes_too_long_is_ended(api: Api, fleet: Fleet, settings: Settings) -> None:
    settings.run_timeout = 10  # the least that may be configured
    fleet.publish()
    fleet.host("a", seconds=60)
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"], 30)
    assert view["status"] == "failed"
    assert "longer than run_timeout (10 s)" in view["waves"][0]["reason"]
    assert _statuses(api, view["id"]) == {"a": "interrupted"}
    assert runs_alive(mark(1, settings.database)) == []


@sqlite_only
def test_while_a_run_goes_its_secrets_are_seen_by_its_owner_alone(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", seconds=60)
    fleet.seal("a", {"ansible_password": "only-for-its-owner"})
    deployment = api.send("POST", "deployments", 202, json={})["id"]
    eventually(20, lambda: _began(api, deployment, "a"))
    settings = api.context.settings
    known_by = mark(1, settings.database)
    for pid in runs_alive(known_by):
        for name in ("cmdline", "environ"):
            assert b"only-for-its-owner" not in Path(f"/proc/{pid}/{name}").read_bytes()
            assert settings.database.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    folder = RunDir(known_by, settings.data_dir / "runs")
    assert "only-for-its-owner" in folder.inventory.read_text(), "Ansible needs it"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    holding = [
        file
        for file in folder.path.rglob("*")
        if file.is_file() and b"only-for-its-owner" in file.read_bytes()
    ]
    assert holding == [folder.inventory] and stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    api.send("POST", f"deployments/{deployment}/cancel", 202)
    ended(api, deployment)
    assert not folder.path.exists()


@sqlite_only
def test_a_queued_deployment_is_canceled_at_once(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a", seconds=2)
    first = api.send("POST", "deployments", 202, json={})["id"]
    second = api.send("POST", "deployments", 202, json={})["id"]
    view = api.send("POST", f"deployments/{second}/cancel", 202)
    assert (view["status"], view["hosts"]) == ("canceled", {"canceled": 1})
    assert ended(api, first)["status"] == "succeeded"


def test_no_two_deployments_touch_a_host_at_once(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.hosts(["a", "b"], seconds=1)
    fleet.host("c")
    first = api.send("POST", "deployments", 202, json={"hosts": ["a", "b"]})["id"]
    refused = {"hosts": ["b", "c"], "conflict": "refuse"}
    problem = api.send("POST", "deployments", 409, json=refused)
    assert f"deployment {first} holds hosts" in problem["detail"]
    waiting = api.send("POST", "deployments", 202, json={"hosts": ["b", "c"]})
    assert waiting["reason"] == f"waits for hosts that deployment {first} holds"
    # A host goes to those that want it in the order in which they came.
    behind = api.send("POST", "deployments", 202, json={"hosts": ["c"], "all": True})
    assert behind["reason"] == f"waits for hosts that deployment {waiting['id']} holds"
    look = api.send("POST", "deployments", 202, json={"hosts": ["c"], "check": True})
    assert look["reason"] == ""
    ids = [first, waiting["id"], behind["id"], look["id"]]
    views = {number: ended(api, number) for number in ids}
    assert {view["status"] for view in views.values()} == {"succeeded"}
    assert views[first]["ended"] <= views[waiting["id"]]["started"]
    assert views[waiting["id"]]["ended"] <= views[behind["id"]]["started"]
    assert views[look["id"]]["started"] < views[first]["ended"]


@sqlite_only
def test_many_that_wait_for_a_host_do_not_keep_others_from_their_turn(
    api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.deployments.flow._LOOKED_AT", 2)
    fleet.publish()
    fleet.host("busy", seconds=60)
    fleet.host("free")
    first = api.send("POST", "deployments", 202, json={"hosts": ["busy"]})["id"]
    waiting = [
        api.send("POST", "deployments", 202, json={"hosts": ["busy"], "all": True})["id"]
        for _ in range(5)
    ]
    behind = api.send("POST", "deployments", 202, json={"hosts": ["free"]})["id"]
    assert ended(api, behind)["status"] == "succeeded"
    assert api.get(f"deployments/{first}")["status"] == "running"
    for deployment in [*waiting, first]:
        api.send("POST", f"deployments/{deployment}/cancel", 202)
    ended(api, first)


def test_a_fault_of_the_controller_ends_the_deployment_too(
    api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Drive, "_run", breaks)
    fleet.publish()
    fleet.host("a")
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    assert view["status"] == "interrupted" and "the controller failed" in view["reason"]
    assert view["hosts"] == {"interrupted": 1}
