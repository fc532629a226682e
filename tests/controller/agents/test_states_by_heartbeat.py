"""What heartbeats say about hosts: converged without a visit, pending, drifted; all written in batches."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from controller.agents.flow import Agents
from controller.agents.models import AgentRow
from controller.database.base import now
from controller.deployments.models import Deployment, HostLock
from controller.fleet.models import Host, HostState
from controller.plans import service as plans
from controller.plans.flow import follow_plans
from tests.controller.agents.falcon import GoClient
from tests.controller.agents.fleet import Fleet, commit, until, until_told


def plan_of(fleet: Fleet, name: str) -> str:
    with fleet.context.database.read() as session:
        host = session.scalars(select(Host).where(Host.name == name)).one()
        return plans.plan_of(session, fleet.context.vault, host).digest


def heard(fleet: Fleet, agent: GoClient, name: str, head: str) -> None:
    """Send a heartbeat, and wait until it is written."""
    before = fleet.host(name).last_heartbeat
    assert agent.report(name, head) == {"code": 0}
    until(lambda: fleet.host(name).last_heartbeat != before, "the heartbeat is written")


def follow(fleet: Fleet) -> None:
    follow_plans(fleet.context.database, fleet.context.vault)


@pytest.fixture
def converged(fleet: Fleet, hbs: Agents, agent: GoClient) -> Fleet:
    """Its host was deployed, heard, and told its list."""
    fleet.deployed("web1", 1)
    until_told(agent, "web1", ["sys/ntp"])
    heard(fleet, agent, "web1", commit(1))
    until(lambda: fleet.agent("web1").config, "its configuration is known")
    return fleet


def test_a_heartbeat_is_on_record(fleet: Fleet, agent: GoClient) -> None:
    began = now() - timedelta(seconds=1)
    until_told(agent, "web1", ["sys/ntp"])
    heard(fleet, agent, "web1", commit(1))
    found, last = fleet.agent("web1"), fleet.host("web1").last_heartbeat
    assert last is not None and last >= began
    assert (found.version, found.head, found.ip) == ("0.3.x", commit(1), "10.0.0.1")
    assert found.peer == "127.0.0.1"
    assert fleet.host("web1").reported_release == 1


def test_a_release_that_came_by_itself_converges_without_a_visit(
    converged: Fleet, agent: GoClient
) -> None:
    converged.publish(2)
    follow(converged)
    assert converged.host("web1").state == HostState.PENDING
    heard(converged, agent, "web1", commit(2))
    until(lambda: converged.host("web1").state == HostState.CONVERGED, "it has converged")
    host = converged.host("web1")
    assert (host.reported_release, host.reported_commit) == (2, commit(2))
    assert host.reported_plan == plan_of(converged, "web1")
    follow(converged)
    assert converged.host("web1").state == HostState.CONVERGED


def test_a_falcon_agent_has_its_bindings_when_it_was_told_them(
    converged: Fleet, agent: GoClient
) -> None:
    converged.bind("web", "sys/disk")
    follow(converged)
    assert converged.host("web1").state == HostState.PENDING
    heard(converged, agent, "web1", commit(1))
    assert converged.host("web1").state == HostState.PENDING, "it has not asked yet"
    until_told(agent, "web1", ["sys/disk", "sys/ntp"])
    until(lambda: converged.host("web1").state == HostState.CONVERGED, "it has converged")


def test_a_stranger_who_asks_for_its_list_proves_nothing(
    converged: Fleet, hbs: Agents, agent: GoClient
) -> None:
    converged.bind("web", "sys/disk")
    follow(converged)
    with GoClient(hbs.port, "127.0.0.9") as stranger:
        until_told(stranger, "web1", ["sys/disk", "sys/ntp"])
    heard(converged, agent, "web1", commit(1))
    assert converged.host("web1").state == HostState.PENDING, "its own agent has not asked yet"


@pytest.mark.parametrize(
    "change",
    [
        {"variables": {"agent_config_interval": 30}},
        {"address": "192.0.2.7"},
    ],
)
def test_what_only_a_deployment_brings_is_not_taken_for_there(
    converged: Fleet, agent: GoClient, change: dict[str, object]
) -> None:
    converged.publish(2)
    converged.change("web1", **change)
    follow(converged)
    heard(converged, agent, "web1", commit(2))
    heard(converged, agent, "web1", commit(2))
    assert converged.host("web1").state == HostState.PENDING
    assert converged.host("web1").reported_release == 2


def test_an_executor_gets_releases_by_itself_and_bindings_by_a_deployment(
    fleet: Fleet, hbs: Agents, agent: GoClient
) -> None:
    fleet.add("exec1", "web", kind="executor")
    fleet.deployed("exec1", 1)
    until_told(agent, "exec1", ["sys/ntp"])
    heard(fleet, agent, "exec1", commit(1))
    until(lambda: fleet.agent("exec1").config, "its configuration is known")
    fleet.publish(2)
    follow(fleet)
    heard(fleet, agent, "exec1", commit(2))
    until(lambda: fleet.host("exec1").state == HostState.CONVERGED, "the release is there")
    fleet.bind("web", "sys/disk")
    follow(fleet)
    until_told(agent, "exec1", ["sys/disk", "sys/ntp"])
    heard(fleet, agent, "exec1", commit(2))
    assert fleet.host("exec1").state == HostState.PENDING, "its own file lacks the binding"


def test_a_host_that_reports_an_older_release_is_pending(converged: Fleet, agent: GoClient) -> None:
    converged.publish(2)
    converged.deployed("web1", 2)
    heard(converged, agent, "web1", commit(2))
    heard(converged, agent, "web1", commit(1))
    until(lambda: converged.host("web1").state == HostState.PENDING, "it is pending")
    follow(converged)
    host = converged.host("web1")
    assert (host.state, host.reported_release) == (HostState.PENDING, 1)
    assert host.reported_plan != plan_of(converged, "web1"), "the next deployment visits it"
    heard(converged, agent, "web1", commit(2))
    until(lambda: converged.host("web1").state == HostState.CONVERGED, "it came back by itself")


@pytest.mark.parametrize("head", ["f" * 40, "Error:exit status 128"])
def test_a_host_that_reports_no_release_has_drifted(
    converged: Fleet, agent: GoClient, head: str
) -> None:
    heard(converged, agent, "web1", head)
    until(lambda: converged.host("web1").state == HostState.DRIFTED, "it has drifted")
    assert head in converged.host("web1").last_error
    heard(converged, agent, "web1", commit(1))
    until(lambda: converged.host("web1").state == HostState.CONVERGED, "it came back by itself")
    assert converged.host("web1").last_error == ""


@pytest.mark.parametrize("state", [HostState.FAILED, HostState.DRIFTED])
def test_what_a_visit_found_stands_until_the_next_one(
    converged: Fleet, agent: GoClient, state: HostState
) -> None:
    converged.put("web1", state=state.value, last_error="what it found")
    heard(converged, agent, "web1", commit(1))
    heard(converged, agent, "web1", "f" * 40)
    assert converged.host("web1").state == state
    assert converged.host("web1").last_error == "what it found"


def test_a_host_that_was_never_deployed_does_not_converge_by_its_release_alone(
    fleet: Fleet, agent: GoClient
) -> None:
    until_told(agent, "web1", ["sys/ntp"])
    heard(fleet, agent, "web1", commit(1))
    heard(fleet, agent, "web1", commit(1))
    assert fleet.host("web1").state == HostState.PENDING


def test_a_host_that_a_deployment_holds_is_left_to_it(converged: Fleet, agent: GoClient) -> None:
    with converged.context.database.write() as session:
        deployment = Deployment(release=1)
        session.add(deployment)
        session.flush()
        host = converged.host("web1")
        session.execute(insert(HostLock).values(host_id=host.id, deployment_id=deployment.id))
    heard(converged, agent, "web1", "f" * 40)
    assert converged.host("web1").state == HostState.CONVERGED


def test_a_heartbeat_that_was_on_its_way_during_the_visit_says_nothing(
    converged: Fleet, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.agents.judging._ON_ITS_WAY", 3600.0)
    converged.publish(2)
    converged.deployed("web1", 2)
    heard(converged, agent, "web1", commit(1))
    host = converged.host("web1")
    assert (host.state, host.reported_release) == (HostState.CONVERGED, 2)


def test_many_heartbeats_are_few_transactions(fleet: Fleet, hbs: Agents, agent: GoClient) -> None:
    names = [f"h{number}" for number in range(60)]
    for name in names[:20]:
        fleet.add(name)
    fleet.bind("all", "base")
    until_told(agent, names[19], ["base"])
    for _ in range(5):
        for name in names:
            agent.send("Agent.ReportStatus", {"Hostname": name, "PluginVersion": "x"})
    for number in range(agent._next - 300, agent._next):
        agent.answer(number)
    until(lambda: fleet.host(names[19]).last_heartbeat, "they are written")
    until(lambda: len(fleet.unknown()) == 40, "and the unknown ones too")
    with fleet.context.database.read() as session:
        assert len(session.scalars(select(AgentRow).where(AgentRow.head == "x")).all()) == 20
