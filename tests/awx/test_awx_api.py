"""What plugfleet builds on of AWX's API. The same tests hold for the stand-in and for a real AWX."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from controller.awx.client import Awx as Client
from controller.awx.following import Follower
from tests.awx.fixtures import Awx
from tests.awx.simulated import Play

ASKED = ("limit", "job_type", "variables")


class Made:
    """An organisation with a project, an inventory of three hosts and a job template."""

    def __init__(self, awx: Awx) -> None:
        self.awx = awx
        self.name = f"pf-{awx.unique}"
        self.organization = self.add("organizations/")
        here = {"organization": self.organization}
        self.inventory = self.add("inventories/", **here)
        for host in ("h1", "h2", "h3"):
            self.add("hosts/", name=host, inventory=self.inventory)
        url = "https://github.com/ansible/ansible-tower-samples.git"
        self.project = self.add("projects/", scm_type="git", scm_url=url, **here)
        if awx.stand_in:
            awx.stand_in.awx.jobs.offered = ["hello_world.yml"]
        awx.wait(f"projects/{self.project}/", status="successful")
        self.template = self.add(
            "job_templates/",
            project=self.project,
            inventory=self.inventory,
            playbook="hello_world.yml",
            **{f"ask_{what}_on_launch": True for what in ASKED},
        )

    def add(self, path: str, **values: Any) -> int:
        """Make an object; returns its id."""
        made = self.awx.send("POST", path, 201, json={"name": self.name, **values})
        return int(made["id"])

    def change(self, **values: Any) -> None:
        """Change the job template."""
        self.awx.send("PATCH", f"job_templates/{self.template}/", 200, json=values)

    def launch(self, status: int = 201, **given: Any) -> Any:
        """Launch the job template."""
        return self.awx.send("POST", f"job_templates/{self.template}/launch/", status, json=given)

    def close(self) -> None:
        """Remove what was made, for the sake of a real AWX."""
        if not self.awx.stand_in:
            self.awx.remove_organization(self.organization)


@pytest.fixture
def made(awx: Awx) -> Any:
    objects = Made(awx)
    yield objects
    objects.close()


def test_a_launch_is_answered_with_a_job_that_ends(made: Made) -> None:
    launched = made.launch(limit="h1", extra_vars={"wave": "1-2"})
    assert launched["ignored_fields"] == {}
    job = made.awx.wait(f"jobs/{launched['job']}/")
    assert job["limit"] == "h1" and '"wave": "1-2"' in job["extra_vars"]
    assert (job["status"] == "successful") is not job["failed"]
    made.awx.send("POST", f"jobs/{launched['job']}/cancel/", 405)


def test_what_the_template_does_not_ask_for_is_ignored_and_named(made: Made) -> None:
    made.change(ask_limit_on_launch=False, ask_variables_on_launch=False)
    launched = made.launch(limit="h1", extra_vars={"wave": 1})
    assert launched["ignored_fields"] == {"limit": "h1", "extra_vars": {"wave": 1}}


def test_events_come_by_page_and_are_complete_when_awx_says_so(made: Made) -> None:
    number = made.launch()["job"]
    made.awx.wait(f"jobs/{number}/", event_processing_finished=True)
    path = f"jobs/{number}/job_events/?order_by=counter&page_size=2"
    counters, after = [], 0
    while page := made.awx.get(f"{path}&counter__gt={after}")["results"]:
        assert {"event", "event_data", "counter", "uuid", "stdout", "created"} <= page[0].keys()
        counters += [event["counter"] for event in page]
        after = counters[-1]
    assert counters == list(range(1, made.awx.get(path)["count"] + 1))


def test_a_list_has_pages_of_200_at_most(made: Made) -> None:
    page = made.awx.get(f"inventories/{made.inventory}/hosts/?page_size=2&order_by=-name")
    assert [host["name"] for host in page["results"]] == ["h3", "h2"]
    assert page["count"] == 3 and page["previous"] is None
    assert "page=2" in page["next"]
    assert made.awx.get("hosts/?page_size=1000")["count"] >= 3
    assert made.awx.get(f"hosts/?name__in=h1,h2&inventory={made.inventory}")["count"] == 2


@pytest.mark.parametrize(
    ("query", "status"), [("extra_vars=1", 403), ("nonsense=1", 400), ("page=99", 404)]
)
def test_what_cannot_be_looked_for(made: Made, query: str, status: int) -> None:
    made.awx.get(f"job_templates/?{query}", status)


SURVEY = {
    "name": "s",
    "description": "",
    "spec": [{"question_name": "Which?", "question_description": "", "variable": "plugin_release",
              "type": "integer", "required": True, "default": "", "min": 1, "max": 9}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "'plugin_release' value missing"),
        ({"plugin_release": "1"}, "expected to be an integer"),
        ({"plugin_release": 0}, "too small"),
        ({"plugin_release": 10}, "too large"),
    ],
)
def test_a_survey_refuses_answers(made: Made, given: dict[str, Any], said: str) -> None:
    made.awx.send("POST", f"job_templates/{made.template}/survey_spec/", 200, json=SURVEY)
    made.change(survey_enabled=True)
    refused = made.launch(400, extra_vars=given)
    assert said in refused["variables_needed_to_start"][0]


RULES = [
    ("FREQ=DAILY;INTERVAL=1", "DTSTART"),
    ("DTSTART:20300101T020000Z RRULE:FREQ=DAILY", "INTERVAL required"),
    ("DTSTART:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1", "naive datetime"),
    ("DTSTART:20300101T020000Z RRULE:FREQ=SECONDLY;INTERVAL=1", "SECONDLY"),
    ("DTSTART;TZID=Nowhere:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1", "parsing failed"),
    ("DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1;UNTIL=20310101", "parsing failed"),
    ("DTSTART:20300101T020000Z RRULE:FREQ=OFTEN;INTERVAL=1", "parsing failed"),
    (
        "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1 RDATE:20300102T020000Z",
        "RDATE not allowed",
    ),
    ("DTSTART;TZID=Europe/London:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1", ""),
    (
        "DTSTART:20300101T100000Z RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,TU;BYHOUR=10,14;BYMINUTE=0",
        "",
    ),
]


@pytest.mark.parametrize(("rule", "said"), RULES)
def test_a_schedule_needs_its_start_and_interval(awx: Awx, rule: str, said: str) -> None:
    answer = awx.client.post("schedules/preview/", json={"rrule": rule})
    assert answer.status_code == (400 if said else 200)
    assert said in answer.text


def test_a_schedule_brings_along_only_what_its_template_asks_for(made: Made) -> None:
    rule = "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"
    path = f"job_templates/{made.template}/schedules/"
    body = {"name": made.name, "rrule": rule, "job_type": "check", "limit": "h1"}
    assert made.awx.send("POST", path, 201, json=body)["next_run"].startswith("2030-01-01T02:00")
    made.change(ask_limit_on_launch=False)
    assert "limit" in made.awx.send("POST", path, 400, json=body | {"name": "other"})


@pytest.mark.awx_tokens
def test_a_token_that_may_launch_one_template_may_do_nothing_else(made: Made) -> None:
    token = made.awx.limited_token(
        {f"job_templates/{made.template}": "Execute", f"inventories/{made.inventory}": "Read"}
    )
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=made.awx.client.base_url, headers=headers, timeout=60) as limited:
        launched = limited.post(f"job_templates/{made.template}/launch/", json={"limit": "h1"})
        assert launched.status_code == 201
        number = launched.json()["job"]
        assert limited.get(f"jobs/{number}/job_events/").status_code == 200
        assert limited.get(f"inventories/{made.inventory}/hosts/").json()["count"] == 3
        path = f"job_templates/{made.template}/"
        assert limited.patch(path, json={"limit": "all"}).status_code == 403
        assert limited.get(f"projects/{made.project}/").status_code == 403
        assert limited.get("projects/").json()["count"] == 0
    assert httpx2.get(f"{made.awx.url}/api/v2/me/", timeout=60).status_code == 401


def test_the_controllers_client_launches_follows_and_cancels_with_the_least_rights(
    made: Made,
) -> None:
    """With the sample project's playbook that says hello: no host is needed."""
    login = made.awx.limited_login(
        {f"job_templates/{made.template}": "Execute", f"inventories/{made.inventory}": "Read"}
    )
    client = Client(made.awx.url, login["awx_token"], user=login["awx_user"])
    template = client.template(made.name)
    assert template["id"] == made.template and client.template(str(made.template)) == template
    launched = client.launch(made.template, {"limit": "h1", "forks": 7})
    assert launched.ignored == {"forks": 7}
    follower, counters = Follower(client, launched.id), []
    state = client.job(launched.id)
    while not (state.ended and state.processed) or follower.more:
        time.sleep(made.awx.pause)
        state = client.job(launched.id)
        counters += [event["counter"] for event in follower.read()]
    counters += [event["counter"] for event in follower.read()]
    emitted = made.awx.get(f"jobs/{launched.id}/job_events/")["count"]
    assert sorted(counters) == list(range(1, emitted + 1)) and not follower.holes
    client.cancel(launched.id)  # which has ended, and does not mind
    if made.awx.stand_in:
        made.awx.stand_in.awx.jobs.pace = 0.2
    second = client.launch(made.template, {"limit": "h1"}).id
    client.cancel(second)  # a real AWX takes seconds to begin
    assert made.awx.wait(f"jobs/{second}/")["status"] == "canceled"
    assert {job["id"] for job in client.newest_jobs(made.template, 1)} == {launched.id, second}
    client.close()


@pytest.mark.awx_tokens
def test_users_of_limited_tokens_go_with_the_test(made: Made) -> None:
    before = made.awx.get("users/")["count"]
    token = made.awx.limited_token({})
    made.awx.forget_users()
    assert made.awx.get("users/")["count"] == before
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{made.awx.url}/api/v2/me/", headers=headers, timeout=60).status_code == 401


def test_secrets_are_not_shown_and_are_kept_when_sent_back(made: Made) -> None:
    machine = made.awx.get("credential_types/?name=Machine")["results"][0]["id"]
    inputs = {"username": "deploy", "password": "hidden"}
    number = made.add(
        "credentials/",
        credential_type=machine,
        organization=made.organization,
        inputs=inputs,
    )
    path = f"credentials/{number}/"
    shown = {"username": "deploy", "password": "$encrypted$"}
    assert made.awx.get(path)["inputs"] == shown
    sent = made.awx.send("PATCH", path, 200, json={"inputs": {**shown, "username": "root"}})
    assert sent["inputs"] == {"username": "root", "password": "$encrypted$"}
    if made.awx.stand_in:
        kept = made.awx.stand_in.awx.store.get("credentials", number)
        assert kept["inputs"]["password"] == "hidden"
    made.awx.send("DELETE", path, 204)


def test_a_second_object_of_a_name_is_refused(made: Made) -> None:
    refused = made.awx.send("POST", "organizations/", 400, json={"name": made.name})
    assert "already exists" in str(refused)


def test_slices_take_every_nth_host_before_the_limit(made: Made) -> None:
    made.change(job_slice_count=2, allow_simultaneous=True)
    launched = made.launch(limit="h2")
    assert launched["type"] == "workflow_job"
    run = made.awx.wait(f"workflow_jobs/{launched['id']}/")
    nodes = made.awx.get(f"workflow_jobs/{run['id']}/workflow_nodes/")["results"]
    jobs = [made.awx.get(f"jobs/{node['job']}/") for node in nodes]
    # The first slice has h1 and h3, of which the limit leaves none.
    by_slice = {job["job_slice_number"]: job["status"] for job in jobs}
    assert by_slice == {1: "failed", 2: "successful"}


@pytest.mark.awx_stand_in
def test_a_job_is_canceled_in_the_middle(made: Made) -> None:
    assert made.awx.stand_in
    made.awx.stand_in.awx.jobs.play = lambda job, hosts: Play(seconds=30)
    number = made.launch()["job"]
    made.awx.wait(f"jobs/{number}/", status="running")
    made.awx.send("POST", f"jobs/{number}/cancel/", 202)
    assert made.awx.wait(f"jobs/{number}/")["status"] == "canceled"


@pytest.mark.awx_stand_in
def test_what_a_node_leaves_are_variables_of_the_next_whatever_its_template_asks_for(
    made: Made,
) -> None:
    awx = made.awx
    made.change(ask_variables_on_launch=False)
    workflow = made.add("workflow_job_templates/", organization=made.organization)
    nodes = f"workflow_job_templates/{workflow}/workflow_nodes/"
    body = {"unified_job_template": made.template}
    first, second = (
        awx.send("POST", nodes, 201, json=body | {"identifier": name})["id"] for name in "ab"
    )
    path = f"workflow_job_template_nodes/{first}/success_nodes/"
    awx.send("POST", path, 204, json={"id": second})
    run = awx.send("POST", f"workflow_job_templates/{workflow}/launch/", 201)["workflow_job"]
    assert awx.wait(f"workflow_jobs/{run}/")["status"] == "successful"
    before, after = awx.get("jobs/?order_by=id")["results"]
    assert json.loads(before["extra_vars"]) == {}
    assert json.loads(after["extra_vars"]) == before["artifacts"] != {}


@pytest.mark.awx_stand_in
def test_a_workflow_waits_for_an_approval(made: Made) -> None:
    awx = made.awx
    workflow = made.add("workflow_job_templates/", organization=made.organization)
    nodes = f"workflow_job_templates/{workflow}/workflow_nodes/"
    first = awx.send("POST", nodes, 201, json={"identifier": "ask"})["id"]
    approval = {"name": "go on?", "timeout": 60}
    path = f"workflow_job_template_nodes/{first}/"
    awx.send("POST", f"{path}create_approval_template/", 201, json=approval)
    body = {"identifier": "deploy", "unified_job_template": made.template, "limit": "h1"}
    second = awx.send("POST", nodes, 201, json=body)["id"]
    awx.send("POST", f"{path}success_nodes/", 204, json={"id": second})
    run = awx.send("POST", f"workflow_job_templates/{workflow}/launch/", 201)["workflow_job"]
    while not (waiting := awx.get("workflow_approvals/")["results"]):
        pass
    assert awx.get("jobs/")["count"] == 0
    awx.send("POST", f"workflow_approvals/{waiting[0]['id']}/approve/", 204)
    assert awx.wait(f"workflow_jobs/{run}/")["status"] == "successful"
    assert awx.get("jobs/")["results"][0]["limit"] == "h1"
