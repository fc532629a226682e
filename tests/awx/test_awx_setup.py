"""`playbooks/awx-setup.yml`: what it makes of an AWX, and what it says where it cannot."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roles.awx_setup.control.client import Awx as Client
from roles.awx_setup.control.client import AwxError, Connection
from roles.awx_setup.control.objects import MARK, Objects, Outcome, Reference, Wanted
from roles.awx_setup.control.updates import update
from roles.awx_setup.control.workflow import bring_nodes
from tests.awx.fixtures import Awx
from tests.awx.setting_up import PLAYBOOKS, SetUp
from tests.awx.standin import StandIn

LOGIN = {"username": "deploy", "ssh_key_data": "KEY-HIDDEN", "become_method": "sudo"}
WEBHOOK = {
    "name": "chat",
    "type": "webhook",
    "tell_of": ["error", "approvals"],
    "configuration": {"url": "https://chat.example.com", "headers": {}, "password": "HOOK-HIDDEN"},
}
SECRETS = ("KEY-HIDDEN", "HOOK-HIDDEN", "TOKEN-HIDDEN")


@pytest.mark.awx_stand_in
def test_one_command_sets_an_awx_up_a_second_changes_nothing_and_absent_takes_it_back(
    awx: Awx, tmp_path: Path
) -> None:
    assert awx.stand_in
    awx.stand_in.awx.jobs.offered = PLAYBOOKS
    before = kept(awx)
    set_up = SetUp(
        awx,
        tmp_path,
        awx_setup_controller_url="https://plugfleet.example.com",
        awx_setup_controller_token="TOKEN-HIDDEN",
        awx_setup_controller_ca="PEM",
        awx_setup_login=LOGIN,
        awx_setup_notifications=[WEBHOOK],
    )
    told = set_up.run("--check", "--diff")
    assert kept(awx) == before
    assert "project: \"project 'pf" in told, "the diff names what is referred to"
    assert not [secret for secret in SECRETS if secret in told]

    assert set_up.changes() == 16
    assert {template["job_type"] for template in awx.get("job_templates/")["results"]} == {
        "run",
        "check",
    }
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

    other = awx.send("POST", "credential_types/", 201, json={"name": "theirs", "kind": "cloud"})
    assert set_up.changes("-e", "awx_setup_state=absent") == 14, "schedules go with their templates"
    awx.send("DELETE", f"credential_types/{other['id']}/", 204)
    assert kept(awx) == before


def kept(awx: Awx) -> dict[str, Any]:
    """Everything that AWX holds, without times and states."""
    assert awx.stand_in
    paths = ("organizations", "credential_types", "credentials", "projects", "inventories",
             "inventory_sources", "notification_templates", "job_templates", "schedules",
             "workflow_job_templates", "workflow_job_template_nodes")  # fmt: skip
    return {path: copy.deepcopy(awx.get(f"{path}/?page_size=200")["results"]) for path in paths}


@pytest.fixture
def objects(awx: Awx) -> Iterator[Objects]:
    """What makes objects in an organisation of the test's own."""
    made = awx.send("POST", "organizations/", 201, json={"name": awx.unique})
    yield objects_in(awx)
    awx.send("DELETE", f"organizations/{made['id']}/", 204)


def objects_in(awx: Awx, **options: Any) -> Objects:
    client = Client(Connection(awx.url, awx.token))
    return Objects(client, awx.unique, **{"check": False, **options})


def wanted(kind: str, name: str, organization: str, **more: Any) -> Wanted:
    refers = {"organization": Reference("organizations", organization)}
    return Wanted(kind, name, refers=refers, **more)


def test_an_object_of_somebody_elses_is_neither_changed_nor_removed(
    awx: Awx, objects: Objects
) -> None:
    number = awx.get(f"organizations/?name={awx.unique}")["results"][0]["id"]
    body = {"name": "theirs", "organization": number, "description": "ours since 2019"}
    theirs = awx.send("POST", "inventories/", 201, json=body)
    with pytest.raises(AwxError, match=r"did not make.*awx_setup_prefix"):
        objects.present(wanted("inventories", "theirs", awx.unique))
    outcome = objects.absent(wanted("inventories", "theirs", awx.unique))
    assert not outcome.changed and "was not made by awx-setup" in outcome.message
    assert awx.get(f"inventories/{theirs['id']}/")["description"] == "ours since 2019"


def test_an_organisation_that_others_use_is_left(awx: Awx, objects: Objects) -> None:
    path = f"organizations/?name={awx.unique}"
    found = awx.get(path)["results"][0]
    awx.send("PATCH", f"organizations/{found['id']}/", 200, json={"description": MARK})
    body = {"name": "theirs", "organization": found["id"]}
    awx.send("POST", "inventories/", 201, json=body)
    outcome = objects.absent(Wanted("organizations", awx.unique, shared=True))
    assert not outcome.changed
    assert outcome.message.endswith("is left: it has inventories 'theirs' of others")
    assert awx.get(path)["count"] == 1


def test_what_somebody_changed_in_awx_is_put_right(awx: Awx, objects: Objects) -> None:
    inventory = wanted("inventories", "pf", awx.unique, fields={"variables": "a: 1"})
    number = (objects.present(inventory).found or {})["id"]
    assert not objects.present(inventory).changed
    # Variables are the same in whatever form they are written.
    awx.send("PATCH", f"inventories/{number}/", 200, json={"variables": '{"a": 1}'})
    assert not objects.present(inventory).changed
    awx.send("PATCH", f"inventories/{number}/", 200, json={"variables": "a: 2"})
    outcome = objects.present(inventory)
    assert outcome.changed and outcome.before == {"variables": "a: 2"}
    assert awx.get(f"inventories/{number}/")["variables"] == "a: 1"


def test_a_secret_is_sent_again_only_on_request_or_where_there_is_none(
    awx: Awx, objects: Objects
) -> None:
    def bring(using: Objects, **inputs: str) -> Outcome:
        refers = {
            "organization": Reference("organizations", awx.unique),
            "credential_type": Reference("credential_types", "Machine"),
        }
        return using.present(Wanted("credentials", "pf", {"inputs": inputs}, refers))

    assert bring(objects, username="a", password="one").changed
    assert not bring(objects, username="a", password="two").changed
    assert bring(objects, username="b", password="two").changed
    assert bring(objects, username="b", password="two", ssh_key_data="key").changed
    outcome = bring(objects_in(awx, update_secrets=True), username="b", password="three")
    assert outcome.changed
    assert "three" not in str((outcome.before, outcome.after))
    if awx.stand_in:
        held = awx.stand_in.awx.store.find("credentials", name="pf")[0]["inputs"]
        assert held == {"username": "b", "password": "three", "ssh_key_data": "key"}


def test_nodes_of_a_workflow_are_made_changed_and_removed(awx: Awx, objects: Objects) -> None:
    flow = wanted("workflow_job_templates", "pf", awx.unique)
    ask = {"identifier": "ask", "approval": {"name": "go?", "timeout": 60}}

    def bring(*nodes: dict[str, Any]) -> bool:
        outcome = objects.present(flow)
        bring_nodes(objects, outcome, nodes)
        return outcome.changed

    again = {"identifier": "again", "approval": {"name": "really?"}}
    assert bring({**ask, "success": ["again"]}, again)
    assert not bring({**ask, "success": ["again"]}, again)
    assert bring({**ask, "approval": {"name": "go?", "timeout": 90}, "success": ["again"]}, again)
    assert bring(ask, again)
    assert bring(ask)
    assert not bring(ask)
    number = awx.get("workflow_job_templates/?name=pf")["results"][0]["id"]
    [node] = awx.get(f"workflow_job_templates/{number}/workflow_nodes/")["results"]
    assert node["identifier"] == "ask" and node["success_nodes"] == []
    with pytest.raises(AwxError, match="followed by 'nobody'"):
        bring({**ask, "success": ["nobody"]})


@pytest.mark.awx_stand_in
def test_a_project_that_awx_cannot_fetch_is_an_error_with_gits_own_words(
    awx: Awx, objects: Objects
) -> None:
    assert awx.stand_in
    awx.stand_in.awx.jobs.failing["project"] = "fatal: repository not found"
    fields = {"scm_type": "git", "scm_url": "https://git.example.com/gone.git"}
    outcome = objects.present(wanted("projects", "pf", awx.unique, fields=fields))
    assert outcome.found
    with pytest.raises(AwxError, match="project 'pf': fatal: repository not found"):
        update(objects.awx, "projects", outcome.found, again=False, timeout=10)
    awx.stand_in.awx.jobs.failing.clear()
    assert update(objects.awx, "projects", outcome.found, again=False, timeout=10)


def test_check_mode_makes_nothing_and_says_what_it_would(awx: Awx, objects: Objects) -> None:
    dry = objects_in(awx, check=True)
    outcome = dry.present(wanted("inventories", "pf", awx.unique))
    assert outcome.changed and outcome.found is None
    assert outcome.after["organization"] == f"organization {awx.unique!r}"
    assert awx.get("inventories/?name=pf&organization__name=" + awx.unique)["count"] == 0


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
    [("19.5.0", "needs 21 or newer"), ("3.8.6", "needs 21"), ("4.5.7", ""), ("24.6.1", "")],
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
