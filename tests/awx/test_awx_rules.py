"""What AWX refuses of the objects that awx-setup makes. The same tests hold for the stand-in and for a real AWX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.awx.fixtures import Awx
from tests.awx.setting_up import private_key


@pytest.fixture
def organization(awx: Awx) -> Iterator[int]:
    """An organisation of the test's own."""
    number = awx.send("POST", "organizations/", 201, json={"name": awx.unique})["id"]
    yield number
    awx.remove_organization(number)


URL = {"id": "url", "label": "Address", "type": "string"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "ssh"}, "Must be 'cloud' or 'net'"),
        ({"inputs": {"fields": [{"id": "url"}]}}, "label"),
        ({"inputs": {"fields": [{**URL, "id": "my-url"}]}}, "invalid variable name"),
        ({"inputs": {"fields": [{**URL, "id": "tower"}]}}, "reserved field name"),
        ({"inputs": {"fields": [URL, URL]}}, "must be unique"),
        ({"inputs": {"fields": [{**URL, "hint": "x"}]}}, "hint"),
        (
            {"inputs": {"fields": [{**URL, "type": "boolean", "secret": True}]}},
            "secret not allowed",
        ),
        ({"injectors": {"env": {"ANSIBLE_CONFIG": "x"}}}, "may affect Ansible configuration"),
        ({"injectors": {"env": {"TOKEN": "{{ token }}"}}}, "undefined field"),
        ({"injectors": {"env": {"FILE": "{{ tower.filename }}"}}}, "FILE uses an undefined field"),
        ({"injectors": {"file": {"config": "x"}}}, "config"),
        ({"injectors": {"extra_vars": {"a": "{{ url"}}}, "Syntax error"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_credential_type_is_refused(awx: Awx, given: dict[str, Any], said: str) -> None:
    whole = {"name": awx.unique, "kind": "cloud", "inputs": {"fields": [URL]}, **given}
    assert said in str(awx.send("POST", "credential_types/", 400, json=whole))


def test_the_inputs_of_a_credential_type_stay_while_credentials_have_them(
    awx: Awx, organization: int
) -> None:
    given = {"name": awx.unique, "kind": "cloud", "inputs": {"fields": [URL]}}
    kind = awx.send("POST", "credential_types/", 201, json=given)["id"]
    made = {"name": "pf", "organization": organization, "credential_type": kind, "inputs": {}}
    number = awx.send("POST", "credentials/", 201, json=made)["id"]
    path = f"credential_types/{kind}/"
    awx.send("PATCH", path, 403, json={"inputs": {"fields": [{**URL, "secret": True}]}})
    awx.send("PATCH", path, 200, json={"injectors": {"env": {"URL": "{{ url }}"}}})
    awx.send("DELETE", path, 403)
    awx.send("DELETE", f"credentials/{number}/", 204)
    awx.send("DELETE", path, 204)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"ssh_key_data": "no key"}, "Invalid certificate or key: no key"),
        ({"ssh_key_data": "{key}", "ssh_key_unlock": "x"}, "should not be set"),
        ({"user": "x"}, "Additional properties are not allowed"),
        ({"username": 7}, "is not of type 'string'"),
        ({"password": "$encrypted$"}, "reserved keyword"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_credential_is_refused(
    awx: Awx, organization: int, inputs: dict[str, Any], said: str
) -> None:
    whole = {name: private_key() if value == "{key}" else value for name, value in inputs.items()}
    machine = awx.get("credential_types/?name=Machine")["results"][0]["id"]
    given = {"name": "pf", "credential_type": machine, "inputs": whole}
    refused = awx.send("POST", "credentials/", 400, json={**given, "organization": organization})
    assert said in str(refused)
    del given["inputs"]
    assert "Missing" in str(awx.send("POST", "credentials/", 400, json=given))


MAIL = {
    "host": "mail.example.com",
    "port": 25,
    "username": "",
    "password": "",
    "use_tls": False,
    "use_ssl": False,
    "sender": "awx@example.com",
    "recipients": ["ops@example.com"],
}


@pytest.mark.parametrize(
    ("kind", "configuration", "said"),
    [
        ("webhook", {"url": "https://chat.example.com"}, "Missing required fields"),
        ("webhook", {"url": "https://x", "headers": {}, "http_method": "GET"}, "HTTP method must"),
        ("email", {**MAIL, "port": "25"}, "'port' incorrect type"),
        ("email", {**MAIL, "recipients": []}, "No values specified for field 'recipients'"),
        ("email", {n: v for n, v in MAIL.items() if n != "username"}, "Missing required fields"),
        ("email", MAIL, ""),
    ],
    ids=str,
)
def test_a_notification_needs_all_that_its_type_asks_for(
    awx: Awx, organization: int, kind: str, configuration: dict[str, Any], said: str
) -> None:
    given = {"name": "pf", "organization": organization, "notification_type": kind}
    given["notification_configuration"] = configuration
    answer = awx.send("POST", "notification_templates/", 400 if said else 201, json=given)
    assert said in str(answer)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("required", "yes", "expected to be boolean"),
        ("type", "number", "allowed question types"),
        ("min", "1", "expected to be integer"),
        ("default", "1", "integer"),
    ],
)
def test_a_survey_is_refused(
    awx: Awx, organization: int, field: str, value: Any, said: str
) -> None:
    given = {"name": "pf", "organization": organization}
    number = awx.send("POST", "workflow_job_templates/", 201, json=given)["id"]
    question = {"question_name": "?", "variable": "a", "type": "integer", "required": True}
    survey = {"name": "", "description": "", "spec": [{**question, field: value}]}
    path = f"workflow_job_templates/{number}/survey_spec/"
    assert said in str(awx.send("POST", path, 400, json=survey))


def test_nodes_are_followed_in_one_way_only_and_in_no_circle(awx: Awx, organization: int) -> None:
    given = {"name": "pf", "organization": organization}
    flow = awx.send("POST", "workflow_job_templates/", 201, json=given)["id"]
    nodes = [
        awx.send(
            "POST", f"workflow_job_templates/{flow}/workflow_nodes/", 201, json={"identifier": name}
        )["id"]
        for name in "abc"
    ]

    def follow(one: int, other: int, way: str, status: int) -> str:
        path = f"workflow_job_template_nodes/{nodes[one]}/{way}_nodes/"
        return str(awx.send("POST", path, status, json={"id": nodes[other]}))

    follow(0, 1, "success", 204)
    follow(1, 2, "always", 204)
    assert "Relationship not allowed" in follow(0, 1, "failure", 400)
    assert "Cycle detected" in follow(2, 0, "success", 400)
    assert "Cycle detected" in follow(1, 1, "success", 400)


def test_inventories_outlive_their_organisation(awx: Awx) -> None:
    organization = awx.send("POST", "organizations/", 201, json={"name": awx.unique})["id"]
    given = {"name": awx.unique, "organization": organization}
    number = awx.send("POST", "inventories/", 201, json=given)["id"]
    awx.send("DELETE", f"organizations/{organization}/", 204)
    assert awx.get(f"inventories/{number}/")["organization"] is None
    awx.send("DELETE", f"inventories/{number}/", 202)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scm_type": "git"}, "SCM URL is required"),
        ({"scm_type": "cvs", "scm_url": "https://git.example.com/x"}, "not a valid choice"),
    ],
)
def test_a_project_is_refused(
    awx: Awx, organization: int, fields: dict[str, str], said: str
) -> None:
    given = {"name": "pf", "organization": organization, **fields}
    assert said in str(awx.send("POST", "projects/", 400, json=given))


@pytest.mark.awx_stand_in
@pytest.mark.parametrize(
    ("field", "text"),
    [("name", "deploy?"), ("description", "<b>ours</b>"), ("description", "{{ ours }}")],
)
def test_an_awx_that_looks_at_texts_refuses_some(
    awx: Awx, organization: int, field: str, text: str
) -> None:
    given = {"name": "pf", "organization": organization, field: text}
    assert awx.stand_in
    awx.stand_in.awx.objects.looks_at_texts = True
    assert field in awx.send("POST", "inventories/", 400, json=given)


@pytest.mark.awx_stand_in
def test_a_project_is_fetched_again_when_its_address_changes(awx: Awx, organization: int) -> None:
    given = {"scm_type": "git", "scm_url": "https://git.example.com/x.git"}
    project = awx.send(
        "POST", "projects/", 201, json={"name": "pf", "organization": organization, **given}
    )["id"]
    path = f"projects/{project}/"
    awx.wait(path, status="successful")
    awx.send("PATCH", path, 200, json={"scm_update_on_launch": True})
    assert awx.get(f"{path}project_updates/")["count"] == 1
    awx.send("PATCH", path, 200, json={"scm_branch": "next"})
    assert awx.get(f"{path}project_updates/")["count"] == 2
