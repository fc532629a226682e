"""Hosts that nobody made, and heartbeats in another host's name: on record, and never trusted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from controller.agents import unknown
from controller.agents.flow import Agents
from controller.auth.models import Scope
from controller.catalog.deps import publisher_of
from controller.fleet.models import Host
from tests.controller.agents.falcon import GoClient, RpcError
from tests.controller.agents.fleet import Fleet, commit, told, until, until_told
from tests.controller.server import Api

HOSTILE = [
    "'; DROP TABLE hosts; --",
    "<script>alert(1)</script>",
    "a\x00b\x1b[31m\u202e",
    "../../etc/passwd",
    "{{ lookup('pipe', 'id') }}",
    "x" * 10_000,
    "\ud800",
]


def adopt(api: Api, name: str, status: int = 201, **body: Any) -> Any:
    return api.send("POST", f"unknown-hosts/{name}/adoption", status, json=body)


def seen(api: Api, fleet: Fleet, agent: GoClient, name: str, version: str = "0.3.x") -> None:
    assert agent.report(name, commit(1), version) == {"code": 0}
    until(lambda: name in fleet.unknown(), f"{name} is on record")


def test_an_unknown_host_is_on_record_and_gets_no_list(
    api: Api, fleet: Fleet, agent: GoClient
) -> None:
    seen(api, fleet, agent, "new1")
    assert told(agent, "new1") is None
    shown = api.get("unknown-hosts")["items"][0]
    assert {key: shown[key] for key in ("name", "peer", "ip", "version", "head")} == {
        "name": "new1",
        "peer": "127.0.0.1",
        "ip": "10.0.0.1",
        "version": "0.3.x",
        "head": commit(1),
    }
    assert "new1" not in api.get("inventory")["_meta"]["hostvars"]
    assert [host["name"] for host in api.get("hosts")["items"]] == ["web1"]


def test_an_unknown_host_is_adopted_by_hand(api: Api, fleet: Fleet, agent: GoClient) -> None:
    seen(api, fleet, agent, "new1")
    seen(api, fleet, agent, "new2", "pf-0.1.0")
    host = adopt(api, "new1", hostgroups=["web"], address="192.0.2.9", labels={"idc": "bj"})
    assert (host["agent_kind"], host["hostgroups"], host["state"]) == ("falcon", ["web"], "pending")
    assert adopt(api, "new2")["agent_kind"] == "executor"
    until_told(agent, "new1", ["sys/ntp"])
    assert "new1" not in fleet.unknown()
    assert [entry.name for entry in fleet.audit("host.adopt")] == ["new1", "new2"]
    adopt(api, "new1", 404)


def test_an_adoption_that_cannot_be_says_why_and_changes_nothing(
    api: Api, fleet: Fleet, agent: GoClient
) -> None:
    seen(api, fleet, agent, "new1")
    assert "no such hostgroups: nope" in adopt(api, "new1", 422, hostgroups=["nope"])["detail"]
    assert agent.report("no name") == {"code": 0}
    until(lambda: "no name" in fleet.unknown(), "it is on record all the same")
    assert "cannot be a host's name" in adopt(api, "no%20name", 422)["detail"]
    assert {"new1", "no name"} == set(fleet.unknown())
    assert api.client.delete("unknown-hosts/no%20name").status_code == 204
    assert api.client.delete("unknown-hosts/no%20name").status_code == 404


def test_what_an_agent_says_is_data(api: Api, fleet: Fleet, agent: GoClient) -> None:
    until_told(agent, "web1", ["sys/ntp"])
    for number, text in enumerate(HOSTILE):
        said = {"Hostname": text, "IP": text, "AgentVersion": text, "PluginVersion": text}
        assert agent.call("Agent.ReportStatus", said) == {"code": 0}
        assert agent.call("Agent.ReportStatus", said | {"Hostname": "web1"}) == {"code": 0}
        until(lambda: len(fleet.unknown()) > number, "it is on record")  # noqa: B023
        with pytest.raises(RpcError):
            agent.plugins(text)
        assert agent.plugins("web1")[0] == ["sys/ntp"]
    until(lambda: fleet.agent("web1").version, "and the host's heartbeat too")
    shown = str(api.get("unknown-hosts")["items"]) + str(api.get("hosts/web1"))
    assert not set("\x00\x1b\u202e\ud800") & set(shown)
    assert max(len(name) for name in fleet.unknown()) == 253
    assert [host["name"] for host in api.get("hosts")["items"]] == ["web1"]


def test_unknown_hosts_are_bounded_and_the_oldest_goes_first(
    fleet: Fleet, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown, "MOST", 5)
    for number in range(12):
        agent.report(f"new{number:02}")
        until(lambda: f"new{number:02}" in fleet.unknown(), "it is on record")  # noqa: B023
    assert sorted(fleet.unknown()) == [f"new{number:02}" for number in range(7, 12)]


def test_a_rule_adopts_by_name_and_network(api: Api, fleet: Fleet, agent: GoClient) -> None:
    rule = {
        "pattern": "web-*",
        "network": "127.0.0.0/8",
        "hostgroups": ["web"],
        "use_address": True,
    }
    made = api.send("POST", "adoption-rules", 201, json=rule)
    api.send("POST", "adoption-rules", 201, json={"pattern": "*", "network": "192.0.2.0/24"})
    agent.report("db-1")
    agent.report("web-1")
    until_told(agent, "web-1", ["sys/ntp"])
    host = api.get("hosts/web-1")
    assert (host["address"], host["hostgroups"]) == ("127.0.0.1", ["web"])
    assert set(fleet.unknown()) == {"db-1"}
    made_by = {entry.name: entry.actor for entry in fleet.audit("host.create")}
    assert made_by["web-1"] == f"adoption rule {made['id']}"


def test_a_rule_that_cannot_adopt_says_why_beside_the_host(
    api: Api, fleet: Fleet, agent: GoClient
) -> None:
    api.send("POST", "adoption-rules", 201, json={"network": "127.0.0.0/8", "hostgroups": ["web"]})
    agent.report("no name")
    agent.report("all")
    agent.report("fine")
    until(lambda: told(agent, "fine"), "others are adopted all the same")
    until(lambda: all(row.problem for row in fleet.unknown().values()), "the reason is told")
    assert set(fleet.unknown()) == {"no name", "all"}


def test_a_rule_is_changed_and_deleted_by_its_version(api: Api) -> None:
    made = api.client.post("adoption-rules", json={"pattern": "a*"})
    path, tag = f"adoption-rules/{made.json()['id']}", made.headers["ETag"]
    changed = api.client.put(path, json={"pattern": "b*"}, headers={"If-Match": tag})
    assert changed.json()["pattern"] == "b*"
    assert (
        api.client.put(path, json={"pattern": "c*"}, headers={"If-Match": tag}).status_code == 412
    )
    assert [rule["pattern"] for rule in api.get("adoption-rules")["items"]] == ["b*"]
    assert api.get(path)["pattern"] == "b*"
    assert api.client.delete(path).status_code == 204
    api.get(path, 404)


def test_a_rule_that_makes_no_sense_is_refused(api: Api) -> None:
    for body in (
        {},
        {"hostgroups": ["web"]},
        {"network": "10.0.0.1/8"},
        {"network": "everywhere"},
        {"pattern": "a b"},
        {"pattern": "*", "hostgroups": ["nope"]},
        {"pattern": "*", "hostgroups": ["all"]},
    ):
        api.send("POST", "adoption-rules", 422, json=body)


def test_a_limited_token_sees_no_unknown_hosts(api: Api, fleet: Fleet, agent: GoClient) -> None:
    seen(api, fleet, agent, "new1")
    limited = api.connect(api.token_of(Scope.OPERATOR, ["web"]))
    for method, path in (
        ("GET", "unknown-hosts"),
        ("DELETE", "unknown-hosts/new1"),
        ("GET", "adoption-rules"),
        ("GET", "adoption-rules/1"),
    ):
        assert limited.request(method, path).status_code == 403, path
    assert limited.post("unknown-hosts/new1/adoption", json={}).status_code == 403


@pytest.fixture
def claimed(api: Api, fleet: Fleet, hbs: Agents, agent: GoClient) -> Fleet:
    """Its host's name is claimed from 127.0.0.9."""
    until_told(agent, "web1", ["sys/ntp"])
    agent.report("web1", commit(1))
    until(lambda: fleet.host("web1").last_heartbeat, "it is heard")
    with GoClient(hbs.port, "127.0.0.9") as other:
        assert other.report("web1", "f" * 40) == {"code": 0}
        assert other.plugins("web1")[0] == ["sys/ntp"]
        other.report("web1", "e" * 40)
    until(lambda: api.get("hosts/web1")["agent"]["claimed_by"], "it is flagged")
    return fleet


def test_a_heartbeat_in_another_hosts_name_is_flagged_and_changes_nothing(
    claimed: Fleet, api: Api
) -> None:
    shown = api.get("hosts/web1")["agent"]
    assert (shown["claimed_by"], shown["peer"]) == ("127.0.0.9", "127.0.0.1")
    assert (shown["head"], shown["claimed_at"] is not None) == (commit(1), True)
    time.sleep(0.1)
    assert [(e.name, e.after) for e in claimed.audit("agent.claimed")] == [
        ("web1", {"heartbeats_from": "127.0.0.9"})
    ]
    assert api.get("hosts/web1")["reported_release"] == 1


def test_a_limited_token_settles_the_claims_of_its_hostgroups_alone(
    claimed: Fleet, api: Api
) -> None:
    claimed.group("db")
    stranger, owner = (api.connect(api.token_of(Scope.OPERATOR, [name])) for name in ("db", "web"))
    assert stranger.get("claims").json()["items"] == []
    assert stranger.post("hosts/web1/agent/move").status_code == 404
    assert stranger.delete("hosts/web1/agent/claim").status_code == 404
    assert [claim["host"] for claim in owner.get("claims").json()["items"]] == ["web1"]
    assert owner.delete("hosts/web1/agent/claim").status_code == 204


def test_a_host_that_moved_is_heard_from_its_new_address(
    claimed: Fleet, api: Api, hbs: Agents
) -> None:
    assert api.send("POST", "hosts/web1/agent/move", 200)["agent"]["peer"] == "127.0.0.9"
    with GoClient(hbs.port, "127.0.0.9") as moved:

        def heard() -> bool:
            moved.report("web1", "d" * 40)
            return claimed.agent("web1").head == "d" * 40

        until(heard, "its heartbeats count")
    assert api.get("hosts/web1")["agent"]["claimed_by"] == ""
    api.send("POST", "hosts/web1/agent/move", 409)


def test_a_move_that_one_controller_was_told_is_known_to_the_other(
    fleet: Fleet, api: Api, hbs: Agents, agent: GoClient
) -> None:
    agent.report("web1", commit(1))
    until(lambda: fleet.agent("web1").peer, "it is heard")
    with another(fleet) as elsewhere:
        with GoClient(hbs.port, "127.0.0.9") as moved:
            moved.report("web1", commit(1))
        until(lambda: fleet.agent("web1").claimed_by, "it is flagged")
        api.send("POST", "hosts/web1/agent/move", 200)
        time.sleep(0.1)  # the other one reads of it before the host asks there
        with GoClient(elsewhere.port, "127.0.0.9") as moved:

            def heard() -> bool:
                moved.report("web1", "d" * 40)
                return fleet.agent("web1").head == "d" * 40

            until(heard, "its heartbeats count there too", 3)
        assert fleet.agent("web1").claimed_by == ""


@contextmanager
def another(fleet: Fleet) -> Iterator[Agents]:
    """The heartbeat server of another controller with the same database."""
    settings = fleet.context.settings
    folder = settings.data_dir / "another"
    folder.mkdir()
    agents = Agents(
        settings.model_copy(update={"agents_listen": "127.0.0.1:0", "data_dir": folder})
    )
    agents.start()
    agents.follow(fleet.context.database, fleet.context.vault, publisher_of(fleet.context))
    yield agents
    agents.stop()


def test_a_claim_is_dismissed_and_flagged_again(claimed: Fleet, api: Api, hbs: Agents) -> None:
    api.send("DELETE", "hosts/web1/agent/claim", 204)
    assert api.get("hosts/web1")["agent"]["claimed_by"] == ""
    with GoClient(hbs.port, "127.0.0.9") as other:

        def flagged() -> bool:
            other.report("web1")
            return claimed.agent("web1").claimed_by == "127.0.0.9"

        until(flagged, "it is flagged again")


def test_a_host_may_be_heard_from_its_configured_address(
    fleet: Fleet, hbs: Agents, agent: GoClient
) -> None:
    fleet.add("web2", "web", address="127.0.0.9")
    until_told(agent, "web2", ["sys/ntp"])
    agent.report("web2", commit(1))
    with GoClient(hbs.port, "127.0.0.9") as moved:
        moved.report("web2", "d" * 40)
    until(lambda: fleet.agent("web2").peer == "127.0.0.9", "it is heard from there")
    assert fleet.agent("web2").claimed_by == ""


def test_a_host_that_is_made_while_it_is_unknown_is_known(fleet: Fleet, agent: GoClient) -> None:
    agent.report("new1")
    until(lambda: "new1" in fleet.unknown(), "it is on record")
    fleet.add("new1", "web")
    until_told(agent, "new1", ["sys/ntp"])
    until(lambda: "new1" not in fleet.unknown(), "it is off the list")
    assert isinstance(fleet.host("new1"), Host)
