"""Cursors that somebody wrote by hand are refused before they reach the database."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.controller.server import Api


@pytest.mark.parametrize(
    ("sort", "held"),
    [
        ("name", ["created", "x", 1]),
        ("name", ["name", "a\0b", 1]),
        ("name", ["name", "\ud800", 1]),
        ("name", ["name", 5, 1]),
        ("name", ["name", "x", True]),
        ("name", ["name", "x", 2**70]),
        ("name", ["name", "x"]),
        ("created", ["created", "yesterday", 1]),
        ("created", ["created", {"t": "2026-01-01T00:00:00"}, 1]),
        ("created", ["created", {"t": 5}, 1]),
        ("name", {"name": "x"}),
        ("name", [["name"] * 3] * 3),
    ],
)
def test_a_cursor_made_by_hand_is_refused(api: Api, sort: str, held: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(held).encode()).decode()
    problem = api.get("tokens", 422, params={"sort": sort, "cursor": cursor})
    assert problem["fields"][0]["field"] == "query.cursor"


@pytest.mark.parametrize("cursor", ["%00", "a", "e30", "\U0001f600"])
def test_a_cursor_that_is_no_cursor_is_refused(api: Api, cursor: str) -> None:
    assert api.get("tokens", 422, params={"cursor": cursor})["code"] == "invalid"
