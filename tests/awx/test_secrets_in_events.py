"""No event of a run holds a secret: AWX shows the events of a job to everybody who may see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.awx.real import Process
from tests.deploy.deployment import CHECKOUT, Source

SECRETS = ("CONFIG-HIDDEN", "OVERRIDE-HIDDEN", "HOST-HIDDEN")
MANIFEST = {
    "name": "Database check",
    "version": "1.0",
    "description": "Whether the database answers",
    "tags": "db",
    "command": "python3 check.py",
    "ignore": "",
    "metrics": ["DB_UP"],
    "paramSchema": [
        {"title": "P", "name": "password", "description": "p", "type": "password", "required": True}
    ],
}
METRIC = {
    "name": "DB_UP",
    "displayName": "Database Up",
    "displayNameShort": "Up",
    "description": "1 when it answers",
    "unit": "number",
    "defaultAggregate": "min",
    "defaultResolutionMS": 10000,
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two hosts that are folders of this machine, with secrets wherever the controller's inventory has any."""
    source = Source(tmp_path / "source")
    source.write("dbcheck/plugin.json", json.dumps(MANIFEST))
    source.write("dbcheck/metrics.json", json.dumps({"DB_UP": METRIC}))
    source.write("dbcheck/check.py", "import time\ntime.sleep(3600)\n")
    source.commit()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "plugin_sources": [{"url": str(source.path)}],
        "plugin_source_folder": str(tmp_path / "catalog"),
        "plugin_bindings": {"all": [{"plugin": "dbcheck", "config": {"password": SECRETS[0]}}]},
        "plugin_sync_root": str(tmp_path / "{{ inventory_hostname }}"),
        "executor_service": "process",
        "executor_user": "",
        # Ends the visit before an agent is started.
        "agent_config_kind": "executor",
        "executor_python": "/nowhere/python3",
    }
    hosts = {
        "one": {"ansible_become_password": SECRETS[2]},
        "two": {"plugin_config_overrides": {"dbcheck": {"password": SECRETS[1]}}},
    }
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    return file


@pytest.mark.parametrize(
    "playbook", ["deploy-plugins.yml", "playbooks/verify.yml", "playbooks/lint.yml"]
)
def test_no_event_of_a_run_holds_a_secret(playbook: str, inventory: Path, tmp_path: Path) -> None:
    order = {
        "folder": str(tmp_path / "job"),
        "project": str(CHECKOUT),
        "playbook": playbook,
        "inventory": str(inventory),
        "limit": "",
        "extra_vars": {"awx_job_id": 1},
        "trusted": {},
        "check": False,
        "diff": True,
        "user": "",
        "key": "",
        "tags": "",
        "skip_tags": "",
        "forks": 2,
    }
    (tmp_path / "job").mkdir()
    process = Process(order, {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")})
    told = [json.dumps(event) for event in process.events()]
    process.wait()
    assert any('"would_publish"' in event for event in told), "it came to the release"
    assert any("nowhere/python3" in event for event in told) is (playbook == "deploy-plugins.yml")
    assert not [event for event in told if any(secret in event for secret in SECRETS)]
