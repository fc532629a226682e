"""What several hostgroups and a host itself say of a plugin comes to one configuration."""

from __future__ import annotations

from typing import Any

import pytest

from controller.bindings.merging import Layer, laid, merge


def configured(plugin: str, **config: Any) -> dict[str, Any]:
    return {"plugin": plugin, "config": config}


def check(*args: str, step: int = 60) -> dict[str, Any]:
    return {"plugin": "check", "config": {"args": list(args)}, "format": "nagios", "step": step}


A, B = {"url": "a"}, {"url": "b"}
MERGES: list[tuple[str, list[Any], dict[str, Any], list[Any]]] = [
    ("a later key wins", [configured("h", a=1, b=1), configured("h", b=2)], {}, [{"a": 1, "b": 2}]),
    ("items are joined", [configured("h", items=[A]), configured("h", items=[B])], {}, [[A, B]]),
    ("equal items once", [configured("h", items=[A, B]), configured("h", items=[B])], {}, [[A, B]]),
    (
        "1, 1.0 and true are three values",
        [configured("h", items=[{"a": 1}]), configured("h", items=[{"a": 1.0}, {"a": True}])],
        {},
        [[{"a": 1}, {"a": 1.0}, {"a": True}]],
    ),
    ("other lists are replaced", [configured("h", l=[1]), configured("h", l=[2])], {}, [{"l": [2]}]),
    ("a text adds nothing", [configured("h", a=1), "h"], {}, [{"a": 1}]),
    ("an override is laid over", [configured("h", a=1, b=1)], {"h": {"a": None, "c": 3}}, [{"b": 1, "c": 3}]),
    ("its lists replace", [configured("h", items=[A])], {"h": {"items": [B]}}, [[B]]),
    ("it configures a text", ["h"], {"h": {"a": 1}}, [{"a": 1}]),
    ("one of another plugin does nothing", [configured("h", a=1)], {"x": {"a": 2}}, [{"a": 1}]),
    ("programs by their arguments", [check("/"), check("/var"), check("/")], {}, [["/"], ["/var"]]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "bindings", "overrides", "expected"), MERGES)
def test_configurations_are_merged(
    what: str, bindings: list[Any], overrides: dict[str, Any], expected: list[Any]
) -> None:
    merged = merge([Layer(binding, n) for n, binding in enumerate(bindings)], overrides)
    configs = [plugin.binding["config"] for plugin in merged]
    shown = [c.get("items", c.get("args", c)) if isinstance(c, dict) else c for c in configs]
    assert repr(shown) == repr(expected), what


def test_every_part_says_where_it_is_from() -> None:
    layers = [
        Layer(configured("h", items=[A], poll=1, old=1, port=1), "all"),
        Layer(configured("h", items=[A, B], poll=2), "web"),
    ]
    (merged,) = merge(layers, {"h": {"old": None, "port": 2}})
    assert [(o.place, o.label, o.removed) for o in merged.origins] == [
        ("items[0]", "all", False),
        ("items[1]", "web", False),
        ("poll", "web", False),
        ("port", None, False),
        ("old", None, True),
    ]
    assert (merged.labels, merged.overridden) == (["all", "web"], True)


def test_one_plugin_in_two_formats_is_a_conflict_and_the_first_stays() -> None:
    for second in (check("/", step=30), "check(/)"):
        (merged,) = merge([Layer(check("/"), 1), Layer(second, 2)], {})
        assert (merged.binding, merged.labels) == (check("/"), [1, 2])
        assert "'check(/)' is bound as nagios every 60 s and as" in merged.conflict


def test_what_has_no_form_is_left_to_whoever_judges_it() -> None:
    bad: list[Any] = ["../x", 5, {"plugin": 5}, {"plugin": "x", "format": "cobol"}]
    merged = merge([Layer(binding, 0) for binding in [*bad, *bad]], {"x": {"a": 1}})
    assert sorted(map(repr, (plugin.binding for plugin in merged))) == sorted(map(repr, bad))


def test_an_override_is_a_merge_patch() -> None:
    # The examples of RFC 7396, appendix A, whose target and patch are objects.
    for target, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert laid(target, patch) == result
