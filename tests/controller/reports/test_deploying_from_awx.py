"""A fresh AWX, one command and one file of variables; then its schedule deploys what the controller wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.awx.fixtures import Awx
from tests.awx.setting_up import SetUp
from tests.controller.reports.node import Node

# The schedule's time is let come, which only the stand-in of AWX can do.
pytestmark = [
    pytest.mark.awx_stand_in,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


def test_from_a_fresh_awx_to_the_first_scheduled_deployment(
    node: Node, awx: Awx, project_repository: str, tmp_path: Path
) -> None:
    assert awx.stand_in
    set_up = SetUp(
        awx,
        tmp_path,
        awx_setup_project_url=project_repository,
        awx_setup_controller_url=node.api.url,
        awx_setup_controller_token=node.api.token,
    )
    set_up.run()
    named = {schedule["name"]: schedule for schedule in awx.get("schedules/")["results"]}
    scheduled = named[f"{set_up.prefix} working-hours deploy"]
    assert scheduled["next_run"] and scheduled["enabled"]

    job = awx.wait(f"jobs/{awx.stand_in.awx.fire(scheduled['id'])}/")
    told = awx.get(f"jobs/{job['id']}/stdout/?format=txt")
    assert job["status"] == "successful", told
    assert node.states() == {"one": "converged", "two": "converged"}
    assert job["artifacts"]["plugfleet_summary"] == [
        "2 hosts: 0 right, 2 changed, 0 failed, 0 unreachable"
    ]
    [reported] = node.api.get("deployments")["items"]
    assert reported["hosts"] == {"changed": 2}

    # The drift audit reports too, from a playbook that does not lie at the top.
    (node.folder / "two/agent/plugin/sys/disk/60_disk.sh").write_text("#!/bin/sh\necho []\n")
    audit = named[f"{set_up.prefix} nightly drift audit"]
    job = awx.wait(f"jobs/{awx.stand_in.awx.fire(audit['id'])}/")
    assert job["artifacts"]["plugfleet_changed_hosts"] == ["two"]
    assert node.states() == {"one": "converged", "two": "drifted"}
