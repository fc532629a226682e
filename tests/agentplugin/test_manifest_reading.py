"""plugin.json: strict JSON with a caret, lenient fields, and what validation says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin.dashboards import read
from agentplugin.forms import form
from agentplugin.manifest import Manifest, ManifestError, parse

GOOD: dict[str, Any] = {
    "name": "HTTP check",
    "description": "Checks a page",
    "command": "node index.js $(pollInterval)",
    "metrics": ["HTTP_UP", "http_time"],
    "ignore": "node_modules",
    "tags": "http, web",
    "version": "0.9.0_2",
    "paramSchema": [
        {"name": "host", "title": "Host", "type": "string", "required": True},
        {"title": "Poll interval", "type": "Integer", "default": "5000", "required": "true"},
        {"name": "mode", "title": "Mode", "type": {"enum": [["Fast", "f"], ["Slow", 2]]}},
        {"name": "words", "title": "Words", "type": "array", "items": {"type": "string"}},
    ],
}


def manifest(**changes: Any) -> Manifest:
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return parse(json.dumps(fields), "p/plugin.json")


@pytest.mark.parametrize(
    ("text", "line", "column", "words", "excerpt"),
    [
        ('{\n  "a": 1,\n}', 2, 9, "comma stands before", '    "a": 1,\n          ^'),
        ('{"a": [1, 2, ]}', 1, 12, "comma stands before", None),
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3, "comma or a closing bracket is missing", None),
        (
            '{\n "a": [\n  "b]",\n "c": []}',
            4,
            5,
            "the one that opens on line 2 is not closed",
            None,
        ),
        ('{"a": [1, {"b": [2]}, "c": 1}', 1, 26, "opens on line 1", None),
        ('{"a": ["b"], "c": "d": 1}', 1, 22, "comma or a closing bracket is missing", None),
        ('{"a": "open\n}', 1, None, "string does not end", None),
        ('{"a": "open', 1, None, "", None),
        ('{"a": 1', 1, 8, "ends too early", None),
        ("{a: 1}", 1, 2, "key in", "  {a: 1}\n   ^"),
        ('{"a": 1} x', 1, 10, "goes on after", None),
        ('{"a": tru}', 1, 7, "not JSON", None),
        ("", 1, 1, "empty", None),
        (" \n\t", 1, 1, "empty", None),
        ("\ufeff{}", 1, 1, "byte order mark", None),
        ("[1]", 1, 1, "a list, not an object", None),
        ("null", 1, 1, "null, not an object", None),
        ("7", 1, 1, "a number, not an object", None),
        ('{\n "a": NaN}', 2, 7, "NaN is no JSON value", None),
        ('{"a": "NaN \\"NaN",\n "b": -Infinity}', 2, 7, "-Infinity is no JSON value", None),
        ('{\r\n\t"a": [1,],\r\n}', 2, 9, "comma stands before", '   "a": [1,],\n          ^'),
        ('{\r\n  "a": "x,\r\n}', 2, 11, "string does not end", '    "a": "x,\n            ^'),
        ("[" * 10_000 + "]" * 10_000, 1, 1, "nest", None),
        ("[" * 100_000, 1, 1, "too deep", None),
    ],
)
def test_broken_json_is_named_by_line_and_column(
    text: str, line: int, column: int | None, words: str, excerpt: str | None
) -> None:
    with pytest.raises(ManifestError) as broken:
        parse(text, "p/plugin.json")
    error = broken.value
    assert error.line == line
    assert column is None or error.column == column
    assert words in error.message and error.hint
    assert str(error).startswith(f"p/plugin.json:{line}:{error.column}: {error.message}")
    assert str(error).partition("\n")[0] == error.in_one_line
    assert excerpt is None or error.excerpt == excerpt
    problem = error.as_problem()
    assert (problem.code, problem.line, problem.severity) == ("manifest-not-json", line, "error")
    assert f"line {line} column {error.column}" in problem.message


def test_bytes_that_are_not_utf8_are_named_by_place() -> None:
    with pytest.raises(ManifestError) as broken:
        parse(b'{\n"a": "\xff"}', "plugin.json")
    assert (broken.value.line, broken.value.column) == (2, 7)
    assert "0xff" in broken.value.message


def test_manifest_of_megabytes_is_refused_or_read_in_seconds() -> None:
    started = time.process_time()
    keys = ",".join(f'"k{number // 2}": 1' for number in range(200_000))
    found = parse(f'{{"command": "x", "metrics": ["A"], {keys}}}')
    assert {problem.code for problem in found.validate()} == {"manifest-duplicate-key"}
    assert len(found.field_problems) == 100
    entries = [{"name": str(number), "type": "string"} for number in range(50_000)]
    assert len(manifest(paramSchema=entries).param_schema) == 1000
    metrics = [f"M{number // 2}" for number in range(200_000)]
    assert len(manifest(metrics=metrics).validate()) == 100_000
    with pytest.raises(ManifestError) as broken:
        parse('{"a": "' + "x" * 10_000_000 + '" "b": 1}')
    assert len(broken.value.excerpt) < 100
    assert time.process_time() - started < 5


def test_values_that_nest_deep_or_are_very_long_are_told_in_short() -> None:
    deep = "[" * 900 + "]" * 900
    got = parse(f'{{"command": {deep}, "metrics": ["A"], "version": {"9" * 4000}, "tags": {deep}}}')
    for problem in got.validate():
        assert len(str(problem)) < 400


def test_caret_stays_in_sight_on_a_very_long_line() -> None:
    with pytest.raises(ManifestError) as broken:
        parse('{"a": "' + "x" * 5000 + '" "b": 1}')
    piece, caret = broken.value.excerpt.splitlines()
    assert len(piece) < 80 and len(caret) <= len(piece)
    assert piece[len(caret) - 1] == '"'


def test_good_manifest_is_read_and_has_no_problem() -> None:
    got = manifest()
    assert got.validate() == []
    assert (got.name, got.version, got.ignore, got.tags) == (
        "HTTP check",
        "0.9.0_2",
        ["node_modules"],
        ["http", "web"],
    )
    host, poll, mode, words = got.param_schema
    assert (host.key, host.type, host.required) == ("host", "string", True)
    assert (poll.key, poll.type, poll.required) == ("Poll interval", "integer", True)
    assert (mode.type, mode.choices) == ("enum", ["f", 2])
    assert words.type == "array"
    assert got.param_array is None and not got.disabled and not got.ignore_errors


def test_unknown_fields_and_empty_ones_are_no_matter() -> None:
    got = manifest(command_lua="", postExtract="", ignore="", core_name="x", dashboards=[{}])
    assert got.validate() == [] and got.ignore == []


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"command": None}, "manifest-no-command", "error"),
        ({"command": "  "}, "manifest-no-command", "error"),
        ({"command": ["python", "x.py"]}, "manifest-field-type", "error"),
        ({"command": 'python "x.py'}, "manifest-command-quote", "error"),
        ({"command": " python x.py"}, "manifest-command-spaces", "error"),
        ({"command": "python  x.py"}, "manifest-command-spaces", "warning"),
        ({"command": "python x.py $(nope)"}, "manifest-macro-unknown", "warning"),
        ({"command": "python x.py $(no-pe)"}, "manifest-macro-form", "warning"),
        ({"command": "boundary-meter init.lua"}, "manifest-unsupported-runtime", "info"),
        ({"command": None, "command_lua": "truesight-meter init.lua"},
         "manifest-unsupported-runtime", "info"),
        ({"metrics": None}, "manifest-no-metrics", "warning"),
        ({"metrics": []}, "manifest-no-metrics", "warning"),
        ({"metrics": "HTTP_UP"}, "manifest-field-type", "error"),
        ({"metrics": ["HTTP UP"]}, "manifest-metric-name", "warning"),
        ({"metrics": ["A", ""]}, "manifest-metric-name", "warning"),
        ({"metrics": [""]}, "manifest-no-metrics", "warning"),
        ({"metrics": ["A", "a"]}, "manifest-metric-twice", "warning"),
        ({"paramSchema": {"name": "x"}}, "manifest-field-type", "error"),
        ({"paramSchema": ["x"]}, "manifest-field-type", "error"),
        ({"paramSchema": [{"type": "string"}]}, "manifest-param-nameless", "error"),
        ({"paramSchema": [{"name": 5, "type": "string"}]}, "manifest-param-nameless", "error"),
        ({"paramSchema": [{"name": "a", "type": "string"}] * 2}, "manifest-param-twice", "warning"),
        ({"paramSchema": [{"name": "a", "type": "host"}]}, "manifest-param-type", "warning"),
        ({"paramSchema": [{"name": "a"}]}, "manifest-param-type", "warning"),
        ({"paramSchema": [{"name": "a", "type": {"enum": ["x"]}}]}, "manifest-param-type",
         "warning"),
        ({"paramSchema": [{"name": "a", "type": "integer", "default": "x"}]},
         "manifest-default-type", "warning"),
        ({"paramArray": []}, "manifest-field-type", "error"),
        ({"paramArray": {"itemTitle": 5}}, "manifest-field-type", "warning"),
        ({"unsupportedPlatforms": "Windows"}, "manifest-field-type", "warning"),
        ({"unsupportedPlatforms": [{"osFamily": "Linux"}]}, "manifest-platform", "info"),
        ({"postExtract": "python post.py"}, "manifest-post-extract", "info"),
        ({"postExtract": "npm install"}, "manifest-post-extract-network", "warning"),
        ({"postInstall": "/usr/bin/curl x"}, "manifest-post-extract-network", "warning"),
        ({"postExtract": "python3 -m pip install x"}, "manifest-post-extract-network", "warning"),
        ({"postExtract": "sh\0"}, "manifest-command-character", "error"),
        ({"command": "sh \0"}, "manifest-command-character", "error"),
        ({"command": "sh a\nb"}, "manifest-command-character", "warning"),
        ({"command": None, "command_lua": "a\tb"}, "manifest-command-character", "warning"),
        ({"paramSchema": [{"name": str(n), "type": "int"} for n in range(1001)]},
         "manifest-param-count", "error"),
        ({"dashboards": [{"name": "D", "layout": "x"}]}, "manifest-dashboard", "warning"),
        ({"dashboards": [{"name": "D", "layout": "d-g-X=0-0-1-1"}]}, "manifest-dashboard-metric",
         "warning"),
        ({"command": "x $(l)", "paramSchema": [{"name": "l", "title": "L", "type": "array",
                                                "items": {"type": "password"}}]},
         "manifest-password-argument", "warning"),
        ({"disabled": True}, "manifest-disabled", "info"),
        ({"version": 1.0}, "manifest-field-type", "warning"),
        ({"command": "x $(secret)",
          "paramSchema": [{"name": "secret", "title": "S", "type": "password"}]},
         "manifest-password-argument", "warning"),
        ({"paramSchema": [{"name": "smtp_password", "title": "P", "type": "string"}]},
         "manifest-secret-as-text", "warning"),
        ({"paramSchema": [{"title": "API key", "type": "String"}]},
         "manifest-secret-as-text", "warning"),
        ({"command": "x $(host)", "paramArray": {"itemTitle": ["host"], "schemaTitle": "H"}},
         "manifest-macro-unknown", "warning"),
    ],
)  # fmt: skip
def test_fault_is_found(changes: dict[str, Any], code: str, severity: str) -> None:
    found = [(problem.code, problem.severity) for problem in manifest(**changes).validate()]
    assert (code, severity) in found
    assert all(problem.path == "p/plugin.json" for problem in manifest(**changes).validate())


@pytest.mark.parametrize("name", ["access_key_id", "passwords", "token_count", "compass", "keys"])
def test_names_that_only_look_like_a_password_are_left_alone(name: str) -> None:
    got = manifest(paramSchema=[{"name": name, "title": "T", "type": "string"}], command="sh a")
    assert got.validate() == []


def test_key_that_stands_twice_is_said() -> None:
    found = parse('{"command": "a", "command": "b", "metrics": ["A"]}')
    assert found.command == "b"
    assert [problem.code for problem in found.validate()] == ["manifest-duplicate-key"]


@pytest.mark.parametrize(
    ("changes", "needs_meter", "command"),
    [
        ({}, False, GOOD["command"]),
        ({"command_lua": "boundary-meter init.lua"}, False, GOOD["command"]),
        ({"command": "boundary-meter init.lua"}, True, "boundary-meter init.lua"),
        ({"command": "/opt/truesight-luvit init.lua"}, True, "/opt/truesight-luvit init.lua"),
        ({"command": None, "command_lua": "boundary-meter a.lua"}, True, "boundary-meter a.lua"),
    ],
)
def test_command_without_meter_is_preferred(
    changes: dict[str, Any], needs_meter: bool, command: str
) -> None:
    got = manifest(**changes)
    assert (got.needs_meter, got.effective_command) == (needs_meter, command)


def test_ignored_paths_are_prefixes_whatever_their_case_and_param_json_always() -> None:
    got = manifest(ignore=["node_modules", "Data/"])
    assert [got.ignores(path) for path in (
        "node_modules/a.js", "Node_Modules_old", "data/x", "param.json", "index.js", "lib/data/x",
    )] == [True, True, True, True, False, False]  # fmt: skip


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_a_manifest_or_a_clear_error(text: bytes | str) -> None:
    try:
        parse(text).validate()
    except ManifestError as err:
        assert err.line >= 1 and err.column >= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = [*GOOD, "command_lua", "paramArray", "unsupportedPlatforms", "pollInterval", "disabled",
          "dashboards", "dashboard", "postExtract", "postInstall", "icon"]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.lists(st.dictionaries(st.sampled_from(["name", "title", "type", "default", "items"]), JSON)),
)
def test_any_object_is_validated_without_a_crash(raw: dict[str, Any], schema: list[Any]) -> None:
    raw.setdefault("paramSchema", schema)
    got = parse(json.dumps(raw))
    for problem in got.validate():
        assert problem.message and problem.hint and problem.severity
    json.dumps([form(got), *(dashboard.as_dict() for dashboard in read(got))])
