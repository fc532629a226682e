"""The inventory: what Ansible reads out of it, its secrets, and its ETag; on both databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from controller.auth.models import Scope
from controller.fleet.models import Host
from controller.inventory import service
from tests.awx.inventory import script, take
from tests.awx.store import Store
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def fleet(api: Api) -> Api:
    """w1 and w2 in web, d1 in db, lone in none; secrets at each level."""
    api.send("POST", "hostgroups", 201, json={"name": "web", "variables": {"colour": "red"}})
    api.send("POST", "hostgroups", 201, json={"name": "db", "secrets": {"pin": "db-secret"}})
    api.send("POST", "hostgroups", 201, json={"name": "empty"})
    api.send("PATCH", "hostgroups/all", 200, json={"secrets": {"ansible_password": "all-secret"}})
    for name, groups in (("w1", ["web"]), ("w2", ["web"]), ("d1", ["db"]), ("lone", [])):
        body = {"name": name, "hostgroups": groups, "variables": {"ansible_port": 22}}
        api.send("POST", "hosts", 201, json=body)
    body = {
        "address": "192.0.2.1",
        "agent_kind": "falcon",
        "secrets": {"ansible_password": "w1-secret"},
    }
    api.send("PATCH", "hosts/w1", 200, json=body)
    return api


def test_the_document_has_hosts_groups_states_and_the_release(
    fleet: Api, make_source: MakeSource
) -> None:
    publish(fleet, make_source())
    fleet.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "sys/ntp"})
    with fleet.context.database.write() as session:
        session.execute(update(Host).where(Host.name == "d1").values(state="failed"))
    found = fleet.get("inventory")
    w1 = found["_meta"]["hostvars"]["w1"]
    assert w1 == {
        "ansible_host": "192.0.2.1",
        "ansible_port": 22,
        "agent_config_kind": "falcon",
        "plugfleet_plan": "",  # its password is left out
    }
    assert found["web"] == {"hosts": ["w1", "w2"], "vars": {"colour": "red"}}
    assert found["empty"] == {"hosts": [], "vars": {}}
    assert found["pf_failed"] == {"hosts": ["d1"]}
    assert found["pf_pending"] == {"hosts": ["lone", "w1", "w2"]}
    assert set(found["all"]["children"]) == set(found) - {"_meta", "all"}
    release = fleet.get("releases/1")
    assert found["all"]["vars"] == {
        "plugin_bindings": {"web": ["sys/ntp"]},
        "plugin_source_release": {"number": 1, "commit": release["commit"]},
        "plugin_source_controller": fleet.context.settings.public_url,
    }


def test_only_who_gets_the_whole_plan_can_report_it(fleet: Api) -> None:
    digest = fleet.get("plans/w1")["digest"]
    limited = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    whole = fleet.get("inventory", params={"secrets": True})
    parts = [
        fleet.get("inventory"),  # without any secret
        limited.get("inventory", params={"secrets": True}).json(),  # without those of `all`
    ]
    told = [part["_meta"]["hostvars"]["w1"]["plugfleet_plan"] for part in (whole, *parts)]
    assert told == [digest, "", ""]


def test_ansible_reads_the_document_as_it_is_meant(fleet: Api, tmp_path: Path) -> None:
    fleet.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/ntp"})
    # The lowest of all, even below a hostgroup that comes before all the others.
    weak = {"ansible_group_priority": -5, "shade": "web"}
    fleet.send("PATCH", "hostgroups/web", 200, json={"variables": {"colour": "red", **weak}})
    own = {"colour": "grey", "shade": "all", "light": "all"}
    fleet.send("PATCH", "hostgroups/all", 200, json={"variables": own})
    script = tmp_path / "inventory.sh"
    (tmp_path / "document.json").write_text(json.dumps(fleet.get("inventory")))
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/document.json\n")
    script.chmod(0o755)
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(script), "--list"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")},
    )
    read = json.loads(done.stdout)
    assert read["web"]["hosts"] == ["w1", "w2"]
    assert read["pf_pending"]["hosts"] == ["d1", "lone", "w1", "w2"]
    w1 = read["_meta"]["hostvars"]["w1"]
    assert (w1["colour"], w1["ansible_host"]) == ("red", "192.0.2.1")
    assert (w1["shade"], w1["light"]) == ("web", "all")
    assert w1["plugin_bindings"] == {"all": ["sys/ntp"]}


def test_group_all_has_nothing_that_could_be_gone_later(
    fleet: Api, make_source: MakeSource
) -> None:
    """AWX up to 24.6.1 keeps a variable of `all` that is gone from the inventory."""

    def carried() -> tuple[set[str], dict[str, Any]]:
        found = fleet.get("inventory", params={"secrets": True})
        assert found["pf_everyone"]["hosts"] == ["d1", "lone", "w1", "w2"]
        return set(found["all"]["vars"]), found["pf_everyone"]["vars"]

    before, own = carried()
    assert own.pop("ansible_group_priority") < -1_000_000_000
    assert own == {"ansible_password": "all-secret"}
    publish(fleet, make_source())
    fleet.send("POST", "bindings", 201, json={"hostgroup": "all", "plugin": "sys/ntp"})
    fleet.send("PATCH", "hostgroups/all", 200, json={"variables": {"colour": "grey"}})
    after, own = carried()
    assert before == after and own["colour"] == "grey"


def test_a_password_that_is_taken_from_all_is_gone_from_awx_too(fleet: Api) -> None:
    store = Store()
    number = store.add("inventories", {"name": "pf", "variables": "{}"})["id"]
    source = {"inventory": number, "overwrite": True}
    job = {"inventory": number, "job_slice_count": 1}

    def updated() -> str:
        take(store, source, fleet.get("inventory", params={"secrets": True}))
        return json.dumps(script(store, job))

    assert "all-secret" in updated()
    fleet.send("PATCH", "hostgroups/all", 200, json={"secrets": {"ansible_password": None}})
    assert "all-secret" not in updated()


def test_secrets_are_told_to_operators_who_ask(fleet: Api) -> None:
    assert "-secret" not in json.dumps(fleet.get("inventory"))
    told = fleet.get("inventory", params={"secrets": True})
    assert told["_meta"]["hostvars"]["w1"]["ansible_password"] == "w1-secret"
    assert told["db"]["vars"]["pin"] == "db-secret"
    assert told["pf_everyone"]["vars"]["ansible_password"] == "all-secret"
    viewer = fleet.connect(fleet.token_of(Scope.VIEWER))
    assert viewer.get("inventory").status_code == 200
    assert viewer.get("inventory", params={"secrets": True}).status_code == 403


def test_a_limited_token_gets_its_hosts_and_no_secret_of_others(fleet: Api) -> None:
    client = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    told = client.get("inventory", params={"secrets": True}).json()
    assert set(told["_meta"]["hostvars"]) == {"w1", "w2"}
    assert "db" not in told and "w1-secret" in json.dumps(told)
    assert "db-secret" not in json.dumps(told) and "all-secret" not in json.dumps(told)
    assert client.get("inventory", params={"hostgroup": "db"}).status_code == 403


def test_one_hostgroups_hosts_can_be_asked_for(fleet: Api) -> None:
    fleet.send("POST", "bindings", 201, json={"hostgroup": "db", "plugin": "sys/ntp"})
    found = fleet.get("inventory", params={"hostgroup": "web"})
    assert set(found["_meta"]["hostvars"]) == {"w1", "w2"}
    # A binding of a hostgroup that is not there would keep the role from deploying.
    assert "db" not in found and found["all"]["vars"]["plugin_bindings"] == {}
    assert len(fleet.get("inventory", params={"hostgroup": "all"})["_meta"]["hostvars"]) == 4
    assert fleet.get("inventory", 404, params={"hostgroup": "gone"})["code"] == "not-found"
    fleet.get("inventory", 422, params={"hostgroup": "../x"})


def test_a_state_is_told_against_the_plan_of_this_moment(fleet: Api) -> None:
    context = fleet.context
    plan = fleet.get("plans/d1")["digest"]
    with context.database.write() as session:
        values: dict[str, Any] = {"state": "converged", "reported_plan": plan}
        session.execute(update(Host).where(Host.name == "d1").values(values))
    with context.database.read() as session:
        found = service.document(session, context.vault, hosts=["d1"])
    assert found["pf_converged"]["hosts"] == ["d1"]
    with context.database.write() as session:
        session.execute(update(Host).where(Host.name == "d1").values(address="192.0.2.9"))
    with context.database.read() as session:
        found = service.document(session, context.vault, hosts=["d1"])
    assert found["pf_pending"]["hosts"] == ["d1"]
    assert set(found["_meta"]["hostvars"]) == {"d1"} and "web" not in found


def test_an_unchanged_inventory_is_not_sent_again(fleet: Api) -> None:
    first = fleet.client.get("inventory")
    tag = {"If-None-Match": first.headers["etag"]}
    again = fleet.client.get("inventory", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert fleet.client.get("inventory").content == first.content
    # The same ETag does not stand for another view of the same state.
    for params in ({"secrets": True}, {"hostgroup": "web"}):
        assert fleet.client.get("inventory", headers=tag, params=params).status_code == 200
    limited = fleet.connect(fleet.token_of(Scope.VIEWER, ["web"]))
    assert limited.get("inventory", headers=tag).status_code == 200
    fleet.send("PATCH", "hosts/lone", 200, json={"address": "192.0.2.7"})
    changed = fleet.client.get("inventory", headers=tag)
    assert changed.json()["_meta"]["hostvars"]["lone"]["ansible_host"] == "192.0.2.7"
