"""Tokens: made, shown once, limited, expiring, revoked; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from controller.auth import service as auth
from controller.auth.models import Scope, Token
from controller.auth.principal import CONTROLLER
from controller.database.base import now
from controller.database.engine import Database
from controller.errors import Conflict
from controller.web.deps import Context
from tests.controller.server import Api


def test_a_token_is_shown_once_and_stored_as_a_digest(api: Api) -> None:
    made = api.send("POST", "tokens", 201, json={"name": "ci", "scope": "operator"})
    assert made["token"].startswith("pf_")
    listed = api.get("tokens")["items"]
    assert [row["name"] for row in listed] == ["admin", "ci"]
    assert all("token" not in row for row in listed)
    with api.context.database.read() as session:
        row = session.scalars(select(Token).where(Token.name == "ci")).one()
    assert made["token"] not in str(vars(row))
    assert api.connect(made["token"]).get("tokens/current").json()["scope"] == "operator"


@pytest.mark.parametrize("text", ["x", "pf_", "pf_" + "A" * 43, "nonsense", "pf_" + "é" * 43])
def test_a_text_that_is_no_token_is_refused_in_the_one_shape(api: Api, text: str) -> None:
    headers = {"Authorization": f"Bearer {text}".encode()}
    response = api.connect(None).get("tokens/current", headers=headers)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthorized"
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_an_expired_token_is_refused(api: Api) -> None:
    text = api.token_of(Scope.ADMIN)
    with api.context.database.write() as session:
        session.scalars(select(Token).where(Token.name != "admin")).one().expires = now()
    assert api.connect(text).get("tokens/current").status_code == 401


def test_a_revoked_token_is_refused_from_the_next_request_on(api: Api) -> None:
    made = api.send("POST", "tokens", 201, json={"name": "gone", "scope": "admin"})
    client = api.connect(made["token"])
    assert client.get("tokens").status_code == 200
    assert api.send("DELETE", "tokens/gone", 200)["revoked"]
    assert client.get("tokens").status_code == 401


def test_the_last_admin_token_cannot_be_revoked(api: Api) -> None:
    soon = (now() + timedelta(hours=1)).isoformat()
    api.send("POST", "tokens", 201, json={"name": "brief", "scope": "admin", "expires": soon})
    api.send("DELETE", "tokens/brief", 200)
    assert "last admin token" in api.send("DELETE", "tokens/admin", 409)["detail"]


def test_two_admins_who_revoke_each_other_at_once_leave_one(context: Context) -> None:
    database = context.database
    with database.write() as session:
        for name in ("a", "b"):
            auth.create(session, CONTROLLER, name=name, scope=Scope.ADMIN)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            auth.revoke(session, CONTROLLER, "a")
            # The other one has begun, and may look at the tokens before this one is done.
            other = pool.submit(revoke, database, "b")
            with pytest.raises(TimeoutError):
                other.result(0.3)
        with pytest.raises(Conflict, match="last admin token"):
            other.result(10)
    with database.read() as session:
        left = session.scalars(select(Token.name).where(Token.revoked.is_(None))).all()
    assert left == ["b"]


def revoke(database: Database, name: str) -> None:
    with database.write() as session:
        auth.revoke(session, CONTROLLER, name)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a/b", "scope": "viewer"}, "body.name"),
        ({"name": "ok", "scope": "root"}, "body.scope"),
        ({"name": "ok", "scope": "viewer", "expires": "2001-01-01T00:00:00Z"}, "expires"),
        ({"name": "ok", "scope": "viewer", "hostgroups": ["nowhere"]}, "hostgroups"),
        ({"name": "ok", "scope": "viewer", "surprise": 1}, "body.surprise"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_its_field(
    api: Api, body: dict[str, object], field: str
) -> None:
    problem = api.send("POST", "tokens", 422, json=body)
    assert field in [entry["field"] for entry in problem["fields"]]


def test_a_name_is_taken_once(api: Api) -> None:
    assert api.send("POST", "tokens", 409, json={"name": "admin", "scope": "viewer"})["hint"]


def test_too_weak_a_token_is_told_what_is_needed(api: Api) -> None:
    response = api.connect(api.token_of(Scope.OPERATOR)).get("tokens")
    assert response.status_code == 403
    assert "needs admin" in response.json()["detail"]


def test_making_and_revoking_stands_in_the_audit_log_without_the_text(api: Api) -> None:
    made = api.send("POST", "tokens", 201, json={"name": "ci", "scope": "viewer"})
    api.send("DELETE", "tokens/ci", 200)
    entries = api.get("audit", params={"name": "ci"})["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("token.revoke", "admin"),
        ("token.create", "admin"),
    ]
    assert entries[0]["before"]["revoked"] is None and entries[0]["after"]["revoked"]
    assert made["token"] not in str(entries)


def test_lists_come_by_page(api: Api) -> None:
    for number in range(5):
        api.send("POST", "tokens", 201, json={"name": f"t{number}", "scope": "viewer"})
    names, cursor = [], ""
    while cursor is not None:
        page = api.get("tokens", params={"limit": 2, "cursor": cursor, "sort": "-name"})
        names += [row["name"] for row in page["items"]]
        cursor = page["next"]
    assert names == ["t4", "t3", "t2", "t1", "t0", "admin"]
    assert api.get("tokens", 422, params={"cursor": "rubbish"})["fields"][0]["field"]
    assert api.get("tokens", 422, params={"sort": "digest"})["fields"][0]["field"] == "query.sort"
