"""Tokens that are limited to hostgroups: what they see, and how far their changes reach."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from controller.auth.models import Scope
from tests.controller.server import Api


@pytest.fixture
def limited(api: Api) -> httpx2.Client:
    """An operator of `web` alone; there are web1 and behind (web), both (web and db) and db1 (db)."""
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hostgroups", 201, json={"name": "db"})
    api.send("POST", "hostgroups", 201, json={"name": "ruled", "rule": "role=db"})
    for name, groups in (("web1", ["web"]), ("both", ["web", "db"]), ("db1", ["db"])):
        api.send("POST", "hosts", 201, json={"name": name, "hostgroups": groups})
    body = {"address": "192.0.2.7", "variables": {"ansible_port": 2207}, "hostgroups": ["web"]}
    api.send("POST", "hosts", 201, json={"name": "behind", **body})
    return api.connect(api.token_of(Scope.OPERATOR, ["web"]))


def names(response: httpx2.Response, field: str = "name") -> list[str]:
    """The names of a list."""
    assert response.status_code == 200, response.text
    return [row[field] for row in response.json()["items"]]


def test_it_sees_the_hosts_of_its_hostgroups_only(limited: httpx2.Client) -> None:
    assert names(limited.get("hosts")) == ["behind", "both", "web1"]
    assert names(limited.get("hosts", params={"hostgroup": "web"})) == ["behind", "both", "web1"]
    assert limited.get("hosts", params={"hostgroup": "db"}).status_code == 403
    assert limited.get("hosts/db1").status_code == 404
    assert names(limited.get("hostgroups")) == ["web"]
    assert limited.get("hostgroups/db").status_code == 403
    assert limited.get("hostgroups/all/members").status_code == 403
    assert names(limited.get("hostgroups/web/members"), "host") == ["behind", "both", "web1"]


REFUSED: tuple[tuple[str, str, Any, int], ...] = (
    # A new host's name is its address: whatever machine it stands for, the controller would log in to.
    ("POST", "hosts", {"name": "new", "hostgroups": ["web"]}, 403),
    ("POST", "hosts", {"name": "localhost", "hostgroups": ["web"]}, 403),
    ("PATCH", "hosts/web1", {"address": "127.0.0.1"}, 403),
    ("PATCH", "hosts/web1", {"address": "db1.example.com"}, 403),
    # Behind one address, each port may be another machine.
    ("PATCH", "hosts/web1", {"variables": {"ansible_port": 2222}}, 403),
    ("PATCH", "hosts/behind", {"variables": {"ansible_port": None}}, 403),
    ("PUT", "hosts/behind", {}, 403),
    ("PATCH", "hostgroups/web", {"variables": {"ansible_port": 2222}}, 403),
    ("PATCH", "hosts/db1", {"address": "192.0.2.1"}, 404),
    ("PUT", "hosts/db1", {}, 404),
    ("DELETE", "hosts/db1", None, 404),
    ("PATCH", "hosts/web1", {"hostgroups": ["db"]}, 403),
    ("PATCH", "hosts/web1", {"labels": {"role": "db"}}, 403),  # would join by rule
    ("DELETE", "hosts/both", None, 403),
    ("POST", "hostgroups", {"name": "mine"}, 403),
    ("DELETE", "hostgroups/web", None, 403),
    ("PATCH", "hostgroups/web", {"rule": "role=db"}, 403),
    ("PATCH", "hostgroups/all", {"variables": {"x": 1}}, 403),
    ("POST", "hostgroups/web/members", {"add": ["db1"]}, 422),
    ("POST", "hostgroups/db/members", {"add": ["web1"]}, 403),
    # What is evaluated on the control node concerns every host.
    ("PATCH", "hosts/web1", {"variables": {"ansible_connection": "local"}}, 403),
    ("PATCH", "hosts/web1", {"variables": {"ansible_ssh_common_args": "-o x"}}, 403),
    ("PATCH", "hosts/web1", {"variables": {"x": ["{{ lookup('pipe', 'id') }}"]}}, 403),
    ("PATCH", "hosts/web1", {"secrets": {"x": "{{ lookup('pipe', 'id') }}"}}, 403),
    ("PATCH", "hostgroups/web", {"variables": {"plugin_source_folder": "/"}}, 403),
    ("POST", "hosts/import?format=json", [{"name": "new", "hostgroups": ["web"]}], 422),
    ("POST", "hosts/import?format=json", [{"name": "web1", "address": "127.0.0.1"}], 422),
    (
        "POST",
        "hosts/import?format=json",
        [{"name": "web1", "variables": {"ansible_port": 2222}}],
        422,
    ),
    ("POST", "hosts/import?format=json", [{"name": "db1", "address": "192.0.2.1"}], 422),
    ("POST", "hosts/import?format=json", [{"name": "web1", "hostgroups": ["db"]}], 422),
    ("POST", "hosts/import?format=json", [{"name": "web1", "labels": {"role": "db"}}], 422),
    ("POST", "hosts/import?format=ansible", "[new]\nweb1\n", 422),
    ("POST", "hosts/import?format=ansible", "[web]\nweb1\n[all:vars]\nx=1\n", 422),
    ("POST", "configuration/apply", {"hostgroups": {"web": {}}}, 403),
    ("POST", "configuration/apply?dry_run=true", {"hostgroups": {"web": {}}}, 403),
    ("POST", "configuration/apply", {"sources": {}}, 403),
    ("POST", "configuration/apply", {"schedules": {}}, 403),
)


def test_its_changes_reach_no_further_than_its_hostgroups(api: Api, limited: httpx2.Client) -> None:
    before = (api.get("hosts"), api.get("hostgroups"))
    for method, path, body, status in REFUSED:
        content = body if isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        response = limited.request(method, path, content=content, headers=headers)
        assert response.status_code == status, (method, path, body, response.text)
    assert (api.get("hosts"), api.get("hostgroups")) == before


def test_it_changes_what_is_its_own(api: Api, limited: httpx2.Client) -> None:
    for method, path, body, status in (
        ("PATCH", "hosts/web1", {"variables": {"ansible_user": "x"}, "labels": {"a": "1"}}, 200),
        ("PATCH", "hosts/web1", {"secrets": {"ansible_password": "x"}}, 200),
        ("PATCH", "hostgroups/web", {"variables": {"ntp": "a"}}, 200),
        ("POST", "hostgroups/web/members", {"remove": ["both"]}, 200),
        ("DELETE", "hosts/behind", None, 204),
        ("POST", "hosts/import?format=json", [{"name": "web1", "labels": {"a": "2"}}], 200),
        ("POST", "hosts/import?format=ansible", "[web]\nweb1 colour=red\n", 200),
    ):
        body = {"content": body} if isinstance(body, str) else {"json": body}
        response = limited.request(method, path, **body)
        assert response.status_code == status, (method, path, response.text)
    assert names(limited.get("hosts")) == ["web1"]
    host = api.get("hosts/web1")
    assert host["labels"] == {"a": "2"} and host["variables"]["colour"] == "red"


def test_what_an_admin_set_does_not_stand_in_its_way(api: Api, limited: httpx2.Client) -> None:
    api.send("PATCH", "hosts/web1", 200, json={"variables": {"ansible_connection": "local"}})
    response = limited.patch("hosts/web1", json={"labels": {"a": "1"}})
    assert response.status_code == 200, response.text


def test_a_token_for_all_sees_every_host(api: Api, limited: httpx2.Client) -> None:
    client = api.connect(api.token_of(Scope.VIEWER, ["all"]))
    assert names(client.get("hosts")) == ["behind", "both", "db1", "web1"]
    assert names(client.get("hostgroups")) == ["all"]
