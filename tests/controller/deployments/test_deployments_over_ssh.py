"""Deployments that another machine plays, over a real sshd: the same results, and nothing left there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.deployments.engines.remote import ssh_command
from controller.deployments.processes import mark, marked
from controller.settings import Settings
from tests.controller.deployments.conftest import Fleet, ended, eventually, results, sqlite_only
from tests.controller.server import Api
from tests.controller.sources import SourceRepository
from tests.fleet import LoopbackFleet

pytestmark = sqlite_only
MEMORY = Path("/dev/shm")
STEPS = [{"step": "sync", "changed": True, "msg": "got release 1", "seconds": 0.2}]
PRETEND = {
    "a": {"changed": True, "msg": "brought", "steps": STEPS},
    "b": {},
    "c": {"failed": True, "msg": "sync: no space left"},
    "d": {"unreachable": True, "msg": "no route to host"},
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackFleet]:
    with LoopbackFleet(1, tmp_path_factory.mktemp("machine")) as fleet:
        yield fleet


@pytest.fixture
def settings(settings: Settings, machine: LoopbackFleet) -> Settings:
    (host,) = machine.hosts
    arguments = ["-i", str(machine.key), "-o", f"UserKnownHostsFile={machine.known_hosts}"]
    return settings.model_copy(
        update={
            "execution": "remote",
            "remote_host": f"{host.user}@{host.address}:{host.port}",
            "remote_ssh_args": shlex.join(arguments),
            "remote_runner": str(Path(sys.executable).with_name("ansible-runner")),
        }
    )


def _left(settings: Settings) -> list[str]:
    """What is left of this controller's runs, on either end; others have theirs meanwhile."""
    _, known_by = mark(1, settings.database).split("-")
    found = [path.name for path in MEMORY.glob(f"plugfleet-*{known_by}*")]
    return [name for name in found if not name.endswith("-cp")]


def _at_work(settings: Settings) -> list[int]:
    """Pids of what the run has there."""
    return marked(f"r{mark(1, settings.database)}", idle=True)


@pytest.fixture(autouse=True)
def nothing_left(settings: Settings) -> Iterator[None]:
    """Whatever a test does there: no process and no file of it stays."""
    yield
    eventually(10, lambda: not _at_work(settings))
    eventually(10, lambda: not _left(settings))


def test_each_host_gets_what_it_gets_from_this_machine(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    for name, result in PRETEND.items():
        fleet.host(name, result=result)
    secret = "s3cret-of-a"
    fleet.seal("a", {"ansible_password": secret, "pretend_say": secret})
    found = []
    for execution in ("remote", "local"):
        api.context.settings.execution = execution  # type: ignore[assignment]  # one of its words
        view = ended(api, api.send("POST", "deployments", 202, json={"all": True})["id"])
        rows = results(api, view["id"]).values()
        told = ("host", "status", "message", "warnings", "steps", "diff", "plan")
        events = api.get(f"deployments/{view['id']}/events", params={"limit": 500})["items"]
        kinds = sorted(event["kind"] for event in events)
        found.append(
            ([[row[key] for key in told] for row in rows], kinds, view["hosts"], view["reason"])
        )
        assert secret not in str(events) and "said ********" in str(events)
    assert found[0] == found[1]
    assert found[0][2] == {"changed": 1, "failed": 1, "ok": 1, "unreachable": 1}


def test_a_cancel_ends_the_playbook_there_and_knows_each_host(
    api: Api, fleet: Fleet, settings: Settings
) -> None:
    deployment = _half_way(api, fleet, settings)
    began = time.monotonic()
    api.send("POST", f"deployments/{deployment}/cancel", 202)
    view = ended(api, deployment)
    assert time.monotonic() - began < 10
    assert view["status"] == "canceled"
    statuses = {name: row["status"] for name, row in results(api, deployment).items()}
    assert statuses == {"a": "changed", "b": "interrupted", "c": "canceled"}


def test_a_connection_that_breaks_ends_the_playbook_there(
    api: Api, fleet: Fleet, settings: Settings
) -> None:
    deployment = _half_way(api, fleet, settings)
    mine = marked(mark(1, settings.database), {os.getpid()}, idle=True)
    (ssh,) = [
        pid
        for pid in mine
        if _words(pid)[:1] == ["ssh"]
        and settings.remote_host.split("@")[1].split(":")[0] in _words(pid)
    ]
    os.kill(ssh, 9)
    view = ended(api, deployment)
    assert view["status"] == "failed"
    assert "broke off" in view["waves"][0]["reason"]
    statuses = {name: row["status"] for name, row in results(api, deployment).items()}
    # What was begun there since the last word that arrived, nobody knows.
    assert statuses == {"a": "changed", "b": "interrupted", "c": "interrupted"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"remote_runner": "/nowhere/ansible-runner"}, "/nowhere/ansible-runner: No such file"),
        ({"remote_host": "nobody@127.0.0.1:1"}, "Connection refused"),
        ({"remote_ssh_args": "-o UserKnownHostsFile=/dev/null"}, "Host key verification failed"),
    ],
    ids=["no runner", "no machine", "no trust"],
)
def test_a_machine_that_cannot_be_used_is_told_in_its_own_words(
    api: Api, fleet: Fleet, changed: dict[str, str], said: str
) -> None:
    fleet.publish()
    fleet.host("a")
    for name, value in changed.items():
        setattr(api.context.settings, name, value)
    view = ended(api, api.send("POST", "deployments", 202, json={})["id"])
    row = results(api, view["id"])["a"]
    assert row["status"] == "failed" and said in row["message"]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def _half_way(api: Api, fleet: Fleet, settings: Settings) -> int:
    """A deployment of which one host is through, the next one is being visited, and one waits."""
    api.context.settings.forks = 1
    fleet.publish()
    fleet.host("a", result={"changed": True, "msg": "brought"})
    fleet.host("b", seconds=60)
    fleet.host("c")
    deployment: int = api.send("POST", "deployments", 202, json={})["id"]

    def begun() -> bool:
        rows = results(api, deployment)
        events = api.get(f"deployments/{deployment}/events")["items"]
        return rows["a"]["status"] == "changed" and any(
            e["kind"] == "host.began" and e["host"] == "b" for e in events
        )

    eventually(30, begun)
    assert _at_work(settings)
    return deployment


def test_the_real_project_and_its_release_are_all_that_is_sent(
    api: Api,
    machine: LoopbackFleet,
    make_source: Callable[..., SourceRepository],
    tmp_path: Path,
) -> None:
    api.context.settings.project_dir = Settings.model_fields["project_dir"].default
    source = make_source()
    api.send("POST", "sources", 201, json={"name": "s", "url": str(source.path), "ref": "main"})
    api.send("POST", "releases", 201, json={})
    (host,) = machine.hosts
    variables = {
        "ansible_port": host.port,
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": str(machine.key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={machine.known_hosts}",
        # The host is this machine: nothing of it may be touched, not even by a fault.
        "plugin_sync_root": str(tmp_path / "root"),
        "executor_service": "process",
        "executor_user": "",
    }
    body = {"name": "web1", "address": host.address, "variables": variables}
    api.send("POST", "hosts", 201, json=body)
    asked = {"all": True, "check": True}
    view = ended(api, api.send("POST", "deployments", 202, json=asked)["id"], 60)
    row = results(api, view["id"])["web1"]
    assert row["message"].startswith("would install (the executor is missing")
    assert "sync (the mirror is at nothing)" in row["message"]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("host", "arguments", "options"),
    [
        ("exec1", "-p 2222", {"port": "2222", "hostname": "exec1"}),
        ("u@exec1:2200", "-i /k", {"port": "2200", "user": "u"}),
        ("exec1", "-o ConnectTimeout=60", {"connecttimeout": "60", "batchmode": "yes"}),
    ],
)
def test_what_the_settings_say_of_ssh_counts_before_what_is_usual(
    settings: Settings, host: str, arguments: str, options: dict[str, str]
) -> None:
    command = ssh_command(
        settings.model_copy(update={"remote_host": host, "remote_ssh_args": arguments}), "true"
    )
    told = subprocess.run(
        [command[0], "-F", "none", "-G", *command[1:]], check=True, capture_output=True, text=True
    )
    found = dict(line.split(" ", 1) for line in told.stdout.splitlines() if " " in line)
    assert {name: found[name] for name in options} == options
