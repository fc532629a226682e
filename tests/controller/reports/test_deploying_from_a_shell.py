"""With the controller's inventory, `ansible-playbook deploy-plugins.yml` does what the controller itself does."""

from __future__ import annotations

import pytest

from tests.controller.reports.node import HOSTS, Node
from tests.deploy.deployment import step_script

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_shell_and_controller_take_each_others_work_as_done(node: Node) -> None:
    printed = node.play()
    for name in HOSTS:
        assert f"changed: [{name}] =>" in printed, printed
    assert node.states() == {"one": "converged", "two": "converged"}
    bound = (node.folder / "one/bindings.json").read_text()
    assert "sys/web" in bound and "sys/disk" in bound
    assert "sys/web" not in (node.folder / "two/bindings.json").read_text()
    [reported] = node.api.get("deployments")["items"]
    assert reported["status"] == "succeeded"
    assert reported["hosts"] == {"changed": 2}

    assert node.deploy()["hosts"] == {"current": 2}
    of_one = node.api.get("hosts/one/plugins")["items"]
    assert [row["plugin"] for row in of_one] == ["sys/disk/60_disk.sh", "sys/web/60_web.sh"]
    assert {row["state"] for row in of_one} <= {"waiting", "running", "ok"}

    node.source.write("sys/disk/60_disk.sh", step_script("disk", 2))
    node.source.commit()
    node.api.send("POST", "releases", 201, json={})
    assert node.deploy()["hosts"] == {"changed": 2}
    seen = [node.api.get("hosts/one/plugins")["items"][0]["seen"]]
    assert "changed:" not in node.play()
    seen.append(node.api.get("hosts/one/plugins")["items"][0]["seen"])
    assert of_one[0]["seen"] < seen[0] < seen[1]
    assert "2" in (node.folder / "two/agent/plugin/sys/disk/60_disk.sh").read_text()
    # Two runs from the shell and two of the controller's own, which it does not hear of twice.
    assert len(node.api.get("deployments")["items"]) == 4

    (node.folder / "two/agent/plugin/sys/disk/60_disk.sh").write_text("#!/bin/sh\necho []\n")
    node.play("--check")
    assert node.states() == {"one": "converged", "two": "drifted"}
    assert "edited sys/disk/60_disk.sh" in node.api.get("hosts/two")["last_error"]
    assert node.deploy()["hosts"] == {"changed": 1, "current": 1}
    assert node.states()["two"] == "converged"
