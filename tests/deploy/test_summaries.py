"""What playbooks leave in `set_stats`, by which AWX's workflows and notifications go; no agent runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.deployment import BIN, CHECKOUT, Source, step_script


class Local:
    """One host that is a folder of this machine, one that is misconfigured, and one that is away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = Source(folder / "source")
        self.source.write("sys/one/60_one.sh", step_script("one"))
        self.source.commit()
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "plugin_sources": [{"url": str(self.source.path)}],
            "plugin_bindings": {"all": ["sys/one"]},
            "plugin_sync_root": str(folder / "{{ inventory_hostname }}"),
            "executor_service": "process",
            "executor_user": "",
        }
        hosts = {
            "fine": {},
            "odd": {"agent_update_wait": "soon"},
            "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        }
        self.inventory = folder / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}))

    def run(self, playbook: str, *args: str) -> tuple[int, dict[str, Any], str]:
        """Exit status, what `set_stats` was given, and all that was printed."""
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", self.inventory, playbook, *args],
            cwd=CHECKOUT,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                "ANSIBLE_SHOW_CUSTOM_STATS": "1",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                "PLUGFLEET_DATA_DIR": str(self.folder / "node"),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        text = done.stdout + done.stderr
        told = re.search(r"RUN: (\{.*)", text, re.DOTALL)
        stats = json.JSONDecoder().raw_decode(told[1])[0] if told else {}
        return done.returncode, stats, text


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path)


def test_a_run_that_lost_hosts_names_them_over_all_its_batches(local: Local) -> None:
    more = ("-e", "plugin_serial=2", "-e", "plugin_max_lost=9")
    code, stats, text = local.run("deploy-plugins.yml", "--check", *more)
    assert code != 0
    assert stats["plugfleet_hosts"] == 3, text
    assert stats["plugfleet_summary"] == [
        "2 hosts: 0 right, 1 changed, 0 failed, 1 unreachable",
        "1 hosts: 0 right, 0 changed, 1 failed, 0 unreachable",
    ]
    named = {
        name: stats[f"plugfleet_{name}_hosts"] for name in ("changed", "failed", "unreachable")
    }
    assert named == {"changed": ["fine"], "failed": ["odd"], "unreachable": ["away"]}
    assert stats["plugfleet_run"]["check"] is True
    assert stats["plugfleet_run"]["release"]["number"] == 1


@pytest.mark.parametrize(("fails", "code"), [("false", 0), ("true", 2)])
def test_the_drift_audit_changes_nothing_and_fails_on_drift_only_if_asked(
    local: Local, fails: str, code: int
) -> None:
    more = ("-l", "fine", "-e", f"plugin_verify_fail_on_drift={fails}")
    found, stats, text = local.run("playbooks/verify.yml", *more)
    assert found == code, text
    assert stats["plugfleet_changed_hosts"] == ["fine"]
    assert not (local.folder / "fine").exists()
    assert not (local.folder / "node/catalog/deploy.git/refs/heads/deploy").exists()
    assert ("not at its plan: would" in text) is (fails == "true")


def test_linting_publishes_nothing_and_needs_no_host(local: Local) -> None:
    code, stats, text = local.run("playbooks/lint.yml")
    assert code == 0, text
    told = {"release": {}, "warnings": [], "would_publish": True}
    assert stats["plugfleet_lint"] == told
    assert not (local.folder / "node/catalog/deploy.git/refs/heads/deploy").exists()
    code, _, text = local.run(
        "playbooks/lint.yml", "-e", '{"plugin_bindings": {"all": ["sys/onne"]}}'
    )
    assert code == 2 and "sys/onne" in text


def test_bindings_that_only_the_role_was_given_are_not_taken_for_none(local: Local) -> None:
    role = {"role": "plugin_source", "plugin_source_bindings": {"all": ["sys/one"] * 2}}
    play = {"hosts": "fine", "gather_facts": False, "roles": [role, "plugin_sync"]}
    playbook = local.folder / "play.yml"
    playbook.write_text(json.dumps([play]))
    code, _, text = local.run(str(playbook))
    assert code == 2 and "plugin_source_bindings is not what the role plugin_source had" in text
    assert not (local.folder / "fine").exists()


@pytest.mark.parametrize(
    ("playbook", "variable", "said"),
    [
        ("deploy-plugins.yml", "plugin_max_lost=many", "plugin_max_lost"),
        (
            "playbooks/verify.yml",
            "plugin_verify_fail_on_drift=maybe",
            "plugin_verify_fail_on_drift",
        ),
    ],
)
def test_a_variable_of_the_wrong_kind_is_named(
    local: Local, playbook: str, variable: str, said: str
) -> None:
    code, _, text = local.run(playbook, "-e", variable)
    assert code == 2
    assert f"argument '{said}' is of type" in text
