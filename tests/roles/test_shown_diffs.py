"""What a diff shows of configurations, which may hold secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roles.plugin_sync.control.shown import CHANGED, HIDDEN, without_values


def document(config: Any) -> str:
    return json.dumps({"bindings": ["sys/ntp", {"plugin": "db", "config": config}]})


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("", {"pin": 4711}, {"pin": HIDDEN}),
        ({"a": "x", "b": "y"}, {"a": "x", "b": "z"}, {"a": HIDDEN, "b": CHANGED}),
        ("", {"on": True, "none": None}, {"on": True, "none": None}),
        (
            {"items": [{"a": "x"}]},
            {"items": [{"a": "x"}, {"a": "y"}]},
            {"items": [{"a": HIDDEN}, {"a": CHANGED}]},
        ),
    ],
)
def test_a_diff_says_which_values_change_and_none_of_them(
    before: Any, after: Any, shown: Any
) -> None:
    was = before and document(before)
    diff = {"before": was, "after": document(after), "after_header": "/b.json"}
    [found] = without_values([diff], "/b.json")
    told = json.loads(found["after"])["bindings"]
    assert told == ["sys/ntp", {"plugin": "db", "config": shown}]


def test_a_bindings_file_that_somebody_edited_is_not_shown() -> None:
    diff = {"before": '{"pin": "4711', "after": document({}), "after_header": "/b.json"}
    [found] = without_values([diff], "/b.json")
    assert "4711" not in found["before"] and found["before"].startswith(HIDDEN)


def test_other_files_are_shown_as_they_are() -> None:
    diff = {"before": "a", "after": "b", "after_header": "/cfg.json"}
    assert without_values([diff], "/b.json") == [diff]
