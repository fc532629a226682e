"""`plugfleet deploy`: followed live, what failed and why, canceled, tried again."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.catalog.models import ReleaseRow
from controller.cli.deploy import said_once
from controller.database import counters
from controller.settings import Settings
from tests.controller.cli.conftest import Command
from tests.controller.deployments.project import make_project
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

ROOT = Path(__file__).resolve().parents[3]
FAILS = {
    "failed": True,
    "msg": "sync: no space left",
    "steps": [{"step": "sync", "failed": True, "msg": "no space left"}],
}
AWAY = {"unreachable": True, "msg": "no route to host"}
DIFF = [{"before": "a\n", "after": "b\n", "before_header": "cfg.json", "after_header": "cfg.json"}]
# A shell starts what runs in its background with SIGINT ignored, and that is inherited.
INTERRUPTIBLE = ("env", "--default-signal=INT")
Host = Callable[..., None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "project")


@pytest.fixture
def settings(settings: Settings, project: Path) -> Settings:
    """A controller whose hosts pretend."""
    return settings.model_copy(update={"project_dir": project, "concurrent_runs": 2})


@pytest.fixture
def host(api: Api, plugfleet: Command) -> Host:
    """Adds hosts that pretend; there is a release for them."""
    with api.context.database.write() as session:
        session.add(ReleaseRow(number=1, commit=f"{1:040x}", tree="0" * 40))
        counters.advance(session, counters.PLANS)

    def add(*names: str, **pretend: Any) -> None:
        for name in names:
            plugfleet(
                "host", "add", name,
                "--var", "ansible_connection=local", "--var", f"pretend={json.dumps(pretend)}",
            )  # fmt: skip

    return add


def test_a_deployment_is_followed_to_its_end(plugfleet: Command, host: Host) -> None:
    host("a", "b", result={"changed": True, "msg": "brought"})
    run = plugfleet("deploy", "--batch", "1")
    assert "Deployment 1 succeeded" in run.out and "2 changed" in run.out
    assert "Wave 1 of 2: succeeded" in run.err and "Wave 2 of 2: succeeded" in run.err
    again = plugfleet("deploy", "--json").json()
    assert (again["status"], again["hosts"]) == ("succeeded", {"current": 2})
    assert "succeeded" in plugfleet("deploy", "list").out
    assert plugfleet("status", "--json").json()["hosts"]["converged"] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_failed_is_shown_with_why_and_tried_again(plugfleet: Command, host: Host) -> None:
    host("a", result=FAILS)
    host("b", result=AWAY)
    host("c")
    run = plugfleet("deploy", code=1)
    assert "no space left" in run.out and "sync" in run.out
    assert "unreachable" in run.out and "no route to host" in run.out
    shown = plugfleet("deploy", "show", "1", "--json").json()
    assert {row["host"]: row["status"] for row in shown["results"]} == {
        "a": "failed",
        "b": "unreachable",
    }
    assert "no space left" in plugfleet("deploy", "show", "1").out
    assert "ok" in plugfleet("deploy", "show", "1", "--status", "ok").out
    failures = plugfleet("status", "--json").json()["failures"]
    assert {row["name"] for row in failures} == {"a", "b"}
    again = plugfleet("deploy", "retry", "1", "--json", code=1).json()
    assert (again["retry_of"], again["hosts"]) == (1, {"failed": 1, "unreachable": 1})
    events = plugfleet("deploy", "events", "1", "--json").json()
    assert [event["kind"] for event in events][-1] == "deployment.ended"
    assert len(plugfleet("deploy", "events", "1", "--limit", "2", "--json").json()) == 2


def test_what_ends_a_whole_run_is_said_once() -> None:
    told = [("a", "x" * 99), ("b", "x" * 99), ("c", "y" * 99), ("d", "brief"), ("e", "brief")]
    shown = said_once({"host": host, "message": message} for host, message in told)
    assert [row["message"] for row in shown] == ["x" * 99, "as a", "y" * 99, "brief", "brief"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_the_hosts_that_are_named_are_visited(plugfleet: Command, host: Host) -> None:
    host("a", "b", "c")
    plugfleet("group", "add", "web")
    plugfleet("group", "add-hosts", "web", "c")
    ended = plugfleet("deploy", "--hosts", "a, b", "--group", "web", "--all", "--json").json()
    assert ended["request"]["hosts"] == ["a", "b"] and sum(ended["hosts"].values()) == 3
    refused = plugfleet("deploy", "--hosts", "a,x,y", code=2)
    assert "x" in refused.err and "y" in refused.err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_shows_diffs_and_changes_nothing(plugfleet: Command, host: Host) -> None:
    host("a", "b", result={"changed": True, "msg": "would sync", "diff": DIFF})
    run = plugfleet("deploy", "--check")
    assert "a, b:" in run.out and "-a\n" in run.out and "+b\n" in run.out
    assert plugfleet("status", "--json").json()["hosts"]["pending"] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_deployment_is_canceled(plugfleet: Command, host: Host) -> None:
    host("a", seconds=60)
    started = plugfleet("deploy", "--no-wait")
    assert "plugfleet deploy follow 1" in started.out
    assert plugfleet("status", "--json").json()["running"][0]["id"] == 1
    ended = plugfleet("deploy", "cancel", "1", "--wait", "--json").json()
    assert ended["status"] == "canceled"
    assert "has ended" in plugfleet("deploy", "cancel", "1", code=2).err
    assert "canceled" in plugfleet("deploy", "follow", "1", code=1).out


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ctrl_c_without_a_terminal_leaves_it_running_and_says_how_to_follow(
    api: Api, plugfleet: Command, host: Host
) -> None:
    host("a", seconds=60)
    environment = {**os.environ, "PLUGFLEET_URL": api.url, "PLUGFLEET_TOKEN": api.token}
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "controller.cli", "deploy"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr
        while "Wave 1 of 1: running" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(20) == 130
    assert "Deployment 1 goes on. Follow it with `plugfleet deploy follow 1`." in said
    assert api.get("deployments/1")["status"] == "running"
    plugfleet("deploy", "cancel", "1", "--wait")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_terminal_shows_bars_and_ctrl_c_asks_whether_to_cancel(
    api: Api, plugfleet: Command, host: Host
) -> None:
    host("a", seconds=60)
    environment = {**os.environ, "PLUGFLEET_URL": api.url, "PLUGFLEET_TOKEN": api.token}
    keyboard, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [*INTERRUPTIBLE, sys.executable, "-m", "controller.cli", "deploy"],
            cwd=ROOT,
            env=environment | {"TERM": "xterm"},
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
        )
        os.close(terminal)
        with process:
            _read_until(keyboard, "Wave 1 of 1: running")
            process.send_signal(signal.SIGINT)
            _read_until(keyboard, "Cancel deployment 1?")
            os.write(keyboard, b"y\n")
            _read_until(keyboard, "1/1")
            assert process.stdout
            assert b"canceled" in process.stdout.read()
            assert process.wait(20) == 1
    finally:
        os.close(keyboard)


def _read_until(terminal: int, text: str) -> None:
    """Read what a terminal shows until a text was there."""
    seen = ""
    while text not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 65536).decode(errors="replace")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_publishing_comes_first_if_asked_for(
    plugfleet: Command, make_source: Callable[..., SourceRepository]
) -> None:
    plugfleet("source", "add", "base", make_source().path)
    run = plugfleet("deploy", "--publish")
    assert "Published release 1." in run.out and "no hosts" in run.err
