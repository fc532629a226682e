"""Single objects of an AWX: made, changed and removed; what others made is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from roles.awx_setup.control.client import Awx as Client
from roles.awx_setup.control.client import Connection
from roles.awx_setup.control.objects import Objects, Outcome, Reference, Wanted, mark
from roles.awx_setup.control.refusals import AwxError
from roles.awx_setup.control.updates import update
from roles.awx_setup.control.workflow import bring_nodes
from tests.awx.fixtures import Awx
from tests.awx.setting_up import PLAYBOOKS, private_key


@pytest.fixture
def objects(awx: Awx) -> Iterator[Objects]:
    """What makes objects in an organisation of the test's own."""
    made = awx.send("POST", "organizations/", 201, json={"name": awx.unique})
    yield objects_in(awx)
    awx.remove_organization(made["id"])


def objects_in(awx: Awx, **options: Any) -> Objects:
    client = Client(Connection(awx.url, **awx.login))
    return Objects(client, awx.unique, "pf", **{"check": False, **options})


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
    assert not outcome.changed and "inventory 'theirs' was not made by this" in outcome.message
    assert awx.get(f"inventories/{theirs['id']}/")["description"] == "ours since 2019"


def test_an_organisation_that_others_use_is_left(awx: Awx, objects: Objects) -> None:
    path = f"organizations/?name={awx.unique}"
    found = awx.get(path)["results"][0]
    awx.send(
        "PATCH", f"organizations/{found['id']}/", 200, json={"description": mark(awx.unique, "pf")}
    )
    body = {"name": "theirs", "organization": found["id"]}
    awx.send("POST", "inventories/", 201, json=body)
    outcome = objects.absent(Wanted("organizations", awx.unique, shared=True))
    assert not outcome.changed
    assert outcome.message.endswith("is left: it has inventories 'theirs' of others")
    assert awx.get(path)["count"] == 1


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("credential_types", {"kind": "cloud"}), ("execution_environments", {"image": "pf:1"})],
)
def test_what_another_organisations_set_up_made_is_left(
    awx: Awx, objects: Objects, kind: str, fields: dict[str, str]
) -> None:
    client = Client(Connection(awx.url, **awx.login))
    theirs = Objects(client, f"{awx.unique} two", "pf", check=False)
    made = Wanted(kind, f"pf {awx.unique}", fields)
    number = (theirs.present(made).found or {})["id"]
    with pytest.raises(AwxError, match=r"made for another organisation.*awx_setup_prefix"):
        objects.present(Wanted(kind, f"pf {awx.unique}", {**fields, "description": "mine"}))
    assert not objects.absent(made).changed
    assert awx.get(f"{kind}/{number}/")["description"] == mark(f"{awx.unique} two", "pf")
    assert theirs.absent(made).changed


def test_a_credential_type_that_others_use_is_left(awx: Awx, objects: Objects) -> None:
    made = Wanted("credential_types", f"pf {awx.unique}", {"kind": "cloud"})
    kind = (objects.present(made).found or {})["id"]
    [organization] = awx.get(f"organizations/?name={awx.unique}")["results"]
    body = {"name": "theirs", "credential_type": kind, "organization": organization["id"]}
    theirs = awx.send("POST", "credentials/", 201, json={**body, "inputs": {}})
    outcome = objects.absent(made)
    assert not outcome.changed and "it has credentials 'theirs' of others" in outcome.message
    awx.send("DELETE", f"credentials/{theirs['id']}/", 204)
    assert objects.absent(made).changed


def test_schedules_that_are_no_longer_wanted_are_removed_and_those_of_others_stay(
    awx: Awx, objects: Objects
) -> None:
    flow = Reference("workflow_job_templates", "pf")
    number = (objects.present(wanted(flow.kind, "pf", awx.unique)).found or {})["id"]
    rule = {"rrule": "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"}
    for name in ("one", "two"):
        above = {"unified_job_template": flow}
        objects.present(Wanted("schedules", name, rule, above, within="unified_job_template"))
    path = f"{flow.kind}/{number}/schedules/"
    awx.send("POST", path, 201, json={"name": "theirs", **rule})
    keeping = wanted(flow.kind, "pf", awx.unique, keeps={"schedules": ["two"]})
    assert objects_in(awx, check=True).present(keeping).before == {"schedules": ["one"]}
    assert objects.present(keeping).changed
    assert {one["name"] for one in awx.get(path)["results"]} == {"two", "theirs"}
    assert not objects.present(keeping).changed


@pytest.mark.awx_stand_in
def test_a_credential_takes_the_place_of_another_of_its_type(awx: Awx, objects: Objects) -> None:
    assert awx.stand_in
    awx.stand_in.awx.jobs.offered = PLAYBOOKS
    source = {"scm_type": "git", "scm_url": "https://git.example.com/plugfleet.git"}
    project = objects.present(wanted("projects", "pf", awx.unique, fields=source)).found or {}
    awx.wait(f"projects/{project['id']}/", status="successful")
    for name in ("old", "new"):
        refers = {
            "organization": Reference("organizations", awx.unique),
            "credential_type": Reference("credential_types", "Machine"),
        }
        objects.present(Wanted("credentials", name, {"inputs": {}}, refers))

    def bring(credential: str) -> list[str]:
        found = objects.present(
            Wanted(
                "job_templates",
                "pf",
                {"playbook": "deploy-plugins.yml", "ask_inventory_on_launch": True},
                {"project": Reference("projects", "pf")},
                {"credentials": [Reference("credentials", credential)]},
            )
        ).found
        assert found
        there = awx.get(f"job_templates/{found['id']}/credentials/")["results"]
        return [one["name"] for one in there]

    assert bring("old") == ["old"]
    assert bring("new") == ["new"]


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
    assert bring(objects, username="b", password="two", ssh_key_data=private_key()).changed
    outcome = bring(objects_in(awx, update_secrets=True), username="b", password="three")
    assert outcome.changed
    assert "three" not in str((outcome.before, outcome.after))
    if awx.stand_in:
        held = awx.stand_in.awx.store.find("credentials", name="pf")[0]["inputs"]
        assert held == {"username": "b", "password": "three"}


@pytest.mark.parametrize("emptied", [{}, {"password": ""}, {"password": None}])
def test_a_secret_that_is_no_longer_given_goes(
    awx: Awx, objects: Objects, emptied: dict[str, str | None]
) -> None:
    refers = {
        "organization": Reference("organizations", awx.unique),
        "credential_type": Reference("credential_types", "Machine"),
    }
    login = {"username": "a", "ssh_key_data": private_key()}
    for inputs, changes in (
        ({**login, "password": "one"}, (True, False)),
        ({**login, **emptied}, (True, False)),
    ):
        told = Wanted("credentials", "pf", {"inputs": inputs}, refers)
        assert tuple(objects.present(told).changed for _ in range(2)) == changes
    [found] = awx.get("credentials/", params={"organization__name": awx.unique})["results"]
    assert found["inputs"] == {"username": "a", "ssh_key_data": "$encrypted$"}


def test_what_is_no_longer_given_of_a_notification_goes_and_what_awx_fills_in_stays(
    awx: Awx, objects: Objects
) -> None:
    def bring(**more: Any) -> Outcome:
        hook = {"url": "https://chat.example.com", "headers": {}, **more}
        fields = {"notification_type": "webhook", "notification_configuration": hook}
        return objects.present(wanted("notification_templates", "pf", awx.unique, fields=fields))

    assert bring(username="me", password="s", http_method="PUT").changed
    assert not bring(username="me", password="s", http_method="PUT").changed
    outcome = bring()
    assert outcome.changed
    assert not bring().changed
    [found] = awx.get("notification_templates/?organization__name=" + awx.unique)["results"]
    configuration = found["notification_configuration"]
    assert (configuration["username"], configuration["http_method"]) == ("", "POST")


def test_a_reference_that_is_no_longer_given_goes(awx: Awx, objects: Objects) -> None:
    objects.present(Wanted("execution_environments", f"pf {awx.unique}", {"image": "pf:1"}))
    fields = {"scm_type": "git", "scm_url": "https://git.example.com/plugfleet.git"}

    def bring(using: Objects, image: Reference | None) -> Outcome:
        refers = {
            "organization": Reference("organizations", awx.unique),
            "default_environment": image,
        }
        return using.present(Wanted("projects", "pf", fields, refers))

    image = Reference("execution_environments", f"pf {awx.unique}")
    dry = objects_in(awx, check=True)
    assert bring(objects, None).changed
    missing = Reference("execution_environments", f"pf {awx.unique} of check mode")
    assert bring(dry, missing).after == {"default_environment": str(missing)}
    assert bring(objects, image).changed and not bring(objects, image).changed
    assert bring(dry, None).after == {"default_environment": None}
    outcome = bring(objects, None)
    assert outcome.changed and (outcome.found or {})["default_environment"] is None
    assert not bring(objects, None).changed
    assert objects.absent(Wanted("execution_environments", f"pf {awx.unique}")).changed
    awx.wait(f"projects/{(outcome.found or {})['id']}/")


def test_two_set_ups_of_one_organisation_leave_each_others_objects(
    awx: Awx, objects: Objects
) -> None:
    other = Objects(Client(Connection(awx.url, **awx.login)), awx.unique, "pf two", check=False)
    hook = {"url": "https://chat.example.com", "headers": {}}
    fields = {"notification_type": "webhook", "notification_configuration": hook}
    for using, name in ((objects, "pf chat"), (objects, "pf mail"), (other, "pf two chat")):
        using.present(wanted("notification_templates", name, awx.unique, fields=fields))
    keeps = {"notification_templates": ["pf mail"]}
    keeping = Wanted("organizations", awx.unique, keeps=keeps)
    assert objects_in(awx, check=True).keep(keeping).changed
    assert objects.keep(keeping).changed
    assert not objects.keep(keeping).changed
    path = "notification_templates/?organization__name=" + awx.unique
    assert {one["name"] for one in awx.get(path)["results"]} == {"pf mail", "pf two chat"}


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
