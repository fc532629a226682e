"""What the role makes of an AWX that keeps things in another form, puts a removal off, or says no."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from roles.awx_setup.control.client import Awx as Client
from roles.awx_setup.control.client import Connection
from roles.awx_setup.control.objects import Objects, Outcome, Reference, Wanted, mark
from roles.awx_setup.control.refusals import AwxError, EventsPending
from roles.awx_setup.control.workflow import bring_nodes
from tests.awx.fixtures import Awx
from tests.awx.stage import Stage
from tests.awx.test_awx_rules import MAIL


@pytest.fixture
def objects(awx: Awx) -> Iterator[Objects]:
    """What makes objects in an organisation of the test's own."""
    made = awx.send("POST", "organizations/", 201, json={"name": awx.unique})
    yield Objects(Client(Connection(awx.url, **awx.login)), awx.unique, "pf", check=False)
    awx.remove_organization(made["id"])


def wanted(awx: Awx, kind: str, **more: Any) -> Wanted:
    refers = {"organization": Reference("organizations", awx.unique)}
    return Wanted(kind, "pf", refers=refers, **more)


@pytest.mark.parametrize(
    "rule",
    [
        "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1",
        "DTSTART;TZID=Europe/London:20300101T020000\nRRULE:FREQ=DAILY;INTERVAL=1\n",
        "DTSTART;TZID=Europe/London:20300101T020000 RRULE:FREQ=DAILY;INTERVAL=1;UNTIL=20300801T020000",
        "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1;UNTIL=20300801T020000",
    ],
)
def test_a_rule_that_awx_writes_otherwise_is_the_same(
    awx: Awx, objects: Objects, rule: str
) -> None:
    objects.present(wanted(awx, "workflow_job_templates"))
    above = {"unified_job_template": Reference("workflow_job_templates", "pf")}

    def bring(rule: str) -> bool:
        fields = {"rrule": rule}
        return objects.present(
            Wanted("schedules", "pf", fields, above, within="unified_job_template")
        ).changed

    assert bring(rule) and not bring(rule)
    assert bring(rule.replace("INTERVAL=1", "INTERVAL=2"))


def test_a_mail_without_login_is_changed_and_keeps_what_awx_asks_for(
    awx: Awx, objects: Objects
) -> None:
    def bring(**more: Any) -> Outcome:
        fields = {"notification_type": "email", "notification_configuration": {**MAIL, **more}}
        return objects.present(wanted(awx, "notification_templates", fields=fields))

    assert bring().changed and not bring().changed
    assert bring(username="awx", password="secret").changed
    assert bring(port=587).changed
    assert not bring(port=587).changed
    [found] = awx.get("notification_templates/?organization__name=" + awx.unique)["results"]
    assert found["notification_configuration"]["password"] == ""


def test_the_ways_of_a_workflow_are_turned_round(awx: Awx, objects: Objects) -> None:
    def bring(**ways: dict[str, list[str]]) -> dict[str, Any]:
        outcome = objects.present(wanted(awx, "workflow_job_templates"))
        nodes = [
            {"identifier": name, "approval": {"name": name}, **ways.get(name, {})} for name in "abc"
        ]
        bring_nodes(objects, outcome, nodes)
        return outcome.after

    assert bring(a={"success": ["b"]}, b={"success": ["c"]})
    assert bring(a={"success": ["b"]}, b={"success": ["c"]}) == {}
    assert bring(b={"success": ["a"]}, c={"success": ["b"]}) == {
        "node a is followed by": {"success_nodes": []},
        "node b is followed by": {"success_nodes": ["a"]},
        "node c is followed by": {"success_nodes": ["b"]},
    }
    # AWX has two nodes follow in one way only; the new one comes after the old one is gone.
    for way in ("always", "failure", "success"):
        assert bring(a={way: ["b"]})
        assert bring(a={way: ["b"]}) == {}


def test_an_inventory_on_its_way_out_is_waited_for(awx: Awx, objects: Objects) -> None:
    inventory = wanted(awx, "inventories")
    first = objects.present(inventory).found or {}
    awx.send("DELETE", f"inventories/{first['id']}/", 202)
    second = objects.present(inventory).found or {}
    assert second["id"] != first["id"]
    awx.send("DELETE", f"inventories/{second['id']}/", 202)
    objects.absent(inventory)
    assert awx.get("inventories/?organization__name=" + awx.unique)["count"] == 0


@pytest.mark.awx_stand_in
def test_a_removal_waits_for_events_and_not_for_jobs(awx: Awx) -> None:
    assert awx.stand_in
    jobs, stage = awx.stand_in.awx.jobs, Stage(awx, ["h1"])
    [organization] = awx.get("organizations/")["results"]
    client = Client(Connection(awx.url, awx.token))
    objects = Objects(client, organization["name"], "pf", check=False)
    stage.change(description=mark(organization["name"], "pf"))
    template = Wanted("job_templates", stage.name)
    jobs.stuck.set()
    jobs.deliveries.rule.lost = frozenset({3})
    number = awx.send("POST", f"job_templates/{stage.template}/launch/", 201)["job"]
    with pytest.raises(AwxError, match=r"running jobs.*job.*cancel them.*run this again"):
        objects.absent(template)
    jobs.stuck.clear()
    awx.wait(f"jobs/{number}/")
    with pytest.raises(EventsPending, match="still processing events"):
        client.delete(f"job_templates/{stage.template}/")

    def write_the_last() -> None:
        jobs.events(number).emitted -= 1

    threading.Timer(0.1, write_the_last).start()
    assert objects.absent(template).changed


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("ssh_key_data", "KEY-WITHOUT-A-BEGINNING"),
        ("ssh_key_data", "-----BEGIN NOTHING-----\nSECRET"),
        ("password", 271828),
    ],
)
def test_what_awx_quotes_of_a_secret_is_not_repeated(
    awx: Awx, objects: Objects, name: str, secret: Any
) -> None:
    refers = {
        "organization": Reference("organizations", awx.unique),
        "credential_type": Reference("credential_types", "Machine"),
    }
    login = {"inputs": {"username": "me", name: secret}}
    with pytest.raises(AwxError, match=rf"take {name}, in words that quote it") as caught:
        objects.present(Wanted("credentials", "pf", login, refers))
    assert str(secret)[:10] not in str(caught.value)


@pytest.mark.awx_stand_in
def test_an_awx_without_tokens_says_so_and_takes_a_password(awx: Awx) -> None:
    assert awx.stand_in
    awx.stand_in.awx.rights.has_tokens = False
    with pytest.raises(AwxError, match=r"knows no tokens.*awx_setup_username"):
        Client(Connection(awx.url, awx.token)).check()
    named = Connection(awx.url, username="admin", password=awx.stand_in.password)
    assert Client(named).check()
    wrong = Connection(awx.url, username="admin", password="wrong")
    with pytest.raises(AwxError, match="does not know the token or password"):
        Client(wrong).check()


@pytest.mark.awx_stand_in
def test_an_awx_behind_the_gateway_is_found_below_its_path(awx: Awx) -> None:
    assert awx.stand_in
    for number in range(3):
        awx.send("POST", "organizations/", 201, json={"name": f"o{number}"})
    awx.stand_in.awx.behind_gateway = True
    with pytest.raises(AwxError, match="ends with /api/controller"):
        Client(Connection(awx.url, awx.token)).check()
    for path in ("/api/controller", "/api/controller/v2/"):
        client = Client(Connection(awx.url + path, awx.token))
        assert client.check()
        assert len(list(client.all("organizations/", page_size=2))) == 3


@pytest.mark.awx_stand_in
def test_what_the_platform_does_not_let_awx_make_is_said_in_its_words(awx: Awx) -> None:
    assert awx.stand_in
    said = (
        "Creation of this resource is not allowed. Create this resource via the platform ingress."
    )
    awx.stand_in.awx.rights.not_to_be_made = {"organizations": said}
    client = Client(Connection(awx.url, awx.token))
    with pytest.raises(AwxError, match="via the platform ingress") as caught:
        client.post("organizations/", {"name": "x"})
    assert "system administrator" not in str(caught.value)
