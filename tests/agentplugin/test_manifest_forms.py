"""Array elements and an enum's labels, what a dialog is drawn from, and that no message holds a password."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentplugin.forms import form
from agentplugin.manifest import ConfigError, Manifest, parse

SECRET = "hunter2"


def manifest(*params: dict[str, Any], **fields: Any) -> Manifest:
    raw = {"command": "x", "metrics": ["A"], "paramSchema": list(params), **fields}
    return parse(json.dumps(raw), "p/plugin.json")


def array(items: Any, **more: Any) -> dict[str, Any]:
    return {"name": "list", "title": "List", "type": "array", "items": items, **more}


CHOICES = {"enum": [["Fast", "f"], ["Slow", 2]]}


@pytest.mark.parametrize(
    ("items", "given", "read"),
    [
        ({"type": "integer"}, ["1", 2, "-3"], [1, 2, -3]),
        ({"type": "Int"}, "7", [7]),
        ({"type": "number"}, ["1.5", 2], [1.5, 2]),
        ({"type": "string"}, ["a", 5, True], ["a", "5", "true"]),
        ({"type": "boolean"}, ["true", 0], [True, False]),
        ({"type": CHOICES}, ["f", "2"], ["f", 2]),
        ({"type": "integer"}, [], []),
        ({"type": "integer"}, "", []),
        ("integer", ["1"], [1]),
        (None, ["1", 2], ["1", 2]),
        # One that does not fit leaves the whole list as it was typed.
        ({"type": "integer"}, ["1", "x"], ["1", "x"]),
    ],
)
def test_elements_of_an_array_are_read_in_their_type(items: Any, given: Any, read: Any) -> None:
    assert manifest(array(items)).values({"list": given})["list"] == read


@pytest.mark.parametrize(
    ("items", "value", "words"),
    [
        ({"type": "integer"}, [1, "x"], "its element [1] cannot be 'x': not an integer"),
        (
            {"type": "boolean"},
            ["maybe"],
            "its element [0] cannot be 'maybe': neither true nor false",
        ),
        ({"type": CHOICES}, ["f", "z"], "its element [1] cannot be 'z': not one of f, 2"),
        ({"type": "string"}, [["a"]], "its element [0] cannot be ['a']: not text"),
        ({"type": "integer"}, {"a": 1}, "cannot be {'a': 1}: not a list"),
    ],
)
def test_element_that_does_not_fit_is_named(items: Any, value: Any, words: str) -> None:
    (problem,) = manifest(array(items)).check_config({"list": value})
    assert problem.code == "config-type"
    assert problem.message == f"config.list (List){'' if words[0] == 'c' else ':'} {words}"
    assert "array of" in problem.hint


@pytest.mark.parametrize("items", [{"type": "array"}, {"type": "host"}, {}, [], "?", {"type": 5}])
def test_unknown_type_of_elements_is_said_and_any_element_taken(items: Any) -> None:
    got = manifest(array(items))
    assert [problem.code for problem in got.validate()] == ["manifest-param-type"]
    assert got.check_config({"list": [1, "a"]}) == []


@pytest.mark.parametrize("where", ["single", "items", "elements", "default"])
@pytest.mark.parametrize("value", [[SECRET], {"a": SECRET}, [[SECRET]]])
def test_no_message_holds_a_password(where: str, value: Any) -> None:
    secret: dict[str, Any] = {"name": "pw", "title": "Password", "type": "password"}
    config: dict[str, Any] = {"pw": value}
    more: dict[str, Any] = {}
    if where == "elements":
        secret.update(type="array", items={"type": "Password"})
        config = {"pw": [value]}
    elif where == "items":
        more = {"paramArray": {"itemTitle": [], "schemaTitle": "H"}}
        config = {"items": [config]}
    elif where == "default":
        secret["default"] = value
    got = manifest(secret, command="x $(pw) -p$(pw)", **more)
    said = [*got.validate(), *got.check_config(config)]
    try:
        got.argv(config)
    except ConfigError as err:
        said.append(err.problem)
    assert any(problem.code in ("config-type", "manifest-default-type") for problem in said)
    assert SECRET not in "".join(f"{problem} {problem!r}" for problem in said)
    assert SECRET not in json.dumps(form(got))


def test_form_describes_each_field() -> None:
    got = form(
        manifest(
            {"title": "Host name", "type": "String", "required": "true", "description": "Whose"},
            {"name": "port", "title": "Port", "type": "int", "default": "80", "required": True},
            {"name": "mode", "title": "Mode", "type": CHOICES, "default": "2"},
            array({"type": CHOICES}),
            {"name": "pw", "title": "Password", "type": "password", "default": SECRET},
            {"name": "port", "title": "Again", "type": "string"},
            name="Web",
            description="Checks",
            paramArray={"itemTitle": ["Host name"], "schemaTitle": "Page"},
        )
    )
    choices = [{"label": "Fast", "value": "f"}, {"label": "Slow", "value": 2}]
    plain = {"description": "", "required": False, "default": None, "choices": [], "element": None,
             "secret": False}  # fmt: skip
    schema = got.pop("json_schema")
    assert got == {
        "title": "Web", "description": "Checks", "multiple": True, "item_title": ["Host name"],
        "item_name": "Page",
        "fields": [
            {**plain, "key": "Host name", "title": "Host name", "description": "Whose",
             "type": "string", "required": True},
            {**plain, "key": "port", "title": "Port", "type": "integer", "default": 80},
            {**plain, "key": "mode", "title": "Mode", "type": "enum", "default": 2,
             "choices": choices},
            {**plain, "key": "list", "title": "List", "type": "array",
             "element": {"type": "enum", "choices": choices}},
            {**plain, "key": "pw", "title": "Password", "type": "password", "secret": True},
        ],
    }  # fmt: skip
    item = schema["properties"]["items"]["items"]
    assert (item["required"], schema["required"]) == (["Host name"], ["items"])
    assert item["properties"]["pw"] == {
        "title": "Password", "description": "", "type": "string", "format": "password",
        "writeOnly": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({"host": "a", "n": 5}, True),
        ({"host": "a", "mode": 2, "list": [True], "pollInterval": 5000, "other": 1}, True),
        ({}, False),
        ({"host": ""}, False),
        ({"host": "a", "n": "x"}, False),
        ({"host": "a", "n": 5.5}, False),
        ({"host": "a", "mode": "Fast"}, False),
        ({"host": "a", "list": [1]}, False),
        ({"host": "a", "pollInterval": 5}, False),
        ({"host": "a", "items": [{}]}, False),
    ],
)
def test_json_schema_of_a_flat_configuration(config: dict[str, Any], fits: bool) -> None:
    assert Draft202012Validator(form(FLAT)["json_schema"]).is_valid(config) == fits


FLAT = manifest(
    {"name": "host", "title": "Host", "type": "string", "required": True},
    {"name": "n", "title": "N", "type": "integer"},
    {"name": "mode", "title": "Mode", "type": {"enum": [["Fast", "f"], ["Slow", 2], ["Too", 2]]}},
    array({"type": "boolean"}),
)

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=2) | NUMBER
TYPES = ["string", "password", "integer", "number", "boolean", "array", CHOICES,
         {"enum": [["None", ""], ["One", 1]]}]  # fmt: skip
PARAM = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "items", "pollInterval"]), "title": st.just("T"),
     "type": st.sampled_from(TYPES)},
    optional={"required": st.booleans(), "default": VALUE,
              "items": st.builds(lambda type_: {"type": type_}, st.sampled_from(TYPES))},
)  # fmt: skip
ITEM = st.dictionaries(
    st.sampled_from(["a", "b", "pollInterval", "items"]),
    VALUE | st.lists(VALUE, max_size=2) | st.sampled_from(["f", 2, 5000]),
)


@settings(deadline=None)
@given(st.lists(PARAM, max_size=3), st.booleans(), ITEM, st.lists(ITEM, max_size=2))
def test_configuration_that_the_json_schema_accepts_can_be_started(
    params: list[dict[str, Any]], multiple: bool, flat: dict[str, Any], items: list[Any]
) -> None:
    more = {"paramArray": {}} if multiple else {}
    got = manifest(*params, **more)
    config = {**flat, "items": items} if multiple else flat
    described = form(got)["json_schema"]
    Draft202012Validator.check_schema(described)
    if Draft202012Validator(described).is_valid(config):
        severe = [problem for problem in got.check_config(config) if problem.severity == "error"]
        assert severe == []
