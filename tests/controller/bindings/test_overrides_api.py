"""What one host has otherwise than its hostgroups say, over REST and in documents; on both databases."""

from __future__ import annotations

from typing import Any

from controller.auth.models import Scope
from tests.controller.bindings.httpcheck import bind, http
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish


def override(api: Api, status: int = 200, plugin: str = "httpcheck", **body: Any) -> Any:
    return api.send("PUT", "hosts/w1/overrides", status, params={"plugin": plugin}, json=body)


def digest(api: Api) -> str:
    found: str = api.get("plans/w1")["digest"]
    return found


def test_an_override_is_set_shown_changed_and_removed(watched: Api) -> None:
    bind(watched, **http({"url": "a"}))
    first = digest(watched)
    made = override(watched, config={"items": [{"url": "b", "password": "hunter2"}], "x": 1})
    assert made["config"]["items"][0]["password"].keys() == {"$secret"}
    assert (made["config_secrets"], made["used"]) == (["items/0/password"], True)
    assert digest(watched) != first
    plan = watched.get("plans/w1")
    (plugin,) = plan["plugins"]
    assert (plugin["overridden"], plan["unused_overrides"]) == (True, [])
    assert [(o["place"], o["hostgroup"]) for o in plugin["origins"]] == [
        ("items[0]", None),
        ("x", None),
    ]
    url = "hosts/w1/overrides?plugin=httpcheck"
    etag = watched.client.get(url).headers["etag"]
    stale = {"If-Match": etag}
    assert override(watched, config=made["config"])["updated"] == made["updated"]
    override(watched, config={"x": None})
    watched.send("PUT", url, 412, json={"config": {}}, headers=stale)
    watched.send("DELETE", url, 412, headers=stale)
    watched.send("DELETE", url, 204)
    watched.send("DELETE", url, 404)
    assert digest(watched) == first
    log = watched.get("audit", params={"kind": "host", "name": "w1"})["items"]
    assert [e["action"] for e in log][:3] == ["override.remove", "override.set", "override.set"]
    assert "hunter2" not in str([log, plan, made])


def test_an_override_is_held_against_what_the_host_would_have(watched: Api) -> None:
    bind(watched, **http({"url": "a"}))
    bind(watched, plugin="sys/ntp")
    for plugin, config, field in (
        ("httpcheck", {"items": [{"url": "a", "port": "x"}]}, "body.config.items[0].port"),
        ("httpcheck", {"items": None}, "body.config"),
        ("mysql", {"items": [{}]}, ""),  # it is not bound: what would be missing is not
        ("sys/ntp", {"a": 1}, "query.plugin"),
        ("../x", {}, "query.plugin"),
        ("", {}, "query.plugin"),
    ):
        if not field:
            assert override(watched, plugin=plugin, config={"url": 5})["used"] is False
            continue
        problem = override(watched, 422, plugin=plugin, config=config)
        assert field in [entry["field"] for entry in problem["fields"]], (plugin, problem)
    before = digest(watched)
    plan = watched.get("plans/w1")
    assert plan["unused_overrides"] == ["mysql"]
    override(watched, plugin="mysql", config={"url": 6})
    assert digest(watched) == before  # it does nothing, so no host is to be visited for it
    watched.send("GET", "hosts/nobody/overrides", 404)


def test_what_every_host_overrides_may_be_missing_in_the_hostgroup(
    watched: Api, source: SourceRepository
) -> None:
    gap: dict[str, Any] = {"plugin": "httpcheck", "config": {"items": [{"port": 80}]}}
    bind(watched, 422, **gap)
    override(watched, config={"items": [{"url": "a"}]})
    number = bind(watched, **gap)["id"]
    bind(watched, 422, **gap, hostgroup="all")  # f1 has none
    bind(watched, 422, **gap, hostgroup="empty")
    watched.send("POST", "releases", 200, json={})
    watched.send("POST", "hosts", 201, json={"name": "w2", "hostgroups": ["web"]})
    assert "items[0].url" in str(watched.get("plans/w2")["problems"])
    assert watched.get("plans/w1")["problems"] == []
    watched.send("PATCH", f"bindings/{number}", 422, json={"config": {"items": [{"port": "x"}]}})
    source.write("sys/disk/60_disk.sh", "#!/bin/sh\n")
    source.commit()
    publish(watched, source)  # what w2 lacks keeps nobody from a release


def test_what_another_hostgroup_of_its_hosts_says_need_not_be_said_again(watched: Api) -> None:
    less: dict[str, Any] = {"plugin": "httpcheck", "config": {"pollInterval": 5000}}
    bind(watched, 422, **less)
    bind(watched, **http({"url": "a"}), hostgroup="db")
    bind(watched, **less)
    bind(watched, 422, **less, hostgroup="empty")
    assert watched.get("plans/w1")["problems"] == []


def test_an_override_makes_no_other_program_of_one(watched: Api) -> None:
    plugin = "checks/check_disk"
    early = {"config": {}, "config_secrets": {"args": ["-p", "hunter2"]}}
    override(watched, plugin=plugin, **early)  # nothing is bound that it could change
    bind(watched, plugin=plugin, format="nagios", config={"args": []})
    plan = watched.get("plans/w1")
    assert plan["listed"] == [f"{plugin}()"] and "another program" in plan["problems"][0]
    assert "hunter2" not in str(plan)
    for body in (early, {"config": {"args": "x"}}, {"config": {"args": ["-w", "10%"]}}):
        refused = override(watched, 422, plugin=plugin, **body)
        assert [entry["field"] for entry in refused["fields"]] == ["body.config.args"]
    bind(watched, plugin="sys/ntp")
    for name, config in ((plugin, {"args": ["-w"]}), ("sys/ntp", {"a": 1})):
        wrong = {"overrides": {"w1": {name: {"config": config}}}}
        refused = watched.send("POST", "configuration/apply", 422, json=wrong)
        assert refused["fields"][0]["field"].startswith(f"body.overrides.w1.{name}.config")


def test_overrides_are_in_the_inventory_their_secrets_only_where_those_are_told(
    watched: Api,
) -> None:
    bind(watched, plugin="mysql", config={})
    override(watched, plugin="mysql", config={"url": "x", "password": "hunter2"})
    open_, told = (
        watched.get("inventory", params={"secrets": secrets})["_meta"]["hostvars"]["w1"]
        for secrets in (False, True)
    )
    assert (open_["plugin_config_overrides"], open_["plugfleet_plan"]) == (
        {"mysql": {"url": "x"}},
        "",
    )
    assert told["plugin_config_overrides"] == {"mysql": {"url": "x", "password": "hunter2"}}
    assert told["plugfleet_plan"] == digest(watched)
    body: dict[str, Any] = {"variables": {"plugin_config_overrides": {}}}
    assert "overrides" in watched.send("PATCH", "hosts/w1", 422, json=body)["detail"]


def test_a_limited_token_overrides_on_its_hosts_only(watched: Api) -> None:
    path, body = "hosts/w1/overrides?plugin=x", {"config": {"a": 1}}
    for scope, hostgroups, status in (
        (Scope.OPERATOR, ["web"], 200),
        (Scope.OPERATOR, ["falcon"], 404),
        (Scope.VIEWER, None, 403),
    ):
        client = watched.connect(watched.token_of(scope, hostgroups))
        assert client.put(path, json=body).status_code == status
    watched.send("DELETE", "hosts/w1", 204)  # and its overrides with it
    watched.send("POST", "hosts", 201, json={"name": "w1"})
    assert watched.get("hosts/w1/overrides")["items"] == []


def test_a_document_carries_formats_overrides_and_the_places_of_secrets(watched: Api) -> None:
    items = [{"url": "a", "password": "hunter2"}, {"url": "b", "password": "s3same"}]
    bind(watched, **http(*items))
    disk: dict[str, Any] = {
        "plugin": "checks/check_disk",
        "format": "nagios",
        "config": {"args": ["/"]},
    }
    bind(watched, **disk)
    override(watched, config={"pollInterval": 5000, "items": [{"url": "c", "password": "t0ken"}]})
    exported = watched.get("configuration")
    assert not any(password in str(exported) for password in ("hunter2", "s3same", "t0ken"))

    def apply(document: Any, status: int = 200, **query: Any) -> Any:
        return watched.send("POST", "configuration/apply", status, json=document, params=query)

    def passwords() -> list[tuple[str, str]]:
        told = watched.get("inventory", params={"secrets": True})["all"]["vars"]
        (bound,) = [b for b in told["plugin_bindings"]["web"] if b["plugin"] == "httpcheck"]
        return [(item["url"], item["password"]) for item in bound["config"]["items"]]

    assert apply(exported, prune=True)["changes"] == []
    (entry,) = [b for b in exported["hostgroups"]["web"]["bindings"] if b["plugin"] == "httpcheck"]
    entry["config"]["items"].reverse()
    for changes in (1, 0):  # applied again, the places of before must not turn them back
        assert len(apply(exported)["changes"]) == changes
        assert passwords() == [("b", "s3same"), ("a", "hunter2")]
    entry["config"]["items"][0]["port"] = "x"
    wrong = apply(exported, 422)
    (field,) = [found["field"] for found in wrong["fields"]]
    assert field.startswith("body.hostgroups.web.bindings.") and field.endswith("items[0].port")
    entry["config"]["items"][0]["port"] = 80
    laid_over = exported["overrides"]["w1"]["httpcheck"]
    laid_over["config"]["items"][0]["port"] = "x"
    (field,) = [found["field"] for found in apply(exported, 422)["fields"]]
    assert field == "body.overrides.w1.httpcheck.config.items[0].port"
    del exported["overrides"]["w1"]["httpcheck"]
    plan = apply(exported, dry_run=True)
    assert plan["not_named"] == ["override of httpcheck on host w1"]
    assert [change["kind"] for change in apply(exported, prune=True)["changes"]] == [
        "binding",
        "override",
    ]


def test_a_document_may_name_secrets_whose_values_come_later(watched: Api) -> None:
    reference = {"$secret": "items/0/password"}
    bindings = [
        {"plugin": "httpcheck", "config": {"items": [{"url": "a", "password": reference}]}},
        {"plugin": "mysql", "secrets": ["password"]},
    ]
    document = {"hostgroups": {"db": {"bindings": bindings}}}
    for _ in range(2):
        plan = watched.send("POST", "configuration/apply", 200, json=document)
        assert [note.rpartition(" ")[2] for note in plan["notes"]] == [
            "items/0/password",
            "password",
        ]
    assert plan["changes"] == []
    for row in watched.get("bindings")["items"]:
        secrets = {note: "hunter2" for note in ["items/0/password"]}
        secrets = secrets if row["plugin"] == "httpcheck" else {"password": "hunter2"}
        watched.send("PATCH", f"bindings/{row['id']}", 200, json={"config_secrets": secrets})
    plan = watched.send("POST", "configuration/apply", 200, json=document)
    assert (plan["notes"], plan["changes"]) == ([], [])
    told = watched.get("inventory", params={"secrets": True})["all"]["vars"]["plugin_bindings"]
    assert str(told).count("'password': 'hunter2'") == 2
