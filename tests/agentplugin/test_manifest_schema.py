"""The JSON Schema of plugin.json and the readers of a manifest say the same about the same manifest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentplugin.jsonplaces import lines, part
from agentplugin.lint import lint_tree
from agentplugin.manifest import parse
from agentplugin.manifestfields import TYPES
from agentplugin.manifestschema import schema
from controller.catalog import manifestschema
from controller.catalog.manifestschema import faults

OF_TYPES = {"manifest-dashboard", "manifest-field-type", "manifest-param-nameless",
            "manifest-param-type"}  # fmt: skip
# Of these only the schema tells: a wrong one changes nothing where the plugin runs.
SCHEMA_ALONE = ("/title", "/description", "/required", "/schemaTitle")

ODD = st.sampled_from([None, "", "x", 0, 1.5, True, [], ["x"], [1], {}, {"osFamily": "Linux"}, [{}],
                       [["A", "a"]], [[1, 2], ["B"]]])  # fmt: skip
TYPE = st.sampled_from(["string", "String", " int ", "BOOLEAN", "array", "Array", "number", "enum",
                        "host", "", {"enum": [["A", 1]]}, {"enum": []}, {"enum": [["A"]]},
                        {"enum": "x"}, {"type": "string"}]) | ODD  # fmt: skip
PARAM = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["host", ""]) | ODD,
        "title": st.sampled_from(["Host", ""]) | ODD,
        "type": TYPE,
        "items": st.builds(lambda type_: {"type": type_}, TYPE) | TYPE,
        "required": st.sampled_from([True, "true", "False", "yes"]) | ODD,
        "default": ODD,
        "x": ODD,
    },
)
PLATFORMS = st.lists(st.sampled_from(["Linux", {"osFamily": "Windows"}, {"osFamily": 1}, {}, 5]))
PARAM_ARRAY = st.fixed_dictionaries({}, optional={"itemTitle": ODD, "schemaTitle": ODD})
MANIFEST = st.fixed_dictionaries(
    {},
    optional={
        **{field: ODD for field in TYPES},
        "paramSchema": st.lists(PARAM | ODD, max_size=3) | ODD,
        "paramArray": PARAM_ARRAY | ODD,
        "unsupportedPlatforms": PLATFORMS | ODD,
        "unknown": ODD,
    },
)


def covered(pointer: str, others: set[str]) -> bool:
    """Whether one of the others is the pointer, or stands above or below it."""
    return any(
        f"{pointer}/".startswith(f"{other}/") or f"{other}/".startswith(f"{pointer}/")
        for other in others
    )


@settings(max_examples=300, deadline=None)
@given(MANIFEST)
@example({"paramSchema": [{"name": "", "title": "T", "type": "array", "items": {}}]})
@example({"paramSchema": [{"name": "a", "type": "string", "items": 5}]})
@example({"paramSchema": [{"name": "a", "type": {"enum": []}}]})
@example({"paramSchema": [{"name": "a", "items": {"type": "host"}}]})
@example({"paramSchema": [{"name": "a", "type": {"enum": [["A", 1, 2]]}}]})
@example({"paramSchema": [{"name": "a", "type": "array", "items": {"type": {"enum": []}}}]})
@example({"unsupportedPlatforms": [{"osFamily": 1}], "paramArray": {"itemTitle": 0}})
def test_schema_allows_just_what_the_readers_understand(raw: dict[str, Any]) -> None:
    manifest = parse(json.dumps(raw))
    said = {
        problem.pointer or "" for problem in manifest.field_problems if problem.code in OF_TYPES
    }
    refused = {pointer for pointer, _ in faults(manifest.raw)}
    assert [pointer for pointer in said if not covered(pointer, refused)] == []
    judged = {pointer for pointer in refused if not pointer.endswith(SCHEMA_ALONE)}
    assert [pointer for pointer in judged if not covered(pointer, said)] == []


def test_every_field_that_is_read_is_in_the_schema_with_words_for_people() -> None:
    found = schema()
    Draft202012Validator.check_schema(found)
    assert set(TYPES) <= set(found["properties"])
    assert all(about["title"] for about in found["properties"].values())
    assert "additionalProperties" not in json.dumps(found), "unknown keys are no fault"


REAL: dict[str, Any] = {
    "name": "HTTP check", "version": "0.9.0_2", "tags": "http,meter", "icon": "icon.png",
    "description": "Checks", "command": "boundary-meter init.lua", "command_lua": "", "os": ["Linux"],
    "postExtract": "", "postExtract_lua": "", "postInstall": "", "postInstall_lua": "",
    "ignore": "node_modules", "metrics": ["A"], "meterVersionRequired": "4.2.0-611", "secure": True,
    "unsupportedPlatforms": [{"osFamily": "Windows"}], "core_name": "x",
    "dashboards": [{"name": "D", "layout": "d-w=1&d-h=1&d-g-A=0-0-1-1"}],
    "paramArray": {"itemTitle": ["host"], "schemaTitle": "Host"},
    "paramSchema": [
        {"title": "Host", "type": "String", "required": "true", "default": 5},
        {"title": "Mode", "name": "mode", "type": {"enum": [["One", "1"], ["Two", 2]]}},
        {"title": "Words", "name": "words", "type": "array", "items": {"type": "string"}, "default": ""},
        {"title": "N", "name": "n", "type": "int", "default": "7", "description": "d"},
    ],
}  # fmt: skip


def test_manifest_with_every_field_of_public_ones_fits_the_schema() -> None:
    assert list(faults(REAL)) == []


def written(plant: Callable[..., Path], **changes: Any) -> list[Any]:
    """The findings on a manifest written one key a line, REAL with some fields changed."""
    fields = {key: value for key, value in {**REAL, **changes}.items() if value is not None}
    tree = plant({"p/plugin.json": (json.dumps(fields, indent=1), 0o644)})
    return [problem for problem in lint_tree(str(tree), faults).problems
            if problem.code in {*OF_TYPES, "manifest-schema"}]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"secure": "yes"}, "manifest-schema", "/secure is 'yes', not true or false"),
        ({"meterVersionRequired": 4.2}, "manifest-schema", "/meterVersionRequired is 4.2, not text"),
        ({"pollInterval": "abc"}, "manifest-schema", "does not fit its meaning: poll interval in ms"),
        ({"disabled": "true"}, "manifest-schema", "/disabled is 'true', not true or false"),
        ({"paramSchema": [{"title": 7, "name": "x", "type": "int"}]}, "manifest-schema",
         "/paramSchema/0/title is 7, not text"),
        ({"paramSchema": [{"name": "x", "type": "int", "required": "maybe"}]}, "manifest-schema",
         "/paramSchema/0/required is 'maybe'"),
        ({"version": 2.0}, "manifest-field-type", "version is 2.0, not text"),
        ({"metrics": "A"}, "manifest-field-type", "metrics is 'A', not a list of texts"),
        ({"dashboards": 5}, "manifest-dashboard", "dashboards: 5 is no object"),
        ({"paramSchema": [{"name": "x", "type": {"enum": ["a"]}}]}, "manifest-param-type", "type"),
    ],
)  # fmt: skip
def test_fault_is_told_once_with_its_line(
    plant: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    (problem,) = written(plant, **changes)
    assert (problem.code, words in problem.message) == (code, True), problem.message
    text = (tmp_path / "tree" / "p" / "plugin.json").read_text().splitlines()
    assert f'"{problem.pointer.rpartition("/")[2]}"' in text[problem.line - 1]


def test_lint_without_a_validator_says_what_it_can_itself(plant: Callable[..., Path]) -> None:
    tree = plant({"p/plugin.json": ('{"command": "x", "metrics": ["A"], "secure": 1}', 0o644)})
    assert [problem.code for problem in lint_tree(str(tree)).problems] == []


def test_control_node_with_ansible_alone_goes_without_the_schema(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    manifestschema._validator.cache_clear()
    try:
        assert list(faults({"secure": "yes"})) == []
    finally:
        manifestschema._validator.cache_clear()
    monkeypatch.undo()
    assert len(list(faults({"secure": "yes"}))) == 1


def test_value_that_nests_deep_is_no_crash() -> None:
    deep: Any = 1
    for _ in range(20_000):
        deep = [deep]
    assert list(faults({"secure": deep})) != []


@pytest.mark.parametrize(
    ("text", "pointer", "line"),
    [
        ('{"a": 1}', "/a", 1),
        ('{\n"a":\n1}', "/a", 2),
        ('{\n"a": [1,\n2,\n{"b": 3}]}', "/a/2/b", 4),
        ('{\n"a": [[1],\n[2,\n3]]}', "/a/1/1", 4),
        ('{"x": {"a": 1},\n"a": 2}', "/a", 2),
        ('{"a": 1,\n"a": 2}', "/a", 2),
        ('{"s": "\\n\\"{[,",\n"a": []}', "/a", 2),
        ('{\n"a/b~": 1}', "/a~1b~0", 2),
        ('{\n"\\u0061": 1}', "/a", 2),
        ("\n[1]", "", 2),
    ],
)
def test_line_of_a_place_is_found(text: str, pointer: str, line: int) -> None:
    assert lines(text, [pointer]) == {pointer: line}


def test_place_that_is_not_there_has_no_line() -> None:
    assert lines('{"a": [1]}', ["/b", "/a/1", "/a/0/x"]) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def places(value: Any, pointer: str = "") -> list[str]:
    if isinstance(value, dict):
        below = [places(inner, pointer + part(key)) for key, inner in value.items()]
    elif isinstance(value, list):
        below = [places(inner, pointer + part(number)) for number, inner in enumerate(value)]
    else:
        below = []
    return [pointer, *(found for inner in below for found in inner)]


@given(JSON)
def test_every_place_of_any_json_has_a_line(value: Any) -> None:
    wanted = places(value)
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert sorted(lines(text, wanted)) == sorted(set(wanted))
