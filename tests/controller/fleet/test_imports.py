"""Importing hosts from JSON, CSV and Ansible inventories; on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.fleet.importformats import Place, read_csv, read_json
from controller.fleet.inventorytext import read_inventory
from tests.controller.fleet.test_hostgroups import members
from tests.controller.server import Api

READERS = {"json": read_json, "csv": read_csv, "ansible": read_inventory}
HOSTS = [
    {
        "name": "web1",
        "address": "192.0.2.1",
        "labels": {"idc": "bj"},
        "variables": {"ansible_user": "deploy"},
        "hostgroups": ["web"],
    },
    {"name": "web2", "agent_kind": "falcon", "secrets": {"ansible_password": "x1"}},
]
CSV = (
    "name;address;labels.idc;hostgroups;agent_kind;ansible_user;note\r\n"
    "web1;192.0.2.1;bj;web;;deploy;\r\n"
    "\r\n"
    'web2;;;;falcon;;"two\r\nlines, one field"\r\n'
)
INI = """\
web2 agent_config_kind=falcon
[web]
web1 ansible_host=192.0.2.1 ansible_password=x1 size=5
[web:vars]
ansible_user=deploy
note={{ lookup('pipe', 'touch %s') }}
[all:vars]
ntp=a
"""
YAML = """\
all:
  hosts:
    web2: {agent_config_kind: falcon}
  vars: {ntp: a}
  children:
    bj:
      vars: {ntp: b, tier: outer}
      children:
        web:
          hosts:
            web1: {ansible_host: 192.0.2.1, raw: !unsafe "{{ x }}"}
          vars: {tier: inner, zone: 1}
"""


@pytest.fixture
def web(api: Api) -> Api:
    """A controller with a hostgroup `web`, and a host in it that no import names."""
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hosts", 201, json={"name": "old", "hostgroups": ["web"]})
    return api


def send(api: Api, form: str, content: Any, status: int = 200, **query: Any) -> Any:
    """Import a text, bytes, or data as JSON."""
    body = content if isinstance(content, str | bytes) else json.dumps(content)
    return api.send("POST", "hosts/import", status, content=body, params={"format": form, **query})


def counts(report: dict[str, Any]) -> tuple[int, int, int]:
    """How many hosts were created, updated and unchanged."""
    return report["created"], report["updated"], report["unchanged"]


def test_json_makes_hosts_then_changes_nothing_then_what_differs(web: Api) -> None:
    assert counts(send(web, "json", HOSTS)) == (2, 0, 0)
    assert web.get("hosts/web2")["secrets"] == ["ansible_password"]
    assert members(web, "web") == {"old": "n", "web1": "n"}
    before = web.get("audit")
    assert counts(send(web, "json", {"hosts": HOSTS})) == (0, 0, 2)
    assert web.get("audit") == before
    changed = [{"name": "web1", "labels": {"idc": None, "role": "web"}, "variables": {"a": 1}}]
    assert counts(send(web, "json", changed)) == (0, 1, 0)
    host = web.get("hosts/web1")
    assert (host["labels"], host["address"]) == ({"role": "web"}, "192.0.2.1")
    assert host["variables"] == {"ansible_user": "deploy", "a": 1}
    joined = [{"name": "web2", "hostgroups": ["web"]}]
    assert counts(send(web, "json", joined)) == (0, 1, 0)
    assert members(web, "web") == {"old": "n", "web1": "n", "web2": "n"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_as_spreadsheets_write_it(web: Api, mark: str) -> None:
    assert counts(send(web, "csv", mark + CSV)) == (2, 0, 0)
    web1, web2 = web.get("hosts/web1"), web.get("hosts/web2")
    assert (web1["address"], web1["labels"]) == ("192.0.2.1", {"idc": "bj"})
    assert web1["variables"] == {"ansible_user": "deploy"}
    assert (web2["agent_kind"], web2["hostgroups"]) == ("falcon", [])
    assert web2["variables"] == {"note": "two\r\nlines, one field"}
    commas = "name,labels.idc,ansible_port\nweb1,,2222\n"
    assert counts(send(web, "csv", commas)) == (0, 1, 0)
    web1 = web.get("hosts/web1")
    assert web1["labels"] == {"idc": "bj"}  # an empty field leaves things as they are
    assert web1["variables"]["ansible_port"] == "2222"


def test_an_ini_inventory_is_read_and_nothing_in_it_is_executed(web: Api, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    report = send(web, "ansible", INI % trap)
    assert counts(report) == (2, 0, 0)
    assert (report["hostgroups_created"], report["hostgroups_updated"]) == ([], ["all", "web"])
    web1, web2 = web.get("hosts/web1"), web.get("hosts/web2")
    assert (web1["address"], web1["hostgroups"]) == ("192.0.2.1", ["web"])
    assert (web1["variables"], web1["secrets"]) == ({"size": 5}, ["ansible_password"])
    assert (web2["agent_kind"], web2["hostgroups"]) == ("falcon", [])
    assert "lookup" in web.get("hostgroups/web")["variables"]["note"]
    assert web.get("hostgroups/all")["variables"] == {"ntp": "a"}
    assert not trap.exists()
    assert members(web, "web") == {"old": "n", "web1": "n"}
    assert counts(send(web, "ansible", INI % trap)) == (0, 0, 2)


def test_groups_of_groups_become_flat_and_every_host_keeps_its_values(api: Api) -> None:
    """Ansible: the deeper group wins (`web`). Flat hostgroups: the later name does (`web` too)."""
    report = send(api, "ansible", YAML)
    assert report["hostgroups_created"] == ["bj", "web"]
    web1 = api.get("hosts/web1")
    assert web1["hostgroups"] == ["bj", "web"]
    assert web1["variables"] == {"raw": "{{ x }}"}
    assert api.get("hostgroups/web")["variables"] == {"tier": "inner", "zone": 1}
    assert api.get("hostgroups/bj")["variables"] == {"ntp": "b", "tier": "outer"}
    # Here the names' order would give `outer`, so the host itself keeps Ansible's value.
    renamed = YAML.replace("web:\n", "aaa:\n").replace("web1", "web3")
    send(api, "ansible", renamed)
    assert api.get("hosts/web3")["variables"] == {"raw": "{{ x }}", "tier": "inner"}


def test_a_script_is_no_inventory(api: Api, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    script = f"#!/bin/sh\ntouch {trap}\necho '{{}}'\n"
    problem = send(api, "ansible", script, 422)
    assert problem["fields"][0]["field"] == "line 2"
    assert not trap.exists()


WRONG: tuple[tuple[str, Any, str, str], ...] = (
    ("json", "[{]", "line 1", "not JSON"),
    ("json", '[\n{"name": "a"},\n]', "line 3", "not JSON"),
    ("json", "[NaN]", "the text", "NaN"),
    ("json", "[" * 100_000, "the text", "not JSON"),
    ("json", "{}", "the text", "list of hosts"),
    ("json", b"\xff\xfe", "line 1", "UTF-8"),
    ("json", ["web1"], "entry 1", "dictionary"),
    ("json", [{"name": "ok"}, {"name": "a/b"}], "entry 2", "name:"),
    ("json", [{"name": "ok", "role": "db"}], "entry 1", "role: Extra"),
    ("json", [{"address": "192.0.2.1"}], "entry 1", "name: Field required"),
    ("json", [{"name": "ok"}, {"name": "ok"}], "entry 2", "entry 1 already"),
    ("csv", "", "line 1", "no header"),
    ("csv", "host,address\nweb1,\n", "line 1", "no column 'name'"),
    ("csv", "name,name\nweb1,\n", "line 1", "twice"),
    ("csv", "name,\nweb1,\n", "line 1", "no name"),
    ("csv", "name,address\nweb1,,x\n", "line 2", "has 3 fields, the header has 2"),
    ("csv", 'name,a\n"x\ny",1\n\nweb2,1,2\n', "line 5", "has 3 fields"),
    ("csv", 'name,a\nweb1,"open\nweb2,1\n', "line 3", "not CSV"),
    ("csv", "name\nweb1\nweb1\n", "line 3", "line 2 already"),
    ("csv", "name\n../etc\n", "line 2", "name:"),
    ("csv", "name,labels.idc\nweb1,a b\n", "line 2", "labels"),
    ("csv", "name,not a name\nweb1,x\n", "line 2", "not a name"),
    ("csv", b"name\nweb1\n\xe4\n", "line 3", "UTF-8"),
    ("csv", "name\n\u202eweb\n", "line 2", "name:"),
    ("ansible", "[web]\nweb1 broken\n", "line 2", "Expected key=value"),
    ("ansible", "web1\n[web\nx\n", "line 2", "cannot be read"),
    ("ansible", "[web:nonsense]\n", "line 1", "unknown type"),
    ("ansible", "all:\n  hosts:\n    a: {x\n", "line 4", "expected"),
    ("ansible", "all:\n  hosts: [a]\n", "the text", "requires a dictionary"),
    ("ansible", "all:\n  hosts:\n    a: {d: 2024-01-01}\n", "the text", "is a date"),
    ("ansible", "all:\n  hosts:\n    a: {p: !vault x}\n", "the text", "ansible-vault"),
    ("ansible", "web1 ansible_host={{x}}\n", "the text", "web1: address"),
    ("ansible", "web1 agent_config_kind=nagios\n", "the text", "web1: agent_kind"),
    ("ansible", "[pf_x]\nweb1\n", "the text", "hostgroups.0"),
    ("ansible", "web[0:99999999]\n", "the text", "more hosts"),
    ("ansible", b"\xff", "line 1", "UTF-8"),
)


def test_what_cannot_be_read_is_named_by_its_line() -> None:
    for form, text, place, message in WRONG:
        content = text if isinstance(text, bytes | str) else json.dumps(text)
        given = READERS[form](content if isinstance(content, bytes) else content.encode())
        shown = [
            (str(Place(problem.line, problem.row)), f"{problem.host}: {problem.message}")
            for problem in given.problems
        ]
        assert any(p == place and message in m for p, m in shown), (text, shown)


REFUSED: tuple[tuple[str, Any, str, str], ...] = (
    ("json", "[{]", "line 1", "not JSON"),
    ("csv", "name\nok\n../etc\n", "line 3", "name:"),
    ("ansible", "[web]\nweb1 broken\n", "line 2", "Expected key=value"),
    ("json", [{"name": "ok", "hostgroups": ["wbe"]}], "entry 1", "no hostgroup 'wbe'"),
    ("json", [{"name": "ok", "variables": {"ansible_password": "x"}}], "entry 1", "secrets"),
    ("ansible", "web1\n[all:vars]\nplugin_bindings={}\n", "the text", "make bindings of it"),
)


def test_what_cannot_be_imported_is_refused_and_nothing_is_changed(api: Api) -> None:
    for form, content, place, message in REFUSED:
        problem = send(api, form, content, 422)
        shown = [(field["field"], field["message"]) for field in problem["fields"]]
        assert any(p == place and message in m for p, m in shown), (content, shown)
        report = send(api, form, content, dry_run=True)
        errors = [f"{error['host']}: {error['message']}" for error in report["errors"]]
        assert any(message in error for error in errors), content
    assert "no body" in send(api, "csv", b"", 422, dry_run=True)["detail"]
    assert api.get("hosts")["items"] == []
    assert [row["name"] for row in api.get("hostgroups")["items"]] == ["all"]


def test_every_wrong_line_is_named_at_once(api: Api) -> None:
    problem = send(api, "csv", "name\na/b\nok\n-x\n", 422)
    assert [field["field"] for field in problem["fields"]] == ["line 2", "line 4"]
    assert "1 more problem" in problem["detail"]
    report = send(api, "csv", "name\na/b\nok\n-x\n", dry_run=True)
    assert [(error["line"], error["row"]) for error in report["errors"]] == [(2, None), (4, None)]
    assert report["errors"][0]["host"] == "a/b"


def test_a_dry_run_says_what_would_come_of_it_and_changes_nothing(web: Api) -> None:
    before = (web.get("hosts"), web.get("hostgroups"), web.get("audit"))
    hosts = [*HOSTS, {"name": "old", "address": "192.0.2.7"}]
    report = send(web, "json", hosts, dry_run=True)
    assert report["dry_run"] and counts(report) == (2, 1, 0)
    assert (web.get("hosts"), web.get("hostgroups"), web.get("audit")) == before
    assert counts(send(web, "json", hosts)) == (2, 1, 0)


def test_hostgroups_are_made_where_that_is_asked_for(api: Api) -> None:
    hosts = [{"name": "a", "hostgroups": ["web", "web"]}]
    send(api, "json", hosts, 422)
    assert send(api, "json", hosts, create_hostgroups=True)["hostgroups_created"] == ["web"]
    assert members(api, "web") == {"a": "n"}
    send(api, "ansible", "[db]\na\n", 422, create_hostgroups=False)


def test_imported_hosts_are_members_by_rule_too(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "bj", "rule": "idc=bj"})
    labels = [{"name": f"h{n}", "labels": {"idc": "bj" if n < 2 else "sh"}} for n in range(4)]
    send(api, "json", labels)
    assert members(api, "bj") == {"h0": "r", "h1": "r"}
    send(
        api,
        "json",
        [{"name": "h0", "labels": {"idc": None}}, {"name": "h3", "labels": {"idc": "bj"}}],
    )
    assert members(api, "bj") == {"h1": "r", "h3": "r"}


def test_a_repeated_import_gets_the_first_ones_answer(web: Api) -> None:
    key = {"Idempotency-Key": "k1"}
    first = web.client.post("hosts/import?format=json", json=HOSTS, headers=key)
    again = web.client.post("hosts/import?format=json", json=HOSTS, headers=key)
    assert first.json() == again.json() and again.json()["created"] == 2
    assert again.headers["idempotency-replayed"] == "true"
    other = web.client.post("hosts/import?format=json", json=HOSTS[:1], headers=key)
    assert other.status_code == 422


def test_more_than_can_be_taken_is_refused(api: Api) -> None:
    names = "name\n" + "".join(f"h{number}\n" for number in range(20_001))
    assert "20000 hosts" in send(api, "csv", names, 413)["detail"]
    send(api, "json", b" " * (32 * 1024**2 + 1), 413)
    assert api.get("hosts")["items"] == []


def test_imports_stand_in_the_audit_log_host_by_host_without_secrets(web: Api) -> None:
    send(web, "json", HOSTS)
    send(web, "json", [{"name": "web1", "address": "192.0.2.8"}])
    entries = web.get("audit", params={"kind": "host", "name": "web1"})["items"]
    assert [entry["action"] for entry in entries] == ["host.update", "host.create"]
    assert entries[0]["before"]["address"] == "192.0.2.1"
    assert entries[0]["after"]["address"] == "192.0.2.8"
    assert "x1" not in str(web.get("audit"))
