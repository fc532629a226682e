"""The plan of a host, why each plugin is in it, and when its digest changes; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from controller.auth.models import Scope
from controller.auth.vault import Vault, new_key
from controller.database import counters
from controller.fleet.models import Host
from controller.plans import service
from controller.plans.flow import follow_plans
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def fleet(api: Api) -> Api:
    """Three hosts: w1 in web by name and by rule, w2 by rule, d1 in db."""
    api.send("POST", "hostgroups", 201, json={"name": "web", "rule": "role=web"})
    api.send("POST", "hostgroups", 201, json={"name": "db", "variables": {"colour": "blue"}})
    for name, labels, groups in (
        ("w1", {"role": "web"}, ["web"]),
        ("w2", {"role": "web"}, []),
        ("d1", {}, ["db"]),
    ):
        body = {"name": name, "labels": labels, "hostgroups": groups}
        api.send("POST", "hosts", 201, json=body)
    return api


def bind(api: Api, hostgroup: str, plugin: str, **more: Any) -> int:
    body = {"hostgroup": hostgroup, "plugin": plugin, **more}
    number: int = api.send("POST", "bindings", 201, json=body)["id"]
    return number


def digests(api: Api) -> dict[str, str]:
    """The digest of every host, by name; also held against those asked for one by one."""
    with api.context.database.read() as session:
        found = service.digests(session, api.context.vault)
        names = {row.id: row.name for row in session.execute(select(Host.id, Host.name))}
        for host_id, digest in found.items():
            assert service.digests(session, api.context.vault, [host_id]) == {host_id: digest}
    return {names[host_id]: digest for host_id, digest in found.items()}


def test_each_plugin_of_a_plan_has_its_reasons(fleet: Api, make_source: MakeSource) -> None:
    publish(fleet, make_source())
    everywhere = bind(fleet, "all", "sys/ntp")
    web = bind(fleet, "web", "sys/ntp")
    script = bind(fleet, "web", "sys/ntp/600_ntp.py(a)")
    bind(fleet, "db", "sys")
    plan = fleet.get("plans/w1")
    reasons = {plugin["plugin"]: plugin["reasons"] for plugin in plan["plugins"]}
    assert reasons == {
        "sys/ntp": [
            {"binding": everywhere, "hostgroup": "all", "by_name": False, "by_rule": False},
            {"binding": web, "hostgroup": "web", "by_name": True, "by_rule": True},
        ],
        "sys/ntp/600_ntp.py(a)": [
            {"binding": script, "hostgroup": "web", "by_name": True, "by_rule": True}
        ],
    }
    assert plan["hostgroups"] == ["all", "web"]
    assert plan["listed"] == ["sys/ntp/600_ntp.py(a)"]
    assert plan["release"]["number"] == 1
    assert plan["digest"] == digests(fleet)["w1"]
    assert plan["state"] == "pending" and not plan["reported"]


def test_a_plan_names_variables_and_where_they_stand(fleet: Api) -> None:
    body = {"variables": {"colour": "red", "size": 1}, "secrets": {"ansible_password": "hunter2"}}
    fleet.send("PATCH", "hosts/d1", 200, json=body)
    plan = fleet.get("plans/d1")
    assert {(v["name"], v["hostgroup"], v["secret"]) for v in plan["variables"]} == {
        ("colour", None, False),
        ("size", None, False),
        ("ansible_password", None, True),
    }
    assert "hunter2" not in str(plan)


def test_bindings_that_contradict_each_other_are_told(fleet: Api) -> None:
    bind(fleet, "web", "check", format="nagios")
    bind(fleet, "db", "check", format="nagios", step=30)  # they share no host yet
    fleet.send("POST", "hostgroups/db/members", 200, json={"add": ["w1"]})
    plan = fleet.get("plans/w1")
    assert [(p["plugin"], p["step"]) for p in plan["plugins"]] == [("check", 30)]
    assert plan["problems"] == [
        "'check' is bound as nagios every 30 s and as nagios every 60 s: the first stays "
        "[binding-config-conflict]"
    ]
    assert (plan["release"], plan["listed"]) == (None, [])


def test_an_unknown_host_and_one_outside_the_tokens_hostgroups_look_the_same(fleet: Api) -> None:
    client = fleet.connect(fleet.token_of(Scope.VIEWER, ["web"]))
    assert client.get("plans/w2").status_code == 200
    outside, unknown = client.get("plans/d1"), client.get("plans/d2")
    assert outside.status_code == unknown.status_code == 404
    assert outside.json()["detail"].replace("d1", "d2") == unknown.json()["detail"]
    for name in ("..%2Fetc", "a b", "x" * 300):
        assert client.get(f"plans/{name}").status_code in (404, 422)


CHANGES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("POST", "bindings", {"hostgroup": "web", "plugin": "sys/load"}, {"w1", "w2"}),
    ("POST", "bindings", {"hostgroup": "all", "plugin": "sys/disk"}, {"w1", "w2", "d1"}),
    ("POST", "bindings", {"hostgroup": "db", "plugin": "m", "config": {"a": 1}}, {"d1"}),
    ("PATCH", "bindings/3", {"config": {"a": 2}}, {"d1"}),
    ("PATCH", "bindings/3", {"config_secrets": {"b": "1"}}, {"d1"}),
    ("PATCH", "bindings/3", {"config_secrets": {"b": "2"}}, {"d1"}),
    ("PATCH", "hostgroups/db", {"variables": {"colour": "red"}}, {"d1"}),
    ("PATCH", "hostgroups/db", {"secrets": {"pin": "1"}}, {"d1"}),
    ("PATCH", "hostgroups/db", {"description": "databases"}, set()),
    ("PATCH", "hosts/d1", {"variables": {"colour": "green"}}, {"d1"}),
    ("PATCH", "hostgroups/db", {"variables": {"colour": "blue"}}, set()),
    ("PATCH", "hosts/w1", {"address": "192.0.2.1"}, {"w1"}),
    ("PATCH", "hosts/w1", {"agent_kind": "falcon"}, {"w1"}),
    ("PATCH", "hosts/w1", {"secrets": {"ansible_password": "x"}}, {"w1"}),
    ("PATCH", "hosts/w1", {"labels": {"rack": "7"}}, set()),
    ("PATCH", "hosts/w2", {"labels": {"role": "db"}}, {"w2"}),
    ("PUT", "hosts/d1/overrides?plugin=m", {"config": {"a": 3}}, {"d1"}),
    ("PUT", "hosts/d1/overrides?plugin=m", {"config_secrets": {"c": "3"}}, {"d1"}),
    ("PUT", "hosts/d1/overrides?plugin=elsewhere", {"config": {"a": 3}}, set()),
    ("DELETE", "hosts/d1/overrides?plugin=m", {}, {"d1"}),
    ("POST", "hostgroups/db/members", {"add": ["w1"]}, {"w1"}),
    ("PATCH", "hostgroups/all", {"variables": {"site": "bj"}}, {"w1", "w2", "d1"}),
    ("DELETE", "bindings/2", {}, {"w1", "w2", "d1"}),
]


def test_a_digest_changes_when_the_plan_does_and_never_otherwise(fleet: Api) -> None:
    before = digests(fleet)
    for method, path, body, expected in CHANGES:
        answer = fleet.client.request(method, path, json=body or None)
        assert answer.status_code < 300, (path, body, answer.text)
        after = digests(fleet)
        assert {name for name in after if after[name] != before[name]} == expected, (path, body)
        before = after


def test_a_release_changes_every_plan(fleet: Api, make_source: MakeSource) -> None:
    before = digests(fleet)
    publish(fleet, make_source())
    after = digests(fleet)
    assert all(before[name] != after[name] for name in before)


def test_new_keys_for_secrets_change_no_plan(fleet: Api) -> None:
    fleet.send("PATCH", "hosts/w1", 200, json={"secrets": {"ansible_password": "x"}})
    before = digests(fleet)
    old = fleet.context.settings.key_file.read_text().strip()
    vault = Vault([new_key(), old])
    with fleet.context.database.write() as session:
        for host in session.scalars(select(Host).where(Host.secrets != "")):
            host.secrets = vault.renew(host.secrets)
    with fleet.context.database.read() as session:
        after = service.digests(session, vault)
    assert sorted(after.values()) == sorted(before.values())


def test_equal_passwords_cannot_be_told_by_equal_fingerprints(fleet: Api) -> None:
    vault = fleet.context.vault
    one, two = (vault.seal({"ansible_password": "0000"}) for _ in range(2))
    assert vault.fingerprint(one) != vault.fingerprint(two)


def test_states_follow_plans(fleet: Api) -> None:
    context = fleet.context
    with context.database.write() as session:
        for host_id, digest in service.digests(session, context.vault).items():
            values = {"reported_plan": digest, "state": "converged"}
            session.execute(update(Host).where(Host.id == host_id).values(values))
        session.execute(update(Host).where(Host.name == "w2").values(state="drifted"))
    assert follow_plans(context.database, context.vault) == 0
    number = bind(fleet, "web", "sys/ntp")

    def states() -> dict[str, str]:
        with context.database.read() as session:
            return {row.name: row.state for row in session.execute(select(Host.name, Host.state))}

    # The controller's own thread may have been first.
    follow_plans(context.database, context.vault)
    assert states() == {"w1": "pending", "w2": "drifted", "d1": "converged"}
    assert fleet.get("plans/w1")["state"] == "pending"
    with context.database.read() as session:
        before = counters.count(session, counters.STATES)
    fleet.send("DELETE", f"bindings/{number}", 204)
    follow_plans(context.database, context.vault)
    assert states() == {"w1": "converged", "w2": "drifted", "d1": "converged"}
    with context.database.read() as session:
        assert counters.count(session, counters.STATES) > before


def preview(api: Api, status: int = 200, **body: Any) -> Any:
    return api.send("POST", "plans/preview", status, json=body)


def test_a_preview_tells_hosts_and_plugins_and_writes_nothing(
    fleet: Api, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("sys/load/60_load.sh")
    source.commit()
    publish(fleet, source)
    ntp = bind(fleet, "web", "sys/ntp")
    before, bindings = digests(fleet), fleet.get("bindings")
    seen = preview(
        fleet,
        bindings={"add": [{"hostgroup": "all", "plugin": "sys/load"}], "remove": [ntp]},
        hostgroups=[{"name": "web", "add": ["d1"]}],
    )
    assert seen["text"] == "these 3 hosts, +1 plugin, -1"
    assert (seen["hosts"], seen["plugins_added"], seen["plugins_removed"]) == (3, 1, 1)
    load, old = ["sys/load/60_load.sh"], ["sys/ntp/600_ntp.py"]
    assert seen["examples"] == [
        {"host": "d1", "added": load, "removed": []},
        {"host": "w1", "added": load, "removed": old},
        {"host": "w2", "added": load, "removed": old},
    ]
    assert {"hostgroup": "web", "hosts": 3, "joined": 1, "left": 0} in seen["by_hostgroup"]
    assert (digests(fleet), fleet.get("bindings")) == (before, bindings)


def test_a_preview_knows_that_a_script_by_itself_wins_over_its_directory(
    fleet: Api, make_source: MakeSource
) -> None:
    publish(fleet, make_source())
    bind(fleet, "web", "sys/ntp")
    added = [{"hostgroup": "all", "plugin": "sys/ntp/600_ntp.py(x)"}]
    seen = preview(fleet, bindings={"add": added})
    assert seen["examples"][1] == {
        "host": "w1",
        "added": ["sys/ntp/600_ntp.py(x)"],
        "removed": ["sys/ntp/600_ntp.py"],
    }


def test_a_preview_of_a_rule_tells_who_joins_and_who_leaves(fleet: Api) -> None:
    bind(fleet, "db", "sys/ntp")
    bind(fleet, "web", "sys/load")
    seen = preview(
        fleet,
        hostgroups=[{"name": "db", "rule": "role=web"}, {"name": "web", "rule": "role=none"}],
    )
    assert seen["text"] == "these 2 hosts, +1 plugin, -1"
    # w1 stays in web, where it is by name too.
    assert seen["examples"] == [
        {"host": "w1", "added": ["sys/ntp"], "removed": []},
        {"host": "w2", "added": ["sys/ntp"], "removed": ["sys/load"]},
    ]


def publish_twice(fleet: Api, source: SourceRepository) -> None:
    """Release 1, and release 2 which has sys/load too."""
    publish(fleet, source)
    source.write("sys/load/60_load.sh")
    source.commit()
    publish(fleet, source)


def test_a_preview_of_a_rollback_tells_what_would_not_work(
    fleet: Api, make_source: MakeSource
) -> None:
    publish_twice(fleet, make_source())
    bind(fleet, "web", "sys/load")
    seen = preview(fleet, release=1)
    assert seen["text"] == "these 3 hosts, -1 plugin"
    assert len(seen["problems"]) == 1 and "'sys/load'" in seen["problems"][0]
    assert preview(fleet)["text"] == "no host gets another plan"
    preview(fleet, 404, release=9)


def test_a_preview_of_what_is_bound_already_changes_nothing(fleet: Api) -> None:
    bind(fleet, "web", "sys/ntp")
    seen = preview(fleet, bindings={"add": [{"hostgroup": "web", "plugin": "/sys/ntp"}]})
    assert (seen["hosts"], seen["examples"]) == (0, [])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"bindings": {"remove": [999]}}, "body.bindings.remove"),
    ({"bindings": {"add": [{"hostgroup": "wep", "plugin": "x"}]}}, "body.bindings.add.0.hostgroup"),
    ({"bindings": {"add": [{"hostgroup": "web", "plugin": ".."}]}}, "body.bindings.add.0.plugin"),
    ({"hostgroups": [{"name": "nope"}]}, "body.hostgroups.0.name"),
    ({"hostgroups": [{"name": "web", "add": ["w1", "w9"]}]}, "body.hostgroups.0"),
    ({"hostgroups": [{"name": "web", "rule": "a=1,a=2"}]}, "body.hostgroups.0.rule"),
    ({"release": 0}, "body.release"),
    ({"surprise": 1}, "body.surprise"),
]


def test_a_preview_of_the_impossible_is_refused_by_its_field(fleet: Api) -> None:
    for body, field in WRONG:
        problem = preview(fleet, 422, **body)
        assert field in [entry["field"] for entry in problem["fields"]], (body, problem)
    assert "members cannot be" in preview(fleet, 422, hostgroups=[{"name": "all"}])["detail"]


def test_a_limited_token_previews_its_hostgroups_only(fleet: Api) -> None:
    number = bind(fleet, "db", "sys/ntp")
    client = fleet.connect(fleet.token_of(Scope.VIEWER, ["web"]))
    allowed = {"bindings": {"add": [{"hostgroup": "web", "plugin": "sys/load"}]}}
    assert client.post("plans/preview", json=allowed).json()["hosts"] == 2
    for body, status in (
        ({"bindings": {"add": [{"hostgroup": "db", "plugin": "sys/load"}]}}, 403),
        ({"bindings": {"remove": [number]}}, 422),
        ({"hostgroups": [{"name": "db", "rule": ""}]}, 403),
        ({"hostgroups": [{"name": "web", "rule": "a=1"}]}, 403),
        ({"hostgroups": [{"name": "web", "add": ["d1"]}]}, 422),
    ):
        response = client.post("plans/preview", json=body)
        assert response.status_code == status, (body, response.text)


def test_a_limited_token_is_not_told_of_other_hostgroups_by_a_preview(
    fleet: Api, make_source: MakeSource
) -> None:
    publish_twice(fleet, make_source())
    fleet.send("POST", "hostgroups/db/members", 200, json={"add": ["w1"]})
    for hostgroup in ("web", "db"):
        bind(fleet, hostgroup, "sys/load")
    everything = preview(fleet, release=1)
    assert [row["hostgroup"] for row in everything["by_hostgroup"]] == ["db", "web"]
    client = fleet.connect(fleet.token_of(Scope.VIEWER, ["web"]))
    told = client.post("plans/preview", json={"release": 1}).json()
    assert [row["hostgroup"] for row in told["by_hostgroup"]] == ["web"]
    assert [text.split(":")[0] for text in told["problems"]] == ["hostgroup web"]
    fleet.send("DELETE", "hostgroups/web?force=true", 204)
    fleet.send("POST", "hostgroups", 201, json={"name": "webs"})
    body = {"bindings": {"add": [{"hostgroup": "web", "plugin": "sys/load"}]}}
    response = client.post("plans/preview", json=body)
    assert response.status_code == 422 and "webs" not in response.text


def test_variables_of_groups_are_merged_in_ansibles_order(fleet: Api) -> None:
    fleet.send("POST", "hostgroups/db/members", 200, json={"add": ["w1"]})
    fleet.send("PATCH", "hostgroups/web", 200, json={"variables": {"colour": "red"}})
    before = digests(fleet)["w1"]
    # web comes after db, so what db says does not count, until its priority is higher.
    fleet.send("PATCH", "hostgroups/db", 200, json={"variables": {"colour": "black"}})
    assert digests(fleet)["w1"] == before
    body = {"variables": {"colour": "black", "ansible_group_priority": 2}}
    fleet.send("PATCH", "hostgroups/db", 200, json=body)
    first = digests(fleet)["w1"]
    fleet.send("PATCH", "hostgroups/web", 200, json={"variables": {"colour": "green"}})
    assert digests(fleet)["w1"] == first
