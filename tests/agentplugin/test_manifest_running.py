"""What a manifest plugin is started with: param.json, argument vector, checked configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentplugin import commandline
from agentplugin.forms import form
from agentplugin.manifest import ConfigError, Manifest, parse
from agentplugin.parameters import poll_interval_ms


def manifest(schema: list[dict[str, Any]], command: str = "run", **more: Any) -> Manifest:
    return parse(
        json.dumps({"command": command, "metrics": ["A"], "paramSchema": schema, **more}), "p.json"
    )


def param(name: str, type_: Any = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "title": name.title(), "type": type_, **more}


def test_param_json_is_what_the_original_manager_writes() -> None:
    plugin = manifest([param("host"), param("words", "array"), param("port", "integer")])
    text = plugin.param_json({"port": 80, "host": "café", "words": ["a", "b"], "empty": []})
    assert text == (
        '{\n   "host": "café",\n   "words": [\n      "a",\n      "b"\n   ],\n   "port": 80,\n'
        '   "empty": [],\n   "pollInterval": 1000\n}'
    )


@pytest.mark.parametrize(
    ("type_", "typed", "written"),
    [
        ("integer", "5432", 5432),
        ("integer", 7.0, 7),
        ("int", " 8 ", 8),
        ("integer", "abc", "abc"),
        ("integer", True, True),
        ("number", "1.5", 1.5),
        ("number", 5.0, 5),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("boolean", 0, False),
        ("boolean", "maybe", "maybe"),
        ("boolean", 2, 2),
        ("boolean", ["true"], ["true"]),
        ("number", True, True),
        ("number", "1_0", "1_0"),
        ("number", [1], [1]),
        ("array", {"a": 1}, {"a": 1}),
        ("string", {"a": 1}, {"a": 1}),
        ("string", 35, "35"),
        ("string", True, "true"),
        ("string", 1.5, "1.5"),
        ("String", "x", "x"),
        ("password", 1234, "1234"),
        ("array", "one", ["one"]),
        ("array", "", []),
        ("array", ["a"], ["a"]),
        ({"enum": [["Three", 3], ["Four", "4"]]}, "3", 3),
        ({"enum": [["Three", 3], ["Four", "4"]]}, 4, "4"),
    ],
)
def test_value_is_written_in_its_type_and_as_typed_where_that_fails(
    type_: Any, typed: Any, written: Any
) -> None:
    plugin = manifest([param("x", type_)])
    assert json.loads(plugin.param_json({"x": typed}))["x"] == written
    assert json.loads(manifest([param("x", type_, default=typed)]).param_json({}))["x"] == written


def test_defaults_fill_in_only_what_was_not_given() -> None:
    plugin = manifest(
        [
            param("a", default="1"),
            param("b", default="2"),
            param("c"),
            param("n", "integer", default=""),
            {"title": "Process name", "type": "string", "default": "x"},
        ]
    )
    assert plugin.values({"a": "", "b": None}) == {
        "a": "",
        "b": "2",
        "c": "",
        "Process name": "x",
        "pollInterval": 1000,
    }


def test_what_nobody_filled_in_is_what_the_first_managers_form_left() -> None:
    schema = [param("word"), param("key", "password"), param("list", "array"), param("n", "integer"),
              param("x", "number"), param("on", "boolean"), param("mode", {"enum": [["A", "a"]]})]  # fmt: skip
    unfilled = {"word": "", "key": "", "list": []}
    flat = manifest(schema, "sh a $(word) $(KEY) $(list) end")
    assert flat.check_config({}) == []
    assert flat.values({}) == {**unfilled, "pollInterval": 1000}
    assert flat.argv({"list": None}) == ["sh", "a", "", "", "end"]
    many = manifest(schema, paramArray={"itemTitle": ["word"], "schemaTitle": "Word"})
    assert many.values({"items": [{"word": "w"}]})["items"] == [{**unfilled, "word": "w"}]


@pytest.mark.parametrize("type_", ["integer", "number", "boolean", {"enum": [["A", "a"]]}])
def test_a_value_that_the_command_cannot_do_without_is_asked_for(type_: Any) -> None:
    plugin = manifest([param("x", type_)], "sh a $(X)")
    assert [problem.code for problem in plugin.check_config({})] == ["config-required"]
    assert "x" in form(plugin)["json_schema"]["required"]
    for free in (manifest([param("x", type_)], "sh a $(x?)"),
                 manifest([param("x", type_, default=1)], "sh a $(x)"),
                 manifest([param("pollInterval", type_)], "sh a $(pollInterval)")):  # fmt: skip
        assert not [problem for problem in free.check_config({}) if problem.code != "config-type"]
        assert form(free)["json_schema"]["required"] == []


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [(None, 1000), (5, 1000), ("5", 1000), ("abc", 1000), (5000, 5000), ("30000", 30000),
     (1500.9, 1500), (True, 1000), (-1, 1000), (float("inf"), 1000), ([], 1000)],
)  # fmt: skip
def test_poll_interval_is_milliseconds_and_at_least_a_second(given: Any, milliseconds: int) -> None:
    assert poll_interval_ms(given) == milliseconds


def test_declared_poll_interval_is_passed_through_in_the_plugins_own_unit() -> None:
    plugin = manifest([param("pollInterval", "integer", default=5)])
    assert plugin.values({})["pollInterval"] == 5
    assert plugin.values({"pollInterval": "30"})["pollInterval"] == 30
    assert plugin.poll_interval_ms({}) == 1000
    assert plugin.poll_interval_ms({"pollInterval": 60000}) == 60000


def test_undeclared_poll_interval_is_the_managers() -> None:
    plugin = manifest([param("a")], pollInterval=3000)
    assert plugin.values({})["pollInterval"] == 3000
    assert plugin.values({"pollInterval": "5"})["pollInterval"] == 1000


def test_items_each_get_defaults_and_keep_their_own_poll_interval() -> None:
    plugin = manifest(
        [param("host", required=True), param("pollInterval", "integer", default=5)],
        paramArray={"itemTitle": ["host"], "schemaTitle": "Host"},
    )
    config = {"items": [{"host": "a"}, {"host": "b", "pollInterval": "9"}], "pollInterval": 2000}
    assert plugin.values(config) == {
        "items": [{"host": "a", "pollInterval": 5}, {"host": "b", "pollInterval": 9}],
        "pollInterval": 2000,
    }
    assert plugin.poll_interval_ms({"items": config["items"]}) == 1000
    assert config["items"][0] == {"host": "a"}


@pytest.mark.parametrize(
    ("multi", "config", "code"),
    [
        (True, {}, "config-items"),
        (True, {"items": []}, "config-items"),
        (True, {"items": {"a": 1}}, "config-items"),
        (True, {"items": ["a"]}, "config-items"),
        (True, {"items": [{}]}, "config-required"),
        (True, {"items": [{"host": "a", "n": "x"}]}, "config-type"),
        (False, {"items": [{"host": "a"}]}, "config-items"),
        (False, {}, "config-required"),
        (False, {"host": ""}, "config-required"),
        (False, {"host": "a", "n": "x"}, "config-type"),
        (False, {"host": ["a"]}, "config-type"),
        (False, {"host": "a", "mode": "z"}, "config-type"),
        (False, {"host": "a", "hsot": "b"}, "config-unknown"),
        (False, {"host": "a", "n": True}, "config-type"),
    ],
)
def test_wrong_configuration_is_named_before_anything_starts(
    multi: bool, config: dict[str, Any], code: str
) -> None:
    schema = [
        param("host", required=True),
        param("n", "integer"),
        param("mode", {"enum": [["A", "a"]]}),
    ]
    more = {"paramArray": {"itemTitle": [], "schemaTitle": "H"}} if multi else {}
    plugin = manifest(schema, **more)
    severity = "warning" if code == "config-unknown" else "error"
    found = [(problem.code, problem.severity) for problem in plugin.check_config(config)]
    assert found == [(code, severity)]
    if code == "config-items":
        with pytest.raises(ConfigError) as refused:
            plugin.param_json(config)
        assert refused.value.problem.code == code


def test_second_parameter_of_one_name_never_counts() -> None:
    plugin = manifest([param("host"), param("host", "integer", required=True)])
    assert plugin.check_config({}) == plugin.check_config({"host": "a"}) == []
    assert plugin.values({"host": "a"})["host"] == "a"


@pytest.mark.parametrize(
    ("command", "config", "names"),
    [
        (
            "a $(host) $(x) $(X) $(y?) $(pollInterval)",
            {"items": [{"host": "h"}]},
            ["host", "x", "X"],
        ),
        ("a $(host)", {"items": [{"host": "h"}], "HOST": "g"}, []),
    ],
)
def test_a_configuration_that_leaves_a_macro_open_is_warned_of(
    command: str, config: dict[str, Any], names: list[str]
) -> None:
    more: dict[str, Any] = {"paramArray": {"itemTitle": ["host"], "schemaTitle": "H"}}
    found = manifest([param("host")], command, **more).check_config(config)
    assert [problem.message.split("$(")[1].split(")")[0] for problem in found] == names
    assert {(problem.severity, problem.code) for problem in found} <= {
        ("warning", "config-macro-missing")
    }


def test_right_configuration_has_no_problem() -> None:
    plugin = manifest([param("host", required=True), param("port", "integer", default=80)])
    assert plugin.check_config({"host": "a", "pollInterval": 5000}) == []


@pytest.mark.parametrize(
    ("command", "config", "argv"),
    [
        ("python a.py", {}, ["python", "a.py"]),
        ("node index.js", {}, ["node", "--expose-gc", "index.js"]),
        ('sh -c "a b" c', {}, ["sh", "-c", "a b", "c"]),
        ('a"b c"d', {}, ["ab cd"]),
        ("a  b", {}, ["a", "", "b"]),
        (r"a \" b\n", {}, ["a", "\\ b\\n"]),
        ("a $(host) $(HOST)", {"Host": "x y"}, ["a", "x y", "x y"]),
        ("a --h=$(host):$(port)", {"host": "x", "port": 80.0}, ["a", "--h=x:80"]),
        ("a $(pollInterval)", {}, ["a", "1000"]),
        ("a $(pollInterval)", {"pollInterval": 5000}, ["a", "5000"]),
        ("a $(opt?) b", {}, ["a", "", "b"]),
        ("a $(opt?) b", {"opt": 1}, ["a", "1", "b"]),
        ("a $(list)", {"list": ["x y", "z"]}, ["a", "x y", "z"]),
        ("a $(list)", {"list": []}, ["a"]),
        ("a -l=$(list)", {"list": ["x", "y"]}, ["a", "-l=x y"]),
        ("a $(flag)", {"flag": True}, ["a", "true"]),
        ("a $(v)", {"v": "$(w) $HOME `id` ;x"}, ["a", "$(w) $HOME `id` ;x"]),
        ("a $(no-macro) $x", {}, ["a", "$(no-macro)", "$x"]),
    ],
)
def test_command_becomes_an_argument_vector(
    command: str, config: dict[str, Any], argv: list[str]
) -> None:
    assert manifest([], command).argv(config) == argv


@pytest.mark.parametrize(
    ("config", "code"),
    [({}, "config-macro-missing"), ({"host": None}, "config-macro-missing"),
     ({"host": {"a": 1}}, "config-type"), ({"host": [["a"]]}, "config-type")],
)  # fmt: skip
def test_command_without_its_value_is_not_started(config: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        manifest([], "a $(host)").argv(config)
    assert refused.value.problem.code == code


@pytest.mark.parametrize("items", [[{"Host": "a"}], [{}], ["a"], 5, None])
def test_a_macro_that_only_items_could_fill_is_told_apart(items: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        commandline.argv("a $(host)", {"items": items}, "p.json")
    in_items = "each item has one of its own" in str(refused.value)
    assert in_items == (items == [{"Host": "a"}])


def test_default_reaches_the_command() -> None:
    assert manifest([param("host", default="h")], "a $(host)").argv({}) == ["a", "h"]


def test_number_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="NaN or infinity"):
        manifest([]).param_json({"x": float("nan")})


def test_param_json_can_always_be_written_as_utf8() -> None:
    text = manifest([]).param_json({"x": "a\ud800b"})
    assert json.loads(text.encode("utf-8"))["x"] == "a\ud800b"
