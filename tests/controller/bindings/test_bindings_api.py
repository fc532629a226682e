"""Bindings over REST: checked against the newest release, limited to hostgroups; on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from controller.auth.models import Scope
from controller.database import counters
from controller.web.deps import Context
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]
MANIFEST = {"name": "httpcheck", "version": "1.0", "command": "./check.sh", "metrics": ["M"]}


@pytest.fixture
def fleet(api: Api) -> Api:
    """A controller with two hostgroups."""
    for name in ("web", "db"):
        api.send("POST", "hostgroups", 201, json={"name": name})
    return api


def plans(context: Context) -> int:
    with context.database.read() as session:
        return counters.count(session, counters.PLANS)


def bind(api: Api, status: int = 201, **body: object) -> dict[str, object]:
    answer: dict[str, object] = api.send("POST", "bindings", status, json=body)
    return answer


def test_a_binding_is_made_changed_and_removed(fleet: Api) -> None:
    before = plans(fleet.context)
    made = bind(fleet, hostgroup="web", plugin="/sys/ntp/60_a.sh(a,b)")
    assert made["plugin"] == "sys/ntp/60_a.sh(a,b)"
    path = f"bindings/{made['id']}"
    fleet.send("PATCH", path, 200, json={"plugin": "sys/ntp/60_a.sh(c)"})
    assert fleet.get(path)["plugin"] == "sys/ntp/60_a.sh(c)"
    fleet.send("DELETE", path, 204)
    fleet.get(path, 404)
    assert plans(fleet.context) == before + 3
    log = fleet.get("audit", params={"kind": "binding"})["items"]
    assert [entry["action"] for entry in log] == [
        "binding.delete",
        "binding.update",
        "binding.create",
    ]
    assert log[1]["before"]["plugin"] == "sys/ntp/60_a.sh(a,b)"


def test_a_change_that_changes_nothing_leaves_plans_alone(fleet: Api) -> None:
    made = bind(fleet, hostgroup="web", plugin="sys/ntp")
    before = plans(fleet.context)
    fleet.send("PATCH", f"bindings/{made['id']}", 200, json={"plugin": "sys/ntp/"})
    assert plans(fleet.context) == before


def test_a_lost_update_is_refused(fleet: Api) -> None:
    path = f"bindings/{bind(fleet, hostgroup='web', plugin='sys/ntp')['id']}"
    old = {"If-Match": fleet.client.get(path).headers["etag"]}
    fleet.send("PATCH", path, 200, json={"plugin": "sys/a"}, headers=old)
    fleet.send("PATCH", path, 412, json={"plugin": "sys/b"}, headers=old)
    fleet.send("DELETE", path, 412, headers=old)
    assert fleet.get(path)["plugin"] == "sys/a"


def test_the_same_plugin_is_bound_to_a_hostgroup_once(fleet: Api) -> None:
    bind(fleet, hostgroup="web", plugin="sys/ntp")
    assert "already" in str(bind(fleet, 409, hostgroup="web", plugin="sys/ntp/")["detail"])
    bind(fleet, hostgroup="db", plugin="sys/ntp")
    other = bind(fleet, hostgroup="web", plugin="sys/load")
    fleet.send("PATCH", f"bindings/{other['id']}", 409, json={"plugin": "sys/ntp"})


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"hostgroup": "webb"}, "body.hostgroup", "did you mean 'web'?"),
    ({"hostgroup": "a/b"}, "body.hostgroup", ""),
    ({"hostgroup": ""}, "body.hostgroup", ""),
    ({"plugin": ""}, "body.plugin", ""),
    ({"plugin": "../etc"}, "body.plugin", "'..'"),
    ({"plugin": "sys/ntp\n"}, "body.plugin", "control character"),
    ({"plugin": "sys/(a)(b)"}, "body.plugin", "parentheses"),
    ({"plugin": " sys/ntp"}, "body.plugin", "space"),
    ({"plugin": "sys/\x00"}, "body.plugin", "control character"),
    ({"plugin": "x" * 10_000}, "body.plugin", ""),
    ({"plugin": "sys/ntp/60_a.sh({{ lookup('pipe','id') }})"}, "body.plugin", "template"),
    ({"config": {"a": "{% x %}"}}, "body.config", "template"),
    ({"config": {"a": "\x00"}}, "body.config", "NUL"),
    ({"config": ["a"]}, "body.config", ""),
    ({"config_secrets": {"a": "{{ x }}"}}, "body.config_secrets", "template"),
    ({"surprise": 1}, "body.surprise", ""),
]


def test_what_cannot_be_a_binding_is_refused_by_its_field(fleet: Api) -> None:
    for body, field, said in REFUSED:
        whole = {"hostgroup": "web", "plugin": "sys/ntp", **body}
        problem = fleet.send("POST", "bindings", 422, json=whole)
        assert field in [entry["field"] for entry in problem["fields"]], body
        assert said in problem["detail"], body
    assert fleet.get("bindings")["items"] == []


def test_with_a_release_only_what_it_holds_can_be_bound(
    fleet: Api, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("web/httpcheck/plugin.json", json.dumps(MANIFEST), 0o644)
    source.write("web/httpcheck/check.sh")
    source.commit()
    publish(fleet, source, force=True)
    for plugin, said in (
        ("sys/npt", "did you mean 'sys/ntp'?"),
        ("sys/ntp/600_ntp.p", "did you mean 'sys/ntp/600_ntp.py'?"),
        ("sys/ntp(a)", "directory"),
    ):
        problem = fleet.send("POST", "bindings", 422, json={"hostgroup": "web", "plugin": plugin})
        assert problem["fields"][0]["field"] == "body.plugin" and said in problem["detail"], plugin
    refused = bind(fleet, 422, hostgroup="web", plugin="sys/ntp", config={"a": 1})
    assert "no plugin.json" in str(refused["detail"])
    made = bind(fleet, hostgroup="web", plugin="sys/ntp")
    fleet.send("PATCH", f"bindings/{made['id']}", 422, json={"plugin": "sys/gone"})
    bind(fleet, hostgroup="all", plugin="web/httpcheck", config={"url": "http://x/"})


def test_secret_items_are_shown_by_name_only(fleet: Api) -> None:
    made = bind(
        fleet,
        hostgroup="web",
        plugin="mysql",
        config={"user": "monitor"},
        config_secrets={"password": "hunter2", "pin": "0000"},
    )
    assert (made["config"], made["config_secrets"]) == ({"user": "monitor"}, ["password", "pin"])
    path = f"bindings/{made['id']}"
    body = {"config_secrets": {"pin": None, "password": "s3same"}}
    assert fleet.send("PATCH", path, 200, json=body)["config_secrets"] == ["password"]
    seen = str([made, fleet.get(path), fleet.get("bindings"), fleet.get("audit")])
    assert "hunter2" not in seen and "s3same" not in seen
    told = fleet.get("inventory", params={"secrets": True})["all"]["vars"]["plugin_bindings"]
    config = {"user": "monitor", "password": "s3same"}
    assert told == {"web": [{"plugin": "mysql", "config": config}]}


def test_a_limited_token_sees_and_changes_its_hostgroups_only(fleet: Api) -> None:
    ours = bind(fleet, hostgroup="web", plugin="sys/ntp")
    theirs = bind(fleet, hostgroup="db", plugin="sys/ntp")
    client = fleet.connect(fleet.token_of(Scope.OPERATOR, ["web"]))
    assert [row["id"] for row in client.get("bindings").json()["items"]] == [ours["id"]]
    assert client.get(f"bindings/{theirs['id']}").status_code == 404
    assert client.delete(f"bindings/{theirs['id']}").status_code == 404
    body = {"hostgroup": "db", "plugin": "sys/load"}
    assert client.post("bindings", json=body).status_code == 403
    assert client.post("bindings", json=body | {"hostgroup": "web"}).status_code == 201
    viewer = fleet.connect(fleet.token_of(Scope.VIEWER))
    assert viewer.post("bindings", json=body).status_code == 403


def test_bindings_are_listed_by_hostgroup_and_plugin(fleet: Api) -> None:
    for group in ("web", "db", "all"):
        for plugin in ("sys/ntp", "sys/load"):
            bind(fleet, hostgroup=group, plugin=plugin)

    def listed(**params: object) -> list[tuple[str, str]]:
        items = fleet.get("bindings", params=params)["items"]
        return [(row["hostgroup"], row["plugin"]) for row in items]

    assert len(listed()) == 6
    assert listed(hostgroup="all") == [("all", "sys/ntp"), ("all", "sys/load")]
    assert listed(plugin="sys/load", sort="-id")[0] == ("all", "sys/load")
    assert listed(hostgroup="web", plugin="sys/ntp") == [("web", "sys/ntp")]
    first = fleet.get("bindings", params={"limit": 4})
    rest = fleet.get("bindings", params={"limit": 4, "cursor": first["next"]})
    assert (len(rest["items"]), rest["next"]) == (2, None)
