"""A walk of the OpenAPI document: every route is described, and refuses a missing, a wrong and a too weak token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from controller.auth.models import Scope
from docs.rest_api import openapi
from tests.controller.server import Api

OPEN = {"/healthz", "/readyz", "/api/v1/schemas/plugin-manifest"}
METHODS = ("get", "post", "put", "patch", "delete")
WRONG_TOKEN = "pf_" + "x" * 43

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Operation]:
    """Method, path and description of every operation."""
    return [
        (method, path, entry[method])
        for path, entry in document["paths"].items()
        for method in METHODS
        if method in entry
    ]


def scope_of(operation: dict[str, Any]) -> Scope | None:
    """The scope that the document says a route needs, or None where it needs no token."""
    scopes = [s for entry in operation.get("security", ()) for s in entry.get("HTTPBearer", ())]
    return Scope(scopes[0]) if scopes else None


def guarded(operations: list[Operation]) -> Iterator[Operation]:
    for method, path, operation in operations:
        if path not in OPEN:
            yield method, path, operation


def send(client: httpx2.Client, api: Api, method: str, path: str) -> httpx2.Response:
    """A request without a body; what it would say if it came through does not matter here."""
    return client.request(method.upper(), api.url + re.sub(r"\{\w+\}", "1", path))


def assert_problem(response: httpx2.Response, status: int, what: str) -> None:
    assert response.status_code == status, f"{what}: {response.status_code} {response.text[:300]}"
    assert response.headers["content-type"] == "application/problem+json", what


def test_only_the_open_routes_need_no_token(operations: list[Operation]) -> None:
    assert {path for _, path, operation in operations if scope_of(operation) is None} == OPEN


@pytest.mark.parametrize("token", [None, WRONG_TOKEN, "not-even-one"])
def test_every_route_refuses_a_missing_or_wrong_token(
    api: Api, operations: list[Operation], token: str | None
) -> None:
    client = api.connect(token)
    for method, path, _ in guarded(operations):
        assert_problem(send(client, api, method, path), 401, f"{method} {path}")


def test_every_route_refuses_too_weak_a_token(api: Api, operations: list[Operation]) -> None:
    order = list(Scope)
    clients = {scope: api.connect(api.token_of(scope)) for scope in order}
    for method, path, operation in guarded(operations):
        needed = scope_of(operation)
        assert needed is not None
        for weaker in order[: order.index(needed)]:
            what = f"{method} {path} with {weaker.value}"
            response = send(clients[weaker], api, method, path)
            assert_problem(response, 403, what)
            assert f"needs {needed.value}" in response.json()["detail"], what


def test_every_change_needs_more_than_a_viewer(operations: list[Operation]) -> None:
    harmless = {
        "/api/v1/plans/preview",  # says what a change would come to
        "/api/v1/schedules/preview",  # says when a rule falls due
    }
    for method, path, operation in guarded(operations):
        if method != "get" and path not in harmless:
            assert scope_of(operation) in (Scope.OPERATOR, Scope.ADMIN), f"{method} {path}"


def test_every_route_is_described(operations: list[Operation]) -> None:
    for method, path, operation in operations:
        what = f"{method} {path}"
        assert operation.get("summary"), what
        assert operation.get("tags"), what
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "path":
                described = parameter.get("description") or parameter["schema"].get("description")
                assert described, f"{what}: {parameter['name']}"


def test_every_route_lists_its_4xx_in_the_one_shape(operations: list[Operation]) -> None:
    for method, path, operation in operations:
        what, responses = f"{method} {path}", operation["responses"]
        needed = set() if path in OPEN else {"401"}
        if scope_of(operation) not in (None, Scope.VIEWER):
            needed.add("403")
        if "requestBody" in operation or any(
            p["in"] in ("query", "header") and p["name"] != "if-match"
            for p in operation.get("parameters", ())
        ):
            needed.add("422")
        if "{" in path:
            needed.add("404")
        assert needed <= set(responses), f"{what} does not list {sorted(needed - set(responses))}"
        for status, response in responses.items():
            if status >= "400":
                content = response.get("content", {}).get("application/problem+json", {})
                schema = content.get("schema")
                assert schema == {"$ref": "#/components/schemas/Problem"}, f"{what} {status}"


def test_every_request_body_has_examples(
    document: dict[str, Any], operations: list[Operation]
) -> None:
    """Somewhere in it: of the whole, or of one of its fields."""
    schemas = document["components"]["schemas"]
    for method, path, operation in operations:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            reference = content.get("schema", {}).get("$ref")
            if reference:
                schema = schemas[reference.rsplit("/", 1)[1]]
                assert "example" in str(schema), f"{method} {path}: {reference}"


def test_docs_load_without_a_token(api: Api) -> None:
    client = api.connect(None)
    for path in ("/openapi.json", "/docs", "/healthz", "/readyz"):
        assert client.get(api.url + path).status_code == 200


def test_what_is_not_there_is_a_problem_too(api: Api) -> None:
    assert_problem(api.client.get("nothing-here"), 404, "unknown path")
    assert_problem(api.client.request("PATCH", "audit"), 405, "unknown method")
