"""What is refused at publish, bind and deploy because of the agents that hosts run; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from controller.agents.models import AgentRow
from controller.auth.principal import CONTROLLER
from controller.bindings.agents import of_hostgroups
from controller.catalog.models import ReleaseRow
from controller.deployments import service as deployments
from controller.deployments.schemas import DeploymentRequest
from controller.fleet.models import Host
from tests.controller.server import Api
from tests.controller.sources import SCRIPT, SourceRepository, publish

MakeSource = Callable[..., SourceRepository]
OLD, MASTER, OURS = "5.1.2", "0.3.x@9349180", "pf-0.1.0"
KILLER = "sys/kill/0_a.sh"
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Fleet:
    """Hosts that were heard, by hostgroup."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def group(self, name: str, **more: Any) -> None:
        self.api.send("POST", "hostgroups", 201, json={"name": name, **more})

    def host(self, name: str, group: str, version: str, kind: str = "falcon", **more: Any) -> None:
        body = {"name": name, "agent_kind": kind, "hostgroups": [group], **more}
        self.api.send("POST", "hosts", 201, json=body)
        self.heard(name, version)

    def web(self, version: str, kind: str = "falcon") -> None:
        """A hostgroup `web` with one host, `w1`."""
        self.group("web")
        self.host("w1", "web", version, kind)

    def heard(self, name: str, version: str) -> None:
        """A heartbeat of a host; "" is none."""
        with self.api.context.database.write() as session:
            host = session.query(Host).filter_by(name=name).one()
            session.merge(AgentRow(host_id=host.id, version=version, listed="", stamp=1))

    def may_deploy(self, **request: Any) -> int:
        """How many hosts a deployment would have, which is not started."""
        with self.api.context.database.write() as session, session.begin_nested() as trial:
            wanted = DeploymentRequest(**request)
            vault = self.api.context.vault
            found = deployments.start(session, CONTROLLER, vault, wanted)
            total = deployments.totals(session, CONTROLLER, [found.id])[found.id]
            trial.rollback()
        return sum(total.values())

    def bind(self, group: str, plugin: str, status: int = 201) -> Any:
        return self.api.send(
            "POST", "bindings", status, json={"hostgroup": group, "plugin": plugin}
        )


@pytest.fixture
def fleet(api: Api) -> Fleet:
    return Fleet(api)


def lethal(make_source: MakeSource) -> SourceRepository:
    """A source with a good folder, and one with a script that ends Falcon agents."""
    source = make_source()
    source.write(KILLER)
    source.commit()
    return source


def test_what_would_kill_is_refused_where_such_an_agent_is_bound_to_it(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    source = make_source()
    source.write("sys/kill/60_a.sh")
    source.commit()
    publish(api, source)
    for group in ("web", "db"):
        fleet.group(group)
    fleet.host("w1", "web", OLD)
    fleet.host("w2", "web", OLD)
    fleet.host("d1", "db", OURS, "executor")
    fleet.bind("web", "sys/ntp")
    fleet.bind("db", "sys/kill")
    source.write(KILLER)
    source.commit()
    # Only executors are bound to it: they leave it out.
    answer = publish(api, source)
    (found,) = answer["problems"]
    assert (found["path"], found["severity"]) == (KILLER, "warning")
    assert "no agent that it harms is bound" in found["agents"]
    # What is published harms whom it is bound to next.
    problem = fleet.bind("web", "sys/kill", 422)
    for piece in (KILLER, "hostgroup web", "2 hosts run agent v0.2.1 or v0.3", OLD, "dies of it"):
        assert piece in problem["detail"]
    assert problem["fields"][0]["field"] == "body.plugin"
    assert "[step-not-positive]" in problem["fields"][0]["message"]
    number = api.get("bindings", params={"hostgroup": "web"})["items"][0]["id"]
    api.send("PATCH", f"bindings/{number}", 422, json={"plugin": "sys/kill"})
    # Heard only now, that host is a Falcon agent too.
    fleet.heard("d1", MASTER)
    problem = api.send("POST", "deployments", 422, json={"hostgroups": ["db"]})
    assert "hostgroup db: 1 host runs agent master" in problem["detail"]
    source.write("sys/ntp/60_more.sh")
    source.commit()
    problem = api.send("POST", "releases", 422, json={})
    assert problem["fields"][0]["field"] == KILLER
    assert (
        "hostgroup db: 1 host runs agent master (it reports 0.3.x@9349180), which dies"
        in (problem["fields"][0]["message"])
    )
    # Hosts that have nothing to do with it are deployed to, and so are the others once it is gone.
    assert fleet.may_deploy(hostgroups=["web"]) == 2
    source.git("rm", "-q", KILLER)
    source.commit()
    publish(api, source)
    assert fleet.may_deploy(hostgroups=["db"]) == 1


def test_scripts_are_refused_for_agents_that_take_directories_only(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    publish(api, make_source())
    for group, version in (("old", OLD), ("new", MASTER), ("ours", OURS), ("silent", "")):
        fleet.group(group)
        kind = "executor" if group == "ours" else "falcon"
        fleet.host(f"of-{group}", group, version, kind)
    script, call = "sys/ntp/600_ntp.py", "sys/ntp/600_ntp.py(a,b)"
    for text in (script, call):
        problem = fleet.bind("old", text, 422)
        assert "ignores it" in problem["detail"] and "agent_version" in problem["hint"]
        assert "[binding-script-ignored]" in problem["fields"][0]["message"]
        for group in ("new", "ours", "silent"):
            fleet.bind(group, text)
    fleet.bind("old", "sys/ntp")
    # Who knows that these are v0.3 says so.
    host = {"variables": {"agent_version": "0.3"}}
    api.send("PATCH", "hosts/of-old", 200, json=host)
    fleet.bind("old", script)
    fleet.heard("of-silent", OLD)
    problem = api.send("POST", "deployments", 422, json={"hosts": ["of-silent"]})
    assert script in problem["detail"] and "hostgroup silent" in problem["detail"]
    api.send("PATCH", "hostgroups/silent", 200, json={"variables": {"agent_version": 0.3}})
    assert fleet.may_deploy(hosts=["of-silent"]) == 1


@sqlite_only
def test_of_many_hosts_only_those_that_are_visited_count(
    api: Api, fleet: Fleet, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.deployments.choosing._FEW", 1)
    publish(api, make_source())
    fleet.group("web")
    for number in range(3):
        fleet.host(f"h{number}", "web", MASTER)
    fleet.bind("web", "sys/ntp/600_ntp.py")
    fleet.heard("h2", OLD)
    assert fleet.may_deploy(hosts=["h0", "h1"]) == 2
    problem = api.send("POST", "deployments", 422, json={})
    assert "hostgroup web: 1 host runs agent v0.2.1 or v0.3" in problem["detail"]


def test_a_rollback_to_what_would_kill_is_refused(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    fleet.web(OURS, "executor")
    source = lethal(make_source)
    publish(api, source)
    fleet.bind("web", "sys/kill")
    source.write("sys/kill/60_good.sh")
    source.git("rm", "-q", KILLER)
    source.commit()
    publish(api, source)
    fleet.heard("w1", MASTER)
    problem = api.send("POST", "releases/rollback", 422, json={"number": 1})
    assert KILLER in problem["detail"] and "dies of it" in problem["detail"]
    fleet.heard("w1", OURS)
    api.send("POST", "releases/rollback", 201, json={"number": 1})
    assert [p["path"] for p in api.get("releases/3")["problems"]] == [KILLER]


@sqlite_only
def test_a_fleet_without_hosts_is_taken_for_any(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    source = lethal(make_source)
    api.send("POST", "sources", 201, json={"name": "s", "url": str(source.path), "ref": "main"})
    assert api.send("POST", "releases", 422, json={})["fields"][0]["field"] == KILLER


# file, content, mode: the version, and what is said of it; "" where it is borne
CASES = [
    ("60_a.sh", SCRIPT, 0o644, OLD, "dies of it, and again"),
    ("60_a.sh", SCRIPT, 0o644, MASTER, "permission denied"),
    ("60_a.sh", SCRIPT, 0o644, OURS, "never has data"),
    ("60_a.py~", SCRIPT, 0o755, MASTER, "runs the leftover"),
    ("60_a.py~", SCRIPT, 0o755, OURS, ""),
    ("300_README.md", "x\n", 0o644, OLD, "dies of it where it has no execute bit"),
    ("300_README.md", "x\n", 0o644, OURS, ""),
    ("9223372037_a.sh", SCRIPT, 0o755, MASTER, "dies of it"),
    ("9223372037_a.sh", SCRIPT, 0o755, OURS, ""),
    ("60_a.sh", "#!/bin/sh\necho '[null]'\n", 0o755, MASTER, "default_tags"),
    ("60_a.sh", "#!/bin/sh\necho '[null]'\n", 0o755, OURS, ""),
]


@sqlite_only
def test_each_rule_is_held_against_the_versions_that_are_bound(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    source = make_source()
    for number, (*_, version, _says) in enumerate(CASES):
        source.write(f"p{number}/60_good.sh")
        fleet.group(f"g{number}")
        fleet.host(f"h{number}", f"g{number}", version, "executor" if version == OURS else "falcon")
    source.commit()
    publish(api, source)
    for number, (name, content, mode, *_) in enumerate(CASES):
        fleet.bind(f"g{number}", f"p{number}")
        source.write(f"p{number}/{name}", content, mode)
    source.commit()
    report = api.send("POST", "sources/plugins/lint", 200, json={})
    found = {problem["path"]: problem for problem in report["problems"]}
    refused = {
        e["field"]: e["message"] for e in api.send("POST", "releases", 422, json={})["fields"]
    }
    for number, (name, *_, says) in enumerate(CASES):
        path = f"p{number}/{name}"
        assert found[path]["severity"] == ("error" if says else "warning"), path
        assert (path in refused) == bool(says), path
        if says:
            assert says in refused[path] and f"hostgroup g{number}: 1 host" in refused[path]
    assert not report["clean"]
    # For a fleet of which nobody has one, all of it is borne but what has no execute bit.
    body = {"agents": ["executor"]}
    report = api.send("POST", "sources/plugins/lint", 200, json=body)
    assert {p["code"] for p in report["problems"] if p["severity"] == "error"} == {"not-executable"}
    assert api.send("POST", "sources/plugins/lint", 422, json={"agents": ["0.9"]})


@sqlite_only
def test_a_script_that_kills_only_when_bound_by_itself_is_found(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    fleet.web(MASTER)
    source = make_source()
    source.write("sys/ntp/0")
    source.commit()
    publish(api, source)
    fleet.bind("web", "sys/ntp")
    assert "dies of it" in fleet.bind("web", "sys/ntp/0", 422)["detail"]


@sqlite_only
def test_a_release_that_was_never_linted_is_judged_by_its_names(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    fleet.web(MASTER)
    publish(api, lethal(make_source))
    with api.context.database.write() as session:
        session.query(ReleaseRow).update({"problems": None})
    assert "dies of it" in fleet.bind("web", "sys/kill", 422)["detail"]


@sqlite_only
def test_a_folder_that_is_bound_by_a_link_is_found(
    api: Api, fleet: Fleet, make_source: MakeSource
) -> None:
    fleet.web(MASTER)
    source = make_source()
    (source.path / "alias").symlink_to("sys/kill")
    source.write("sys/kill/60_a.sh")
    source.commit()
    publish(api, source)
    fleet.bind("web", "alias")
    source.write(KILLER)
    source.commit()
    assert "hostgroup web" in api.send("POST", "releases", 422, json={})["detail"]


def test_the_agents_of_a_hostgroup_are_counted_by_version(api: Api, fleet: Fleet) -> None:
    fleet.group("web", variables={"agent_version": "0.2.1"})
    for number, (version, kind) in enumerate(
        [(OLD, "falcon"), (OLD, "falcon"), (MASTER, "falcon"), ("", "falcon"), ("", "executor"),
         (OURS, "executor"), (OURS, "falcon"), ("9.9", "falcon")]
    ):  # fmt: skip
        fleet.host(f"h{number}", "web", version, kind)
    with api.context.database.read() as session:
        ids = list(session.scalars(select(Host.id).order_by(Host.id)))
        every = of_hostgroups(session, ["web", "all"])
        some = of_hostgroups(session, ["web"], ids[:1])
    # 9.9 and the silent ones are what the hostgroup says; what reports its version needs no word.
    assert [str(running) for running in every["web"]] == [
        "2 hosts run the executor",
        "1 host runs agent master (it reports 0.3.x@9349180)",
        "5 hosts run agent v0.2.1",
    ]
    assert sum(running.hosts for running in every["all"]) == 8
    assert [str(running) for running in some["web"]] == ["1 host runs agent v0.2.1"]
