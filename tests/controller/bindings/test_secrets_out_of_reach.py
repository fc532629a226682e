"""What a token for some hostgroups may say of a plugin that has secrets of others; on both databases."""

from __future__ import annotations

from controller.auth.models import Scope
from tests.controller.bindings.httpcheck import bind
from tests.controller.server import Api


def test_a_limited_token_sends_no_other_hostgroups_password_elsewhere(watched: Api) -> None:
    bind(watched, plugin="mysql", config={"url": "a", "password": "hunter2"}, hostgroup="db")
    evil = {"config": {"url": "evil.example"}}
    limited = watched.connect(watched.token_of(Scope.OPERATOR, ["web", "empty"]))
    both = watched.connect(watched.token_of(Scope.OPERATOR, ["web", "db"]))
    body = {"hostgroup": "web", "plugin": "mysql"}
    put = "hosts/w1/overrides?plugin=mysql"
    for answer in (
        limited.post("bindings", json={**body, **evil}),
        limited.put(put, json=evil),
        limited.put(put, json={"config": {"password": None}}),
    ):
        assert answer.status_code == 403
        assert "secrets of hostgroup db" in answer.json()["detail"]
        assert "token is for that hostgroup" in answer.json()["hint"]
    # It could make w1 a member of any hostgroup of its own.
    empty = {**body, **evil, "hostgroup": "empty"}
    assert limited.post("bindings", json=empty).status_code == 403
    # Where it sees no such host, or nothing is said of it, nothing can be sent elsewhere.
    away = watched.connect(watched.token_of(Scope.OPERATOR, ["empty"]))
    assert away.post("bindings", json=empty).status_code == 201
    number = limited.post("bindings", json=body).json()["id"]
    assert limited.patch(f"bindings/{number}", json=evil).status_code == 403
    assert both.patch(f"bindings/{number}", json=evil).status_code == 200
    assert both.put(put, json=evil).status_code == 200
