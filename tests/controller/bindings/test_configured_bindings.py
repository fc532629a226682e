"""Bindings of manifest plugins over REST: held against the manifest, their passwords shown to nobody; on both
databases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from controller.auth.principal import CONTROLLER
from controller.bindings import service
from controller.bindings.models import BindingRow
from controller.catalog.deps import publisher_of
from controller.deployments.cleaning import cleaner_of
from controller.errors import Conflict
from controller.gitops.flow import Applier
from controller.gitops.schemas import Configuration
from controller.web.deps import Context
from tests.controller.bindings.httpcheck import PORT, URL, bind, http, manifest
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

PASSWORDS = ("hunter2", "s3same-open", "t0ken-of-mine")


def everything(context: Context) -> str:
    """All that the database keeps in plain text."""
    with context.database.read() as session:
        names = ("bindings", "binding_overrides", "audit_log", "idempotent_answers", "releases")
        return str([session.execute(text(f"SELECT * FROM {name}")).all() for name in names])


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (http({"url": "a"}, {"url": "b"}, {"url": "c", "port": "x"}), "body.config.items[2].port", "not an integer"),
    (http({"port": 80}), "body.config.items[0].url", "is required"),
    (http(), "body.config", "no items"),
    ({"plugin": "httpcheck"}, "body.config", "no items"),
    (http({"url": "a"}, "b"), "body.config.items[1]", "not an object"),  # type: ignore[arg-type]  # what is wrong with it
    (http({"url": "a"}, config_secrets={"items/1/password": "x"}), "body.config_secrets.items/1/password", "nowhere"),
    (http({"url": "a", "password": {"$secret": "password"}}), "body.config.items[0].password", "there is none"),
    ({"plugin": "mysql", "config": {"items": [{}]}}, "body.config", "no paramArray"),
    ({"plugin": "sys/ntp", "config": {"a": 1}}, "body.plugin", "no plugin.json"),
    ({"plugin": "sys/ntp/600_ntp.py", "config": {"a": 1}}, "body.plugin", "is a script"),
    ({"plugin": "sys/ntp/600_ntp.py(a)", "config": {"a": 1}}, "body.plugin", "has arguments"),
    ({"plugin": "checks/check_disk", "format": "cobol"}, "body.format", "nagios"),
    ({"plugin": "checks/check_disk", "format": "nagios", "step": -1}, "body.step", ""),
    ({"plugin": "checks/check_disk", "step": 60}, "body.step", "goes with a format"),
    ({"plugin": "checks/check_disk", "format": "nagios", "config": {"args": "/"}}, "body.config.args", "list of texts"),
    ({"plugin": "checks/check_disk", "format": "nagios", "config": {"args": ["x" * 500]}}, "body.config.args", "500"),
    ({"plugin": "x", "format": "nagios", "config_secrets": {"args": ["x"]}}, "body.config_secrets", "processes"),
    ({"plugin": "checks/gone", "format": "nagios"}, "body.plugin", "not in the plugin tree"),
    (http({"url": "a"}, hostgroup="falcon"), "body.plugin", "1 host runs a Falcon agent"),
    ({"plugin": "checks/check_disk", "format": "nagios", "hostgroup": "falcon"}, "body.plugin", "need the executor"),
]  # fmt: skip


def test_what_does_not_fit_is_refused_where_it_stands(watched: Api) -> None:
    for body, field, said in REFUSED:
        problem = bind(watched, 422, **body)
        assert field in [entry["field"] for entry in problem["fields"]], (body, problem)
        assert said in problem["detail"], (body, problem)
        added = {"bindings": {"add": [{"hostgroup": "web", **body}]}}
        if "falcon" not in body.values():
            problem = watched.send("POST", "plans/preview", 422, json=added)
            expected = field.replace("body.", "body.bindings.add.0.")
            assert expected in [entry["field"] for entry in problem["fields"]], body
    assert watched.get("bindings")["items"] == []


def test_what_no_host_starts_by_its_manifest_is_bound_with_a_warning(watched: Api) -> None:
    body = http({"url": "a", "colour": "red"}) | {"plugin": "meter"}
    preview = {"bindings": {"add": [{"hostgroup": "web", **body}]}}
    document = {"hostgroups": {"web": {"bindings": [body]}}}
    query = {"dry_run": True}
    told = [
        watched.send("POST", "plans/preview", 200, json=preview)["warnings"],
        watched.send("POST", "configuration/apply", 200, json=document, params=query)["notes"],
        bind(watched, **body)["warnings"],
    ]
    for runtime, platform, unknown in told:
        assert "meter/plugin.json: 'boundary-meter init.lua' needs the TrueSight" in runtime
        assert platform.endswith("not started on Linux hosts [manifest-platform]")
        assert "items[0].colour is not in" in unknown
    assert told[0][0].startswith("hostgroup web: ")


def test_passwords_are_sealed_and_stay_with_their_items(watched: Api) -> None:
    first, second, token = PASSWORDS
    items: list[dict[str, Any]] = [
        {"url": "a", "password": first, "tokens": [token]},
        {"url": "b", "colour": "red"},
    ]
    made = bind(watched, **http(*items, config_secrets={"items/1/password": second}))
    a, b = (item["password"] for item in made["config"]["items"])
    assert a.keys() == b.keys() == {"$secret"} and a != b
    tokens = made["config"]["items"][0]["tokens"]
    shown = [
        {"url": "a", "password": a, "tokens": tokens},
        {"url": "b", "colour": "red", "password": b},
    ]
    assert made["config"] == {"items": shown}
    assert made["config_secrets"] == ["items/0/password", "items/0/tokens/0", "items/1/password"]
    assert len(made["warnings"]) == 1 and "items[1].colour is not in" in made["warnings"][0]
    path = f"bindings/{made['id']}"
    assert (
        watched.send("PATCH", path, 200, json={"config": made["config"]})["config"]
        == made["config"]
    )
    assert len(watched.get("audit", params={"kind": "binding"})["items"]) == 1
    turned = watched.send("PATCH", path, 200, json={"config": {"items": shown[::-1]}})
    assert turned["config"]["items"][0] == {"url": "b", "colour": "red", "password": b}
    # Whoever read it before takes no secret for another's, with If-Match or without.
    watched.send("PATCH", path, 200, json={"config": {"items": shown}})
    watched.send("PATCH", path, 200, json={"config": {"items": shown[::-1]}})
    told = watched.get("inventory", params={"secrets": True})["all"]["vars"]["plugin_bindings"][
        "web"
    ]
    assert [item["password"] for item in told[0]["config"]["items"]] == [second, first]
    assert told[0]["config"]["items"][1]["tokens"] == [token]
    refused = watched.send(
        "PATCH", path, 422, json={"config_secrets": {"items/0/tokens": {"a": first}}}
    )
    assert refused["fields"][0]["field"] == "body.config.items[0].tokens"
    seen = [made, turned, refused, everything(watched.context)]
    seen += [
        watched.get(url) for url in ("bindings", "audit", "plans/w1", "inventory", "configuration")
    ]
    for password in PASSWORDS:
        assert password not in str(seen)
    bound = watched.get("inventory")["all"]["vars"]["plugin_bindings"]["web"]
    assert bound[0]["config"] == {
        "items": [{"url": "b", "colour": "red"}, {"url": "a", "tokens": []}]
    }
    with watched.context.database.read() as session:
        cleaner = cleaner_of(session, watched.context.vault, ["w1"])
    said = cleaner.text(json.dumps(told) + f" and {token}")
    assert all(password not in said for password in PASSWORDS)
    assert '"password": "********"' in cleaner.text('{"password": "ab"}')


def test_hostgroups_of_a_host_are_merged_and_the_plan_says_what_is_from_where(watched: Api) -> None:
    everywhere = bind(watched, **http({"url": "a", "password": "hunter2"}), hostgroup="db")["id"]
    web = bind(watched, **http({"url": "b"}, {"url": "a", "password": "hunter2"}))["id"]
    (plugin,) = watched.get("plans/w1")["plugins"]
    assert plugin["config"]["items"] == [
        {"url": "a", "password": plugin["config"]["items"][0]["password"]},
        {"url": "b"},
    ]
    assert plugin["config_secrets"] == ["items/0/password"]
    assert [(o["place"], o["hostgroup"], o["binding"]) for o in plugin["origins"]] == [
        ("items[0]", "db", everywhere),
        ("items[1]", "web", web),
    ]
    assert [reason["binding"] for reason in plugin["reasons"]] == [everywhere, web]
    before = watched.get("plans/w1")["digest"]
    watched.send("PATCH", "hostgroups/db", 200, json={"variables": {"ansible_group_priority": 9}})
    plan = watched.get("plans/w1")
    assert [item["url"] for item in plan["plugins"][0]["config"]["items"]] == ["b", "a"]
    assert (plan["digest"] != before, plan["problems"]) == (True, [])


def test_a_program_with_a_format_is_bound_by_its_arguments(watched: Api) -> None:
    disk: dict[str, Any] = {"plugin": "checks/check_disk", "format": "nagios"}
    made = bind(watched, **disk, config={"args": ["-w", "10%"]})
    assert (made["format"], made["step"]) == ("nagios", 60)
    bind(watched, 409, **disk, config={"args": ["-w", "10%"]})
    other = bind(watched, **disk, config={"args": ["/var"]}, step=30)
    refused = bind(watched, 422, **disk, config={"args": ["/var"]}, hostgroup="db")
    assert refused["fields"][0]["field"] == "body.format"
    assert "nagios every 30 s to hostgroup 'web', which shares hosts" in refused["detail"]
    bind(watched, **disk, config={"args": ["/var"]}, hostgroup="empty")
    patched = watched.send("PATCH", f"bindings/{other['id']}", 200, json={"step": 45})
    assert (patched["step"], patched["config"]) == (45, {"args": ["/var"]})
    plan = watched.get("plans/w1")
    assert plan["listed"] == ["checks/check_disk(-w,10%)", "checks/check_disk(/var)"]
    assert [p["step"] for p in plan["plugins"]] == [60, 45]
    told = watched.get("inventory")["all"]["vars"]["plugin_bindings"]["web"]
    assert {**disk, "config": {"args": ["/var"]}, "step": 45} in told
    added = {"hostgroup": "web", **disk, "config": {"args": ["/tmp"]}}
    seen = watched.send("POST", "plans/preview", 200, json={"bindings": {"add": [added]}})
    assert seen["examples"] == [{"host": "w1", "added": ["checks/check_disk(/tmp)"], "removed": []}]
    watched.send("PATCH", "hosts/w1", 200, json={"agent_kind": "falcon"})
    problems = watched.get("plans/w1")["problems"]
    assert len(problems) == 2 and "needs the executor" in problems[0]


def test_a_release_whose_manifest_no_longer_fits_is_refused(
    watched: Api, source: SourceRepository
) -> None:
    bind(watched, **http({"url": "a", "port": 80, "password": "hunter2"}))
    bind(watched, plugin="mysql", config={"url": "x"})
    asked = {**PORT, "name": "timeout", "required": True}
    source.write("httpcheck/plugin.json", manifest(URL, {**PORT, "type": "boolean"}, asked), 0o644)
    source.commit()
    problem = watched.send("POST", "releases", 422, json={})
    said = [entry["message"] for entry in problem["fields"]]
    assert len(said) == 2 and all(line.startswith("hostgroup web: httpcheck: ") for line in said)
    assert "items[0].port" in said[0] and "items[0].timeout" in said[1]
    assert "hunter2" not in str(problem) and watched.get("releases")["items"][0]["number"] == 1


def test_a_text_that_becomes_a_password_is_sealed_with_the_release(
    watched: Api, source: SourceRepository
) -> None:
    number = bind(watched, **http({"url": "s3same-open"}))["id"]
    mysql = bind(watched, plugin="mysql", config={"url": "t0ken-of-mine"})["id"]
    over = {"config": {"url": "hunter2"}}
    watched.send("PUT", "hosts/w1/overrides", 200, params={"plugin": "mysql"}, json=over)
    for folder, several in (("httpcheck", True), ("mysql", False)):
        made = manifest({**URL, "type": "password"}, several=several)
        source.write(f"{folder}/plugin.json", made, 0o644)
    source.commit()
    before = publisher_of(watched.context).newest_tree()
    publish(watched, source)
    published = pytest.raises(Conflict, match="release 2 was published at this moment")
    with published, watched.context.database.write() as session:
        service.create(
            session,
            CONTROLLER,
            watched.context.vault,
            before,
            hostgroup="db",
            plugin="mysql",
            config={"url": "s3same-open"},
            secrets={},
        )
    with pytest.raises(Conflict, match="release 2 was published at this moment"):
        context = watched.context
        Applier(context.settings, context.database, context.vault, lambda: before).apply(
            CONTROLLER, Configuration(), prune=False, if_match=None
        )
    assert watched.get(f"bindings/{number}")["config_secrets"] == ["items/0/url"]
    found = watched.get(f"bindings/{mysql}")
    assert (found["config"], found["config_secrets"]) == ({}, ["url"])
    (override,) = watched.get("hosts/w1/overrides")["items"]
    assert (override["config"], override["config_secrets"]) == ({}, ["url"])
    with watched.context.database.read() as session:
        kept = str([(row.config, row.version) for row in session.query(BindingRow)])
    assert not any(password in kept for password in PASSWORDS)
    actions = [entry["action"] for entry in watched.get("audit")["items"]]
    assert actions.count("binding.seal") == 2 and actions.count("override.seal") == 1
    told = watched.get("inventory", params={"secrets": True})
    assert told["_meta"]["hostvars"]["w1"]["plugin_config_overrides"] == {
        "mysql": {"url": "hunter2"}
    }
