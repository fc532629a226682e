"""No agent is told what it would die of, however its host came to it; and what is held back is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from controller.agents import follower
from controller.agents.flow import Agents
from controller.agents.withholding import Looked
from controller.catalog.deps import publisher_of
from controller.catalog.errors import CatalogError
from controller.catalog.flow import Publisher
from controller.catalog.models import ReleaseRow
from controller.fleet.models import HostState
from controller.web.deps import Context
from tests.controller.agents.falcon import GoClient, RpcError
from tests.controller.agents.fleet import Fleet, commit, told, until, until_told
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

OLD, OLDER, NEW, OURS, OTHER = "5.1.2", "5.1.0", "0.3.x@9349180", "pf-0.1.0", "9.9-own"
BAD, GOOD = ["sys/bad"], ["sys/ntp"]
BOTH = sorted([*BAD, *GOOD])
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def mixed(fleet: Fleet) -> Fleet:
    """Beside sys/ntp, a directory is bound in which lies a script that no agent of v0.2.1 may start."""
    fleet.bind("web", "sys/bad")
    fleet.publish(2, not_executable="sys/bad/60_a.sh")
    return fleet


def heard(fleet: Fleet, agent: GoClient, name: str, version: str, head: str = "") -> None:
    """Send a heartbeat, and wait until its version is written."""
    assert agent.report(name, head or commit(2), version) == {"code": 0}
    until(lambda: fleet.agent(name).version == version, f"{name} is written with {version}")


# code: the versions that are told nothing of that directory
CASES = {
    "step-not-positive": {OLDER, OLD, NEW, OTHER, ""},
    "step-overflow": {OLDER, OLD, NEW, OTHER, ""},
    "prints-null": {OLDER, OLD, NEW, OTHER, ""},
    "not-executable": {OLDER, OLD, ""},
    "leftover-file": {OLDER, OLD, ""},
    "documentation-as-plugin": {OLDER, OLD, ""},
    "crlf-shebang": set[str](),
}


@pytest.mark.parametrize("code", CASES)
@sqlite_only
def test_each_version_is_told_what_it_bears(fleet: Fleet, hbs: Agents, code: str) -> None:
    fleet.bind("web", "sys/bad")
    fleet.publish(2, **{code.replace("-", "_"): "sys/bad/60_a.sh"})
    agents = {f"h{n}": v for n, v in enumerate((OLDER, OLD, NEW, OURS, OTHER, ""))}
    with GoClient(hbs.port) as agent:
        for name in agents:
            fleet.add(name, "web", kind="executor" if agents[name] == OURS else "falcon")
        until(lambda: all(told(agent, name) for name in agents), "all have lists")
        for name, version in agents.items():
            if version:
                heard(fleet, agent, name, version)
        for name, version in agents.items():
            until_told(agent, name, GOOD if version in CASES[code] else BOTH)
    # Of an agent that nobody has heard there is nothing to say yet.
    wanted = {name for name, version in agents.items() if version and version in CASES[code]}
    until(lambda: {name for name in agents if fleet.agent(name).withheld} == wanted, "it is said")


@pytest.mark.parametrize("way", ["name", "label", "adoption"])
def test_a_host_that_joins_later_is_not_told_what_would_end_its_agent(
    api: Api, mixed: Fleet, agent: GoClient, way: str
) -> None:
    mixed.group("empty")
    if way == "adoption":
        agent.report("late", commit(2), OLD)
        until(lambda: "late" in mixed.unknown(), "it is on record")
    else:
        mixed.add("late", "empty", labels={"role": "late"})
        until(
            lambda: agent.report("late", commit(2), OLD) and mixed.host("late").last_heartbeat,
            "it is heard",
        )
    if way == "name":
        api.send("POST", "hostgroups/web/members", 200, json={"add": ["late"]})
    elif way == "label":
        api.send("PATCH", "hostgroups/web", 200, json={"rule": "role=late"})
    else:
        api.send("POST", "unknown-hosts/late/adoption", 201, json={"hostgroups": ["web"]})
    seen: list[list[str]] = []

    def listed() -> bool:
        found = told(agent, "late")
        seen.extend([found[0]] if found else [])
        return bool(found and found[0])

    until(listed, "it has a list")
    if way == "adoption":
        heard(mixed, agent, "late", OLD)
    shown = until(lambda: api.get("hosts/late")["agent"]["withheld"], "it is said")
    assert shown == (
        "sys/bad, as of sys/bad/60_a.sh [not-executable]: agent v0.2.1 or v0.3 (it reports 5.1.2), "
        "which dies of it, and again after each restart"
    )
    until_told(agent, "late", GOOD)
    assert all("sys/bad" not in plugins for plugins in seen)
    (entry,) = mixed.audit("agent.withheld")
    assert (entry.name, entry.before, entry.after) == ("late", None, {"withheld": shown})
    assert "plugfleet_withheld_hosts 1.0" in api.client.get(f"{api.url}/metrics").text


def test_an_agent_that_is_replaced_keeps_its_list_until_one_is_made_for_it(
    mixed: Fleet, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: told(agent, "web1"), "it has a list")
    heard(mixed, agent, "web1", NEW)
    first = until_told(agent, "web1", BOTH)
    mixed.deployed("web1", 2)
    # While the database is slow, nothing that would end it is told.
    monkeypatch.setattr(follower, "_EVERY", 0.4)
    agent.report("web1", commit(2), OLDER)
    with pytest.raises(RpcError, match=r"not made for agent '5\.1\.0' yet"):
        agent.plugins("web1")
    monkeypatch.setattr(follower, "_EVERY", 0.02)
    second = until_told(agent, "web1", GOOD)
    agent.report("web1", commit(2), OLDER)
    host = until(lambda: (h := mixed.host("web1")).last_error and h, "it is said")
    assert host.state == HostState.DRIFTED
    assert "not told to its agent: sys/bad, as of sys/bad/60_a.sh" in host.last_error
    heard(mixed, agent, "web1", NEW)
    third = until_told(agent, "web1", BOTH)
    assert first < second < third
    agent.report("web1", commit(2), NEW)
    until(lambda: mixed.host("web1").state == HostState.CONVERGED, "it has its plan again")
    assert mixed.host("web1").last_error == mixed.agent("web1").withheld == ""
    assert [bool(e.after) for e in mixed.audit("agent.withheld")] == [True, False]


def test_what_people_say_of_an_agent_counts(mixed: Fleet, agent: GoClient) -> None:
    until(lambda: told(agent, "web1"), "it has a list")
    heard(mixed, agent, "web1", OLD)
    until_told(agent, "web1", GOOD)
    mixed.change("web1", variables={"agent_version": "0.3"})
    until_told(agent, "web1", BOTH)


def test_a_release_that_a_host_still_has_counts_until_another_has_landed(
    fleet: Fleet, agent: GoClient
) -> None:
    fleet.publish(2, step_not_positive="sys/bad/0_a.sh")
    fleet.publish(3)
    until_told(agent, "web1", GOOD)
    heard(fleet, agent, "web1", NEW, commit(2))
    fleet.bind("web", "sys/bad")
    until(lambda: fleet.agent("web1").withheld, "it is said")
    assert agent.plugins("web1")[0] == GOOD
    heard(fleet, agent, "web1", NEW, commit(3))
    until_told(agent, "web1", BOTH)
    heard(fleet, agent, "web1", NEW, commit(2))
    until_told(agent, "web1", GOOD)


def test_a_list_that_is_empty_for_this_alone_takes_nothing_from_elsewhere_away(
    fleet: Fleet, agent: GoClient
) -> None:
    fleet.publish(2, step_not_positive="sys/ntp/0_a.sh")
    fleet.group("marker")
    fleet.bind("marker", "app")
    fleet.add("moved", "web")
    fleet.add("mark", "marker")
    until_told(agent, "mark", ["app"])
    assert told(agent, "moved") is None
    until_told(agent, "web1", []), "it had sys/ntp from us, and would die of it now"


@contextmanager
def without_database(context: Context) -> Iterator[GoClient]:
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    alone = Agents(settings)
    alone.start()
    with GoClient(alone.port) as client:
        yield client
    alone.stop()


@sqlite_only
def test_a_start_without_the_database_knows_for_whom_its_lists_were_made(
    mixed: Fleet, context: Context
) -> None:
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    agents = Agents(settings)
    agents.start()
    agents.follow(context.database, context.vault, publisher_of(context))
    with GoClient(agents.port) as agent:
        until(lambda: told(agent, "web1"), "it has a list")
        heard(mixed, agent, "web1", NEW)
        until_told(agent, "web1", BOTH)
    agents.stop()
    with without_database(context) as agent:
        assert agent.plugins("web1")[0] == BOTH
        agent.report("web1", commit(2), OLD)
        assert told(agent, "web1") is None
        for version in (OTHER, NEW):
            agent.report("web1", commit(2), version)
            assert agent.plugins("web1")[0] == BOTH


@sqlite_only
def test_links_and_scripts_that_kill_only_by_themselves_are_found_in_the_tree(
    api: Api, hbs: Agents, agent: GoClient, make_source: Callable[..., SourceRepository]
) -> None:
    source = make_source()
    (source.path / "alias").symlink_to("sys/kill")
    for path in ("sys/kill/0_a.sh", "sys/lone/0", "sys/0/60_a.sh"):
        source.write(path)
    source.commit()
    api.send("POST", "hosts", 201, json={"name": "ours"})
    publish(api, source)
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    for plugin in ("alias", "sys/kill", "sys/lone/0", "sys/lone", "sys/0", "sys/ntp"):
        api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": plugin})
    body = {"name": "late", "agent_kind": "falcon", "hostgroups": ["web"]}
    api.send("POST", "hosts", 201, json=body)
    until_told(agent, "late", ["sys/0", "sys/lone", "sys/ntp"])


def test_what_cannot_be_read_is_judged_by_its_name() -> None:
    looked = Looked([{"path": "sys/kill/0_a.sh", "code": "step-not-positive"}], lambda: None)
    for text in ("sys/kill", "sys/kill/0_a.sh(a,b)", "sys/lone/0"):
        assert [danger.code for danger in looked.dangers(text)] == ["step-not-positive"], text
    for text in ("sys", "sys/kil", "sys/lone/60_a.sh", "../x"):
        assert not looked.dangers(text), text


@sqlite_only
def test_a_release_that_could_not_be_read_is_tried_again(
    fleet: Fleet, hbs: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_LOOK_AGAIN", 0.1)
    read, broken = Publisher.problems, True

    def problems(self: Publisher, row: ReleaseRow) -> list[dict[str, Any]]:
        if broken:
            raise CatalogError("the disk is away")
        return read(self, row)

    monkeypatch.setattr(Publisher, "problems", problems)
    fleet.bind("web", "sys/bad")
    fleet.publish(2, not_executable="sys/bad/60_a.sh")
    fleet.add("old1", "web", kind="falcon")
    with GoClient(hbs.port) as agent:
        until_told(agent, "old1", BOTH)
        heard(fleet, agent, "old1", OLD)
        until_told(agent, "old1", BOTH)
        broken = False
        until_told(agent, "old1", GOOD)
