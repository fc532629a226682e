"""The callback `plugfleet_report`: a run from a shell tells the controller, once, and never fails for it.

The play's visit is a stand-in that says what the test wants: what is real is Ansible, the inventory
plugin, the callback and the controller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.controller.reports.conftest import in_awx
from tests.controller.server import Api
from tests.oldest import OLDEST

# What differs between the databases is the route's matter (test_reports.py).
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

CHECKOUT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent

VISIT = '''
"""A visit that says what the variable `said` holds."""
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True

    def run(self, tmp=None, task_vars=None):
        hosts = {h: task_vars["said"].get(h, {"msg": "right"}) for h in task_vars["ansible_play_batch"]}
        return {"hosts": hosts, "changed": any(h.get("changed") for h in hosts.values())}
'''
PLAY = """
- name: Bring the hosts to their plan
  hosts: all
  gather_facts: false
  serial: "{{ batch | default('100%') }}"
  tasks:
    - name: Visit
      plugin_visit:
        steps: "{{ steps | default(['install', 'sync', 'configure', 'start', 'update']) }}"
      check_mode: "{{ ansible_check_mode }}"
      run_once: true
"""
SAID: dict[str, Any] = {
    "web1": {
        "changed": True,
        "msg": "took release 3",
        "steps": [{"step": "sync", "changed": True, "msg": "synced", "seconds": 0.25}],
        "warnings": ["an odd thing"],
        "diff": [{"before": "a", "after": "b", "before_header": "x", "after_header": "x"}],
    },
    "web2": {"failed": True, "msg": "update: no git"},
    "db1": {"unreachable": True, "msg": "timed out"},
}


class Shell:
    """A control node's shell: a project, and `ansible-playbook` in it.

    Attributes:
        programs: the folder that this is in.
    """

    def __init__(self, folder: Path, api: Api) -> None:
        self.programs = BIN
        self.folder = folder
        (folder / "actions").mkdir(parents=True)
        (folder / "actions/plugin_visit.py").write_text(VISIT)
        (folder / "play.yml").write_text(PLAY)
        (folder / "controller.plugfleet.yml").write_text("plugin: plugfleet\n")
        (folder / "said.json").write_text(json.dumps({"said": SAID}))
        (folder / "ansible.cfg").write_text(
            "[defaults]\ninventory = controller.plugfleet.yml\naction_plugins = actions\n"
            f"inventory_plugins = {CHECKOUT}/inventory_plugins\n"
            f"callback_plugins = {CHECKOUT}/callback_plugins\n"
            "callbacks_enabled = plugfleet_report\n"
        )
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        self.environment = inherited | {
            "PLUGFLEET_URL": api.url,
            "PLUGFLEET_TOKEN": api.token,
            "PLUGFLEET_INVENTORY_CACHE": str(folder / "cache"),
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        }

    def play(self, *args: str) -> str:
        """What the run printed; it must have ended well."""
        done = subprocess.run(
            [self.programs / "ansible-playbook", "play.yml", "-e", "@said.json", *args],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def shell(fleet: Api, tmp_path: Path) -> Shell:
    return Shell(tmp_path / "project", fleet)


def reported(api: Api) -> list[Any]:
    return list(api.get("deployments")["items"])


def results(api: Api) -> dict[str, Any]:
    [deployment] = reported(api)
    rows = api.get(f"deployments/{deployment['id']}/hosts")["items"]
    return {row["host"]: row for row in rows}


@pytest.mark.parametrize("programs", [BIN, OLDEST], ids=["newest", "oldest"])
def test_a_run_is_recorded_with_what_came_of_each_host(
    fleet: Api, shell: Shell, programs: Path
) -> None:
    shell.programs = programs
    told = shell.play()
    rows = results(fleet)
    assert {name: row["status"] for name, row in rows.items()} == {
        "web1": "changed",
        "web2": "failed",
        "db1": "unreachable",
    }
    assert rows["web1"]["steps"][0]["seconds"] == 0.25
    assert rows["web1"]["warnings"] == ["an odd thing"]
    assert rows["web1"]["diff"][0]["after"] == "b"
    assert rows["db1"]["message"] == "timed out"
    assert f"recorded as deployment {reported(fleet)[0]['id']}" in told
    states = {host["name"]: host["state"] for host in fleet.get("hosts")["items"]}
    assert states == {"web1": "converged", "web2": "failed", "db1": "unreachable"}


def test_batches_are_one_report(fleet: Api, shell: Shell) -> None:
    shell.play("-e", "batch=1")
    assert len(results(fleet)) == 3


def test_a_limit_reports_only_the_hosts_that_were_visited(fleet: Api, shell: Shell) -> None:
    shell.play("--limit", "web1")
    assert set(results(fleet)) == {"web1"}


def test_a_check_is_recorded_as_one(fleet: Api, shell: Shell) -> None:
    # Whatever somebody calls like AWX's variables does not cost the report.
    shell.play("--check", "-e", '{"awx_schedule_id": "x", "awx_schedule_name": []}')
    assert reported(fleet)[0]["check"] is True
    assert fleet.get("hosts/web1")["state"] == "pending"


def test_a_job_of_awx_says_which_schedule_began_it(fleet: Api, shell: Shell) -> None:
    told = in_awx(fleet)
    awx = {"awx_schedule_id": told["id"], "awx_schedule_name": told["name"]}
    shell.play("--limit", "web1", "-e", json.dumps(awx))
    [deployment] = reported(fleet)
    assert deployment["by"] == "schedule nightly"
    assert fleet.get("schedules/nightly")["deployment"]["id"] == deployment["id"]


@pytest.mark.parametrize(
    ("environment", "args"),
    [
        ({"PLUGFLEET_WAVE": "7"}, ()),
        ({"PLUGFLEET_REPORT": "false"}, ()),
        # A wave that AWX carries out, whose events the controller reads.
        ({}, ("-e", "plugfleet_wave=1-1-1-nonce")),
        # A visit that brings nobody to the plan, such as that of install-executor.yml.
        ({}, ("-e", '{"steps": ["install", "configure", "start"]}')),
    ],
)
def test_what_is_not_the_controllers_business_is_not_reported(
    fleet: Api, shell: Shell, environment: dict[str, str], args: tuple[str, ...]
) -> None:
    shell.environment |= environment
    assert "plugfleet:" not in shell.play(*args)
    assert reported(fleet) == []


def test_it_is_silent_with_another_inventory(fleet: Api, shell: Shell) -> None:
    (shell.folder / "hosts.ini").write_text("web1\n")
    assert "plugfleet:" not in shell.play("-i", "hosts.ini")
    assert reported(fleet) == []


def test_a_report_that_fails_is_a_warning(fleet: Api, shell: Shell) -> None:
    look_only = fleet.send("POST", "tokens", 201, json={"name": "look", "scope": "viewer"})
    (shell.folder / "controller.plugfleet.yml").write_text("plugin: plugfleet\nsecrets: false\n")
    shell.environment["PLUGFLEET_TOKEN"] = look_only["token"]
    told = shell.play()
    assert "was not told of this run: it answered 403" in told
    assert "What came of 3 hosts (db1, web1, web2) is not on its record" in told
    assert "`plugfleet host list`" in told
    assert reported(fleet) == []


class Front(BaseHTTPRequestHandler):
    """A proxy before a controller; what it does with each report stands in `server.plan`."""

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        plan: list[str] = self.server.plan  # type: ignore[attr-defined]  # the test's own
        todo = plan.pop(0) if plan else "pass"
        if todo.isdigit():
            self.send_response(int(todo))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif todo == "lose":
            self._pass_on(answer=False)
        else:
            self._pass_on()

    def log_message(self, *_: object) -> None:
        """Nothing on the test's terminal."""

    def _pass_on(self, *, answer: bool = True) -> None:
        controller: str = self.server.controller  # type: ignore[attr-defined]  # the test's own
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {"Authorization", "Content-Type", "Idempotency-Key"}
        headers = {name: value for name, value in self.headers.items() if name in kept}
        got = httpx2.request(self.command, controller + self.path, content=body, headers=headers)
        if not answer:
            self.close_connection = True
            return
        self.send_response(got.status_code)
        self.send_header("Content-Length", str(len(got.content)))
        self.end_headers()
        self.wfile.write(got.content)


def test_a_report_is_sent_again_until_it_arrives_and_recorded_once(
    fleet: Api, shell: Shell
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    server.controller = fleet.url  # type: ignore[attr-defined]  # for the handler
    server.plan = ["503", "lose"]  # type: ignore[attr-defined]  # for the handler
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        shell.environment["PLUGFLEET_URL"] = f"http://127.0.0.1:{server.server_port}"
        told = shell.play()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    [deployment] = reported(fleet)
    assert f"recorded as deployment {deployment['id']}" in told
    assert server.plan == []  # type: ignore[attr-defined]  # every fault was met
