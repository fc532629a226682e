"""Input that was made to get further than it should: evaluated, elsewhere, or into a 5xx."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

import httpx2
import pytest

from controller.auth.models import Scope
from controller.web.requests import MOST_BODY
from tests.controller.server import Api

OWN_DELIMITERS = "#jinja2:variable_start_string:'[['\n[[ lookup('pipe', 'id') ]]"


def test_a_text_with_delimiters_of_its_own_is_a_template_too(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hosts", 201, json={"name": "web1", "hostgroups": ["web"]})
    limited = api.connect(api.token_of(Scope.OPERATOR, ["web"]))
    for body in ({"ansible_user": OWN_DELIMITERS}, {"x": {OWN_DELIMITERS: 1}}):
        assert limited.patch("hosts/web1", json={"variables": body}).status_code == 403
    binding = {"hostgroup": "web", "plugin": "httpcheck", "config": {"a": OWN_DELIMITERS}}
    assert api.send("POST", "bindings", 422, json=binding)["fields"]


def test_a_limited_token_cannot_point_its_host_at_another_machine(api: Api) -> None:
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "hosts", 201, json={"name": "web1", "hostgroups": ["web"]})
    limited = api.connect(api.token_of(Scope.OPERATOR, ["web"]))
    assert limited.patch("hosts/web1", json={"address": "192.0.2.9"}).status_code == 403
    hosts = [{"name": "web1", "address": "192.0.2.9", "hostgroups": ["web"]}]
    text = json.dumps(hosts)
    assert limited.post("hosts/import?format=json", content=text).status_code in (403, 422)
    assert api.get("hosts/web1")["address"] == ""
    assert limited.patch("hosts/web1", json={"labels": {}}).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "hosts/import?format=json"),
        ("POST", "configuration/apply"),
        ("PATCH", "hosts/web1"),
        ("POST", "reports"),
    ],
)
def test_a_body_without_an_announced_length_is_read_to_the_limit_only(
    api: Api, method: str, path: str
) -> None:
    piece, sent = b" " * 1024**2, 0
    head = f"{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx2.URL(api.url).port)) as connection:
        connection.settimeout(20)
        connection.sendall(head.encode())
        while sent < 10 * MOST_BODY and not select.select([connection], [], [], 0)[0]:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            sent += len(piece)
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413") and b'"code": "too-large"' in answer, answer
    assert sent < 3 * MOST_BODY


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "configuration/apply", {"hostgroups": {"pf_x": {}}}, 422),
        ("POST", "configuration/apply", {"hostgroups": {"a..b": {}}}, 422),
        ("GET", "audit?since=0001-01-01T00:00:00%2B14:00", None, 200),
        ("GET", "audit?name=%00", None, 422),
        ("GET", "audit?actor=%00", None, 422),
        ("GET", "deployments?by=%00", None, 422),
        (
            "POST",
            "tokens",
            {"name": "late", "scope": "viewer", "expires": "9999-12-31T23:59:59-14:00"},
            201,
        ),
        ("POST", "hosts/import?format=json&dry_run=true", '[{"name": "\\ud800"}]', 200),
        ("POST", "hosts/import?format=json", '[{"name": "\\ud800"}]', 422),
    ],
)
def test_what_no_database_or_answer_can_hold_is_no_server_error(
    api: Api, method: str, path: str, body: Any, status: int
) -> None:
    sent = {"content": body} if isinstance(body, str) else {"json": body} if body else {}
    response = api.client.request(method, path, **sent)
    assert response.status_code == status, response.text
    assert response.json()
