"""`playbooks/rollback.yml` with a controller's inventory: the controller rolls back, and it says what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.auth.models import Scope
from tests.controller.deployments.conftest import Fleet, sqlite_only
from tests.controller.server import Api
from tests.controller.sources import SCRIPT, SourceRepository, publish

pytestmark = sqlite_only
CHECKOUT = Path(__file__).resolve().parents[3]


class Shell:
    """A control node's shell in this checkout, with a controller's inventory."""

    def __init__(self, api: Api, folder: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        self.environment = inherited | {
            "PLUGFLEET_URL": api.url,
            "PLUGFLEET_TOKEN": api.token_of(Scope.OPERATOR),
            "PLUGFLEET_DATA_DIR": str(folder / "node"),
            "PLUGFLEET_INVENTORY_CACHE": str(folder / "cache"),
            "ANSIBLE_SHOW_CUSTOM_STATS": "1",
        }

    def roll_back(self, *args: str, code: int = 0) -> str:
        """What the playbook prints; its exit status must be `code`."""
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "playbooks/rollback.yml", *args],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def shell(
    api: Api, fleet: Fleet, make_source: Callable[..., SourceRepository], tmp_path: Path
) -> Shell:
    """A controller with the releases 1 and 2, and three hosts of which one will fail."""
    source = make_source()
    publish(api, source)
    source.write("sys/ntp/600_ntp.py", SCRIPT + "# newer\n")
    source.commit()
    publish(api, source)
    fleet.hosts(["a", "c"], result={"changed": True, "msg": "brought"})
    fleet.host("b", result={"failed": True, "msg": "sync: no space left"})
    return Shell(api, tmp_path)


def test_what_the_controller_would_do_and_what_it_refuses_is_told_in_its_words(
    api: Api, shell: Shell
) -> None:
    told = shell.roll_back("--check", "-e", "plugin_release=1")
    assert "would publish release 1 again, as the newest one (1 files differ)" in told
    assert "refuses it: there is no release 7" in shell.roll_back("-e", "plugin_release=7", code=2)
    assert [one["number"] for one in api.get("releases")["items"]] == [2, 1]
    assert api.get("deployments")["items"] == []


def test_the_controller_rolls_back_and_deploys_and_each_host_is_told(
    api: Api, shell: Shell
) -> None:
    told = shell.roll_back("-e", "plugin_release=1", "--limit", "a,b", code=2)
    assert "changed: [a] => changed: true msg: brought" in told
    assert "fatal: [b]: FAILED!" in told and "sync: no space left" in told
    assert "in one visit" not in told, "the controller visits, and nobody else"
    [newest, *_] = api.get("releases")["items"]
    assert (newest["number"], newest["rollback_to"]) == (3, 1)
    [deployment] = api.get("deployments")["items"]
    assert f"deployment {deployment['id']} failed" in told
    assert deployment["release"] == 3 and deployment["hosts"] == {"changed": 1, "failed": 1}
    for stat in ("plugfleet_changed: 1", "plugfleet_failed_hosts: - b", "number: 3"):
        assert stat in told
    # An inventory of one hostgroup is the job's, whatever other hosts there are.
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hostgroups/web/members", 200, json={"add": ["c"]})
    shell.environment["PLUGFLEET_HOSTGROUP"] = "web"
    shell.roll_back("-e", "plugin_release=2")
    assert api.get("deployments")["items"][0]["hosts"] == {"changed": 1}
    actions = {entry["action"]: entry["actor"] for entry in api.get("audit")["items"]}
    assert actions["release.rollback"] == actions["deployment.start"] == deployment["by"]
