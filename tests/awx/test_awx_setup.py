"""`playbooks/awx-setup.yml`: what it makes of an AWX, and what it says where it cannot."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles.awx_setup.control.client import Awx as Client
from roles.awx_setup.control.client import Connection
from roles.awx_setup.control.refusals import AwxError
from tests.awx.fixtures import Awx
from tests.awx.real import injected
from tests.awx.setting_up import BIN, CHECKOUT, PLAYBOOKS, SetUp, private_key
from tests.awx.standin import StandIn

WEBHOOK = {
    "name": "chat",
    "type": "webhook",
    "tell_of": ["error", "approvals"],
    "configuration": {"url": "https://chat.example.com", "password": "HOOK-HIDDEN"},
}
MAIL = {
    "name": "mail",
    "type": "email",
    "tell_of": ["success"],
    "configuration": {
        "host": "mail.example.com",
        "port": 25,
        "sender": "awx@example.com",
        "recipients": ["ops@example.com"],
    },
}
SECRETS = ("PRIVATE KEY", "IMAGE-HIDDEN", "HOOK-HIDDEN", "TOKEN-HIDDEN", "GIT-HIDDEN")


@pytest.mark.awx_stand_in
def test_one_command_sets_an_awx_up_a_second_changes_nothing_and_absent_takes_it_back(
    awx: Awx, tmp_path: Path
) -> None:
    assert awx.stand_in
    awx.stand_in.awx.jobs.offered = PLAYBOOKS
    awx.stand_in.awx.objects.looks_at_texts = True
    before = kept(awx)
    set_up = SetUp(
        awx,
        tmp_path,
        awx_setup_controller_url="https://plugfleet.example.com",
        awx_setup_controller_token="TOKEN-HIDDEN",
        awx_setup_controller_ca="PEM",
        awx_setup_login={
            "username": "deploy",
            "ssh_key_data": private_key(),
            "become_method": "sudo",
        },
        awx_setup_notifications=[WEBHOOK, MAIL],
        awx_setup_image="registry.example.com/pf:1",
        awx_setup_image_login={"username": "awx", "password": "IMAGE-HIDDEN"},
        awx_setup_known_hosts="h1 KEY",
        awx_setup_project_login={"username": "git", "password": "GIT-HIDDEN"},
    )
    told = set_up.run("--check", "--diff")
    assert kept(awx) == before
    assert "project: \"project 'pf" in told, "the diff names what is referred to"
    assert not [secret for secret in SECRETS if secret in told]

    assert set_up.changes() == 22
    assert {template["job_type"] for template in awx.get("job_templates/")["results"]} == {
        "run",
        "check",
    }
    [image] = awx.get("execution_environments/")["results"]
    registry = awx.stand_in.awx.store.get("credentials", image["credential"])["inputs"]
    assert (registry["host"], registry["username"]) == ("registry.example.com", "awx")
    held = awx.stand_in.awx.store.find("credentials", name=f"{set_up.prefix} controller")[0]
    assert held["inputs"] == {
        "url": "https://plugfleet.example.com",
        "token": "TOKEN-HIDDEN",
        "ca": "PEM",
    }
    kind = awx.get(f"credential_types/{held['credential_type']}/")
    assert kind["injectors"] == {
        "env": {
            "PLUGFLEET_URL": "{{ url }}",
            "PLUGFLEET_TOKEN": "{{ token }}",
            "PLUGFLEET_CA_FILE": "{{ tower.filename }}",
        },
        "file": {"template": "{{ ca }}"},
    }

    made = kept(awx)
    assert set_up.changes("--diff") == 0
    assert kept(awx) == made

    [kept_one, _] = awx.get("schedules/?order_by=id")["results"]
    left = {"name": "nightly drift audit", "template": "verify", "rrule": kept_one["rrule"]}
    emptied = {"image": "", "known_hosts": "", "notifications": [], "project_login": {}}
    set_up.variables |= {f"awx_setup_{name}": value for name, value in emptied.items()}
    set_up.variables["awx_setup_schedules"] = [left]
    # Project, source, 5 templates and workflow lose what is removed: notifications and 5 others.
    assert set_up.changes("--check") == 14
    assert kept(awx) == made
    assert set_up.changes() == 14
    assert set_up.changes() == 0
    assert [one["id"] for one in awx.get("schedules/")["results"]] == [kept_one["id"]]
    [template, *_] = awx.get("job_templates/")["results"]
    assert awx.get(f"job_templates/{template['id']}/credentials/")["count"] == 2
    assert template["execution_environment"] is None
    [project] = awx.get("projects/")["results"]
    assert (project["credential"], project["default_environment"]) == (None, None)

    other = awx.send("POST", "credential_types/", 201, json={"name": "theirs", "kind": "cloud"})
    assert set_up.changes("-e", "awx_setup_state=absent") == 13, "schedules go with their templates"
    awx.send("DELETE", f"credential_types/{other['id']}/", 204)
    assert kept(awx) == before


def kept(awx: Awx) -> dict[str, Any]:
    """Everything that AWX holds, without times and states."""
    assert awx.stand_in
    paths = ("organizations", "credential_types", "credentials", "projects", "inventories",
             "inventory_sources", "notification_templates", "job_templates", "schedules",
             "workflow_job_templates", "workflow_job_template_nodes")  # fmt: skip
    return {path: copy.deepcopy(awx.get(f"{path}/?page_size=200")["results"]) for path in paths}


def test_host_keys_are_checked_though_awx_turns_that_off(tmp_path: Path) -> None:
    told = yaml.load((CHECKOUT / "roles/awx_setup/vars/main.yml").read_text(), Loader=_Templates)
    [injectors] = [
        one["fields"]["injectors"]
        for one in told["awx_setup_basics"]
        if one["kind"] == "credential_types" and "known hosts" in one["name"]
    ]
    kind = {"inputs": {}, "kind": "cloud", "injectors": injectors}
    credential = {"id": 1, "inputs": {"known_hosts": "h1 KEY"}}
    env, extra = injected([(credential, kind)], tmp_path)
    more = ("-e", "ansible_port=1", "-e", json.dumps(extra))
    done = subprocess.run(
        [BIN / "ansible", "-i", "127.0.0.1,", "all", "-m", "raw", "-a", "true", "-vvv", *more],
        cwd=CHECKOUT,
        env={**os.environ, **env, "ANSIBLE_HOST_KEY_CHECKING": "False"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    command = next(line for line in done.stdout.splitlines() if "SSH: EXEC" in line)
    assert "StrictHostKeyChecking=no" not in command
    file = re.search(r"-o StrictHostKeyChecking=yes -o UserKnownHostsFile=(\S+)", command)
    assert file and Path(file[1]).read_text() == "h1 KEY", command


class _Templates(yaml.SafeLoader):
    """Reads Ansible's YAML, whose `!unsafe` says that a text is nobody's template."""


_Templates.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


@pytest.mark.awx_tokens
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token": "wrong"}, "does not know the token"),
        ({"token": ""}, "AWX needs a token"),
        ({"url": "awx.example.com"}, "must be AWX's address"),
        ({"url": "http://127.0.0.1:1"}, "cannot be reached"),
        ({"ca_file": "/nowhere.pem"}, "/nowhere.pem cannot be read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_connection_that_does_not_work_says_why(
    awx: Awx, change: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.awx_setup.control.client._WAITS", (0.0,))
    with pytest.raises(AwxError, match=said):
        Client(Connection(**{"url": awx.url, "token": awx.token, **change})).check()


@pytest.mark.awx_stand_in
@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("19.5.0", "needs 21 or newer"),
        ("3.8.6", "needs 21"),
        ("4.5.7", ""),
        ("24.6.1", ""),
        ("0.1.dev34115+g0e11de0", ""),
    ],
)
def test_an_awx_that_is_too_old_is_refused(awx: Awx, version: str, said: str) -> None:
    assert awx.stand_in
    awx.stand_in.awx.version = version
    client = Client(Connection(awx.url, awx.token))
    if said:
        with pytest.raises(AwxError, match=said):
            client.check()
    else:
        assert client.check() == version


@pytest.mark.awx_tokens
def test_a_user_without_the_right_is_told_which_token_to_take(awx: Awx) -> None:
    client = Client(Connection(awx.url, awx.limited_token({})))
    with pytest.raises(AwxError, match=r"may not do POST /api/v2/credential_types/.*administrator"):
        client.post("credential_types/", {"name": "x", "kind": "cloud"})


@pytest.mark.awx_stand_in
def test_a_restart_of_awx_is_sat_out(awx: Awx, monkeypatch: pytest.MonkeyPatch) -> None:
    assert awx.stand_in
    monkeypatch.setattr("roles.awx_setup.control.client._WAITS", (0.0, 0.0, 0.0))
    client = Client(Connection(awx.url, awx.token))
    awx.stand_in.faults.set(statuses=[502, 503])
    assert client.check()
    awx.stand_in.faults.set(always=503)
    with pytest.raises(AwxError, match=r"503.*is it starting"):
        client.check()


@pytest.mark.awx_stand_in
def test_a_certificate_is_always_checked(awx_with_tls: tuple[StandIn, Path]) -> None:
    stand_in, authority = awx_with_tls
    with pytest.raises(AwxError, match=r"not trusted.*awx_setup_ca_file"):
        Client(Connection(stand_in.url, stand_in.token)).check()
    trusting = Connection(stand_in.url, stand_in.token, ca_file=str(authority))
    assert Client(trusting).check()
    named = Connection(
        stand_in.url, username="admin", password=stand_in.password, ca_file=str(authority)
    )
    assert Client(named).check()
