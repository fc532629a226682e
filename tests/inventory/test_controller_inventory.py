"""The inventory plugin: what it makes of the controller's document, and how it asks for it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.inventory.conftest import BIN, CHECKOUT, DOCUMENT, Controller, Inventory
from tests.oldest import OLDEST


def test_hosts_groups_and_states_are_the_controllers(inventory: Inventory) -> None:
    found = inventory.list()
    assert set(found["_meta"]["hostvars"]) == {"web1", "web2", "db1"}
    assert found["web"]["hosts"] == ["web1", "web2"]
    assert found["pf_pending"]["hosts"] == ["web1", "db1"]
    assert found["pf_drifted"]["hosts"] == ["web2"]
    variables = found["_meta"]["hostvars"]["web1"]
    assert variables["ansible_host"] == "10.0.0.1"
    assert variables["plugfleet_plan"] == "a" * 64
    assert variables["tier"] == "front"
    assert found["_meta"]["hostvars"]["db1"]["tier"] == "any"
    assert variables["plugin_source_controller"] == "", "what the controller left out stays out"
    assert variables["plugin_source_release"]["number"] == 7


def test_a_host_with_a_hostgroups_name_does_not_give_the_group_its_address(
    inventory: Inventory, controller: Controller
) -> None:
    hostvars = {**DOCUMENT["_meta"]["hostvars"], "db": {"ansible_host": "10.6.6.6"}}
    controller.document = {**DOCUMENT, "_meta": {"hostvars": hostvars}}
    done = inventory.run("--list")
    assert "host db is left out" in done.stderr
    assert "10.6.6.6" not in done.stdout


def test_the_graph_shows_every_hostgroup(inventory: Inventory) -> None:
    done = inventory.run("--graph")
    assert done.returncode == 0, done.stderr
    assert {"@web:", "@db:", "@pf_pending:", "@pf_drifted:"} <= set(
        re.findall(r"@\w+:", done.stdout)
    )


def test_variables_that_are_templates_stay_templates(inventory: Inventory) -> None:
    done = subprocess.run(
        [BIN / "ansible", "-i", inventory.file, "web1", "-m", "debug", "-a", "var=note"],
        env=inventory.environment | {"ANSIBLE_STDOUT_CALLBACK": "minimal"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r'"?note"?: "?2\b', done.stdout), done.stdout + done.stderr


def test_bindings_of_the_controller_win_over_a_group_vars_file(
    inventory: Inventory,
) -> None:
    folder = inventory.file.parent / "group_vars"
    folder.mkdir()
    (folder / "all.yml").write_text("plugin_bindings: {all: [sys/forgotten]}\n")
    variables = inventory.list()["_meta"]["hostvars"]["db1"]
    assert variables["plugin_source_bindings"] == DOCUMENT["all"]["vars"]["plugin_bindings"]


def test_groups_can_be_composed_from_variables(inventory: Inventory) -> None:
    inventory.file.write_text(
        "plugin: plugfleet\nkeyed_groups:\n  - {key: agent_config_kind, prefix: agent}\n"
    )
    assert inventory.list()["agent_falcon"]["hosts"] == ["web2"]


def test_an_unchanged_inventory_is_not_sent_again(
    inventory: Inventory, controller: Controller
) -> None:
    first, second = inventory.list(), inventory.list()
    assert first == second
    assert controller.answers == [200, 304]
    controller.etag = '"2-1"'
    inventory.list()
    assert controller.answers == [200, 304, 200]


def test_flush_cache_asks_for_all_of_it(inventory: Inventory, controller: Controller) -> None:
    inventory.list()
    inventory.run("--list", "--flush-cache")
    assert controller.answers == [200, 200]


def test_what_is_kept_can_be_read_by_its_owner_only(inventory: Inventory) -> None:
    inventory.list()
    assert inventory.cache.stat().st_mode & 0o777 == 0o700
    kept = list(inventory.cache.iterdir())
    assert [file.stat().st_mode & 0o777 for file in kept] == [0o600]
    assert "pf_secret-token" not in kept[0].read_text() + kept[0].name


def test_a_cache_folder_that_others_can_read_is_not_used(
    inventory: Inventory, controller: Controller
) -> None:
    inventory.cache.mkdir(mode=0o755)
    os.chmod(inventory.cache, 0o755)
    done = inventory.run("--list")
    assert done.returncode == 0
    assert "only you can read" in done.stderr
    assert not list(inventory.cache.iterdir())


def test_a_broken_cache_is_read_anew(inventory: Inventory, controller: Controller) -> None:
    inventory.list()
    for file in inventory.cache.iterdir():
        file.write_bytes(b'"1-1"\n{"_meta": {"ho')
    inventory.list()
    assert controller.answers == [200, 200]


def test_the_token_and_the_question_are_sent(inventory: Inventory, controller: Controller) -> None:
    inventory.file.write_text("plugin: plugfleet\nhostgroup: web\nsecrets: false\n")
    inventory.list()
    inventory.file.write_text("plugin: plugfleet\n")
    inventory.list()
    assert [path for path, _ in controller.requests] == [
        "/api/v1/inventory?hostgroup=web",
        "/api/v1/inventory?secrets=true",
    ]
    assert controller.requests[0][1]["Authorization"] == "Bearer pf_secret-token"


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("environment", "failing", "said"),
    [
        ({"PLUGFLEET_TOKEN": ""}, 0, "set PLUGFLEET_TOKEN"),
        ({"PLUGFLEET_URL": "plugfleet.example.com"}, 0, "must begin with https://"),
        ({}, 401, "answered 401: the token is not valid; it may be revoked"),
        ({}, 403, "needs scope operator"),
        ({}, 302, "answered 302"),
        ({}, 503, "answered 503"),
        ({"PLUGFLEET_URL": "http://127.0.0.1:{closed}"}, 0, "cannot be reached"),
    ],
)
def test_what_is_wrong_is_said(
    inventory: Inventory,
    controller: Controller,
    environment: dict[str, str],
    failing: int,
    said: str,
) -> None:
    controller.failing = failing
    for name, value in environment.items():
        inventory.environment[name] = value.replace("{closed}", str(closed_port()))
    done = inventory.run("--list")
    told = " ".join(done.stderr.split())
    assert "Traceback" not in told
    assert "pf_secret-token" not in told + done.stdout
    assert done.returncode != 0
    assert said in told


def test_another_server_is_not_taken_for_a_controller(
    inventory: Inventory, controller: Controller
) -> None:
    controller.document = {"hello": "world"}
    done = inventory.run("--list")
    assert done.returncode != 0
    assert "something else than an inventory" in " ".join(done.stderr.split())


@pytest.mark.parametrize("stale_ok", ["true", "false"])
def test_a_controller_that_is_away_fails_unless_stale_ok(
    inventory: Inventory, controller: Controller, stale_ok: str
) -> None:
    before = inventory.list()
    controller.close()
    inventory.environment["PLUGFLEET_INVENTORY_STALE_OK"] = stale_ok
    done = inventory.run("--list")
    told = " ".join(done.stderr.split())
    assert "cannot be reached" in told
    if stale_ok == "true":
        assert "read last" in told
        assert json.loads(done.stdout) == before
    else:
        assert done.returncode != 0


def test_a_refused_token_is_an_error_with_stale_ok_too(
    inventory: Inventory, controller: Controller
) -> None:
    inventory.list()
    controller.failing = 401
    inventory.environment["PLUGFLEET_INVENTORY_STALE_OK"] = "true"
    assert inventory.run("--list").returncode != 0


def test_the_checkouts_own_inventory_works_without_a_controller() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
    done = subprocess.run(
        [BIN / "ansible-inventory", "--list"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert {"web", "db"} <= set(found["all"]["children"])


def awx_update(folder: Path, url: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """An inventory update as AWX's RunInventoryUpdate starts it (awx/main/tasks/jobs.py, constants.py):
    from the project's folder, with an environment of its own, the credential's variables among it."""
    answer = folder / "output.json"
    environment = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_INVENTORY_EXPORT": "True",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_VERBOSE_TO_STDERR": "True",
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "requirements_collections"),
        "ANSIBLE_FORCE_COLOR": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "INVENTORY_SOURCE_ID": "4",
        "INVENTORY_UPDATE_ID": "17",
        "PLUGFLEET_URL": url,
        "PLUGFLEET_TOKEN": "pf_secret-token",
        # An execution environment without a folder that could be written to.
        "PLUGFLEET_INVENTORY_CACHE": "/proc/plugfleet",
    }
    source = "inventory/controller.plugfleet.yml"
    done = subprocess.run(
        ["ansible-inventory", "--list", "--export", "-i", source, "--output", answer, "-vvv"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, answer


def test_an_inventory_update_of_awx_finds_everything(
    controller: Controller, tmp_path: Path
) -> None:
    done, answer = awx_update(tmp_path, controller.url)
    assert done.returncode == 0, done.stderr
    found = json.loads(answer.read_text())
    assert found["web"]["hosts"] == ["web1", "web2"] and found["web"]["vars"] == {"tier": "front"}
    # AWX hands the group on to its jobs with the priority that puts it below the others.
    assert found["pf_everyone"]["vars"] == {"tier": "any", "ansible_group_priority": -(2**31)}
    assert found["_meta"]["hostvars"]["web1"]["plugfleet_plan"] == "a" * 64
    assert found["pf_drifted"]["hosts"] == ["web2"]
    assert "cannot be kept for next time" in done.stderr
    assert "pf_secret-token" not in done.stdout + done.stderr + answer.read_text()


def test_an_inventory_update_of_awx_fails_where_the_controller_is_away(
    controller: Controller, tmp_path: Path
) -> None:
    controller.close()
    done, answer = awx_update(tmp_path, controller.url)
    assert done.returncode != 0, "AWX would delete every host that it knows"
    assert "cannot be reached" in " ".join(done.stderr.split()) and not answer.exists()


def test_awx_does_not_take_the_file_for_a_playbook() -> None:
    """AWX lists a file as a playbook where a line matches this (awx/main/utils/ansible.py)."""
    pattern = re.compile(
        r"^\s?-?\s?(?:hosts|(ansible\.builtin\.)?import_playbook):\s?.*?$|^\$ANSIBLE_VAULT"
    )
    text = Path(CHECKOUT, "inventory/controller.plugfleet.yml").read_text()
    assert not [line for line in text.splitlines() if pattern.match(line)]


def test_the_oldest_ansible_reads_the_same(inventory: Inventory) -> None:
    newest = inventory.list()
    inventory.programs = OLDEST
    oldest = inventory.list()
    assert oldest["_meta"]["hostvars"] == newest["_meta"]["hostvars"]
    assert oldest["web"] == newest["web"]
