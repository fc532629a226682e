"""Formats, configurations and overrides from the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.controller.cli.conftest import Command
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_check_is_bound_with_its_format_and_arguments(plugfleet: Command) -> None:
    plugfleet("group", "add", "web")
    words = ("bind", "add", "web", "checks/check_disk", "--format", "nagios", "--step", "30")
    made = plugfleet(*words, "--json", "--", "-w", "10%").json()
    assert (made["format"], made["step"], made["config"]) == ("nagios", 30, {"args": ["-w", "10%"]})
    assert "nagios every 30 s" in plugfleet("bind", "list").out
    plugfleet("bind", "change", made["id"], "--step", "45")
    assert plugfleet("bind", "show", made["id"], "--json").json()["step"] == 45
    plugfleet("bind", "change", made["id"], "--format", "cobol", code=2)
    assert "--format" in plugfleet("bind", "add", "web", "x", "--", "-w", code=2).err


def test_a_host_has_something_otherwise(plugfleet: Command, tmp_path: Path) -> None:
    plugfleet("group", "add", "web")
    plugfleet("host", "add", "web1", "--group", "web")
    config = tmp_path / "config.yml"
    config.write_text("items: [{url: a}]\npoll: 1\n")
    plugfleet("bind", "add", "web", "httpcheck", "--config", config)
    words = ("host", "override", "set", "web1", "httpcheck")
    plugfleet(
        *words, "--set", "poll=null", "--set", "port=80", "--secret", "token", given="hunter2\n"
    )
    plugfleet(*words, "--set", "port=81")
    (shown,) = plugfleet("host", "override", "show", "web1", "--json").json()
    assert (shown["config"], shown["config_secrets"]) == ({"poll": None, "port": 81}, ["token"])
    plan = plugfleet("host", "plan", "web1").out
    for said in ("web: items[0]", "this host: port, token", "this host removes: poll"):
        assert said in plan
    assert "items[0]: url=a" in plan
    assert "does nothing until" in plugfleet(*words[:-1], "mysql", "--set", "a=1").err
    assert "did you mean 'httpcheck'?" in plugfleet(*words[:-1], "httpchek", "--set", "a=1").err
    plugfleet("host", "override", "remove", "web1", "httpchek")
    listed = plugfleet("host", "override", "list", "--group", "web", "--json").json()
    told = [(row["host"], row["plugin"], row["used"]) for row in listed]
    assert told == [("web1", "httpcheck", True), ("web1", "mysql", False)]
    assert plugfleet("host", "override", "list", "--plugin", "x", "--json").json() == []
    assert "override of mysql does nothing" in plugfleet("host", "plan", "web1").err
    file = tmp_path / "fleet.yml"
    plugfleet("export", "-o", file)
    assert "overrides:" in file.read_text() and "hunter2" not in file.read_text()
    assert "Nothing to do." in plugfleet("apply", file, "--prune").out
    plugfleet("export", "-o", tmp_path)
    (tmp_path / "fleet.yml").unlink()
    config.unlink()
    assert "Nothing to do." in plugfleet("apply", tmp_path, "--prune").out
    plugfleet("host", "override", "remove", "web1", "httpcheck")
    assert plugfleet("host", "override", "show", "web1", "httpcheck", "--json").json() == []
    plugfleet("host", "override", "remove", "web1", "httpcheck", code=2)
    assert "nothing to override" in plugfleet(*words, code=2).err


def test_who_binds_what_no_host_starts_is_warned_before_and_after(
    api: Api, plugfleet: Command, make_source: Callable[..., SourceRepository]
) -> None:
    source = make_source()
    manifest = {"name": "meter", "command": "boundary-meter init.lua", "metrics": ["M"]}
    source.write("meter/plugin.json", json.dumps(manifest), 0o644)
    source.commit()
    publish(api, source, force=True)
    plugfleet("group", "add", "web")
    warning = "meter/plugin.json: 'boundary-meter init.lua' needs the TrueSight meter's Lua runtime"
    before = plugfleet("bind", "add", "web", "meter", "--preview").err
    assert f"warning: hostgroup web: {warning}" in before
    assert f"warning: {warning}" in plugfleet("bind", "add", "web", "meter").err
