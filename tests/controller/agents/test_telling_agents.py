"""What agents are told to run, and when they are told to look again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from controller.agents import follower, lists, recorder
from controller.agents.flow import Agents
from controller.agents.models import AgentRow
from controller.catalog.deps import publisher_of
from controller.database.engine import Database
from controller.errors import Unavailable
from controller.operations.metrics import AGENT_UNWRITTEN_SECONDS
from controller.web.deps import Context
from tests.controller.agents.falcon import GoClient, RpcError
from tests.controller.agents.fleet import Fleet, commit, told, until, until_told


@contextmanager
def again(context: Context) -> Iterator[tuple[Agents, GoClient]]:
    """Another start of the same controller's heartbeat server."""
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    agents = Agents(settings)
    agents.start()
    agents.follow(context.database, context.vault, publisher_of(context))
    with GoClient(agents.port) as client:
        yield agents, client
    agents.stop()


def settled(agent: GoClient, name: str) -> int:
    """The Timestamp of a host's list, after time enough for it to grow if it would."""
    time.sleep(0.1)
    return agent.plugins(name)[1]


def test_a_host_is_told_the_sorted_union_of_its_hostgroups(fleet: Fleet, agent: GoClient) -> None:
    fleet.group("db")
    fleet.bind("db", "sys/disk")
    fleet.bind("db", "sys/ntp")
    fleet.bind("all", "base/60_uptime.py(a,b)")
    fleet.bind("db", "httpcheck", {"items": [{"url": "http://localhost"}]})
    fleet.add("both", "web", "db")
    until_told(agent, "both", ["base/60_uptime.py(a,b)", "sys/disk", "sys/ntp"])
    until_told(agent, "web1", ["base/60_uptime.py(a,b)", "sys/ntp"])


def test_a_host_that_never_had_a_plugin_keeps_what_it_has_from_elsewhere(
    fleet: Fleet, context: Context
) -> None:
    """Hosts may come before their bindings; an empty list would clear their agents."""
    fleet.group("later")
    with again(context) as (agents, agent):
        fleet.add("moved", "later")
        fleet.add("marker", "web")
        until_told(agent, "marker", ["sys/ntp"])
        with pytest.raises(RpcError, match="no plugin was bound to host 'moved' yet"):
            agent.plugins("moved")
    with again(context) as (agents, agent):
        assert agents.kept == 3
        assert told(agent, "moved") is None
        fleet.bind("later", "app")
        first = until_told(agent, "moved", ["app"])
        fleet.unbind("app")
        assert until_told(agent, "moved", []) > first, "what came from us is taken away by us"
    with again(context) as (_, agent):
        until_told(agent, "moved", [])


def test_an_executor_without_bindings_is_told_so(fleet: Fleet, agent: GoClient) -> None:
    assert told(agent, "exec1") is None
    fleet.add("exec1", kind="executor")
    until_told(agent, "exec1", [])


def test_no_timestamp_is_below_one_that_was_told_before_a_restore(
    fleet: Fleet, context: Context
) -> None:
    with again(context) as (_, agent):
        until_told(agent, "web1", ["sys/ntp"])
        backup, listed = fleet.agent("web1").stamp, fleet.agent("web1").listed
        fleet.bind("web", "sys/lost")
        lost = until_told(agent, "web1", ["sys/lost", "sys/ntp"])
        assert lost > backup
    with context.database.write() as session:  # the backup is put in its place
        session.execute(update(AgentRow).values(stamp=backup, listed=listed))
    fleet.unbind("sys/lost")
    (context.settings.data_dir / "agents.json").unlink()
    with again(context) as (_, agent):
        found = until_told(agent, "web1", ["sys/ntp"])
        assert found > backup and found >= lost
        until(lambda: fleet.agent("web1").stamp == found, "it is on record")
        assert settled(agent, "web1") == found, "and grows once"


def test_a_timestamp_that_another_controller_gives_meanwhile_stays(
    fleet: Fleet, hbs: Agents, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat is judged by a row that nobody changes until it is written."""
    agent.report("web1", commit(1))
    until(lambda: fleet.agent("web1").peer, "it is written")
    later = int(time.time()) + 500
    real, others = recorder.judge, []

    def another() -> None:
        with fleet.context.database.write() as session:
            session.execute(update(AgentRow).values(stamp=later))

    def judge(*given: Any) -> Any:
        if not others:
            thread = threading.Thread(target=another)
            thread.start()
            others.append(thread)
            thread.join(0.2)  # on SQLite, and behind a lock, it comes when this has been written
        return real(*given)

    monkeypatch.setattr(recorder, "judge", judge)
    agent.report("web1", commit(2))
    until(lambda: others, "the heartbeat is judged")
    others[0].join()
    time.sleep(0.1)
    assert fleet.agent("web1").stamp >= later


def test_heartbeats_are_written_though_plans_cannot_be_read(
    fleet: Fleet, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with again(context) as (_, agent):
        until_told(agent, "web1", ["sys/ntp"])

    def unreadable(*_: object) -> None:
        raise Unavailable("no key fits a secret")

    monkeypatch.setattr(follower.planned, "read", unreadable)
    with again(context) as (_, agent):
        agent.report("web1", commit(1))
        until(lambda: fleet.host("web1").last_heartbeat, "it is written")
        fleet.deployed("web1", 1)
        assert settled(agent, "web1")
        assert agent.plugins("web1")[0] == ["sys/ntp"]


def test_a_deleted_host_is_refused_and_not_told_nothing(fleet: Fleet, agent: GoClient) -> None:
    until_told(agent, "web1", ["sys/ntp"])
    fleet.delete("web1")
    until(lambda: told(agent, "web1") is None, "it is refused")


def test_a_timestamp_is_one_that_an_agent_of_another_hbs_takes(
    fleet: Fleet, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hbs gives the present second; an agent takes only what is greater than the last."""
    until_told(agent, "web1", ["sys/ntp"])
    another_hbs = int(time.time()) + 3600
    monkeypatch.setattr(lists.time, "time", lambda: another_hbs + 1.5)
    assert agent.report("web1") == {"code": 0}
    assert agent.plugins("web1")[1] > another_hbs


def test_a_timestamp_grows_when_the_bindings_change_and_for_that_host_alone(
    fleet: Fleet, agent: GoClient
) -> None:
    fleet.group("db")
    fleet.add("db1", "db")
    first = until_told(agent, "web1", ["sys/ntp"])
    fleet.bind("db", "sys/raid")
    other = until_told(agent, "db1", ["sys/raid"])
    fleet.bind("web", "sys/disk")
    second = until_told(agent, "web1", ["sys/disk", "sys/ntp"])
    fleet.unbind("sys/disk")
    third = until_told(agent, "web1", ["sys/ntp"])
    assert first < second < third
    assert settled(agent, "db1") == other


def test_a_timestamp_grows_when_a_release_has_landed_and_not_when_it_is_published(
    fleet: Fleet, agent: GoClient
) -> None:
    """An agent that looked before its checkout was updated must look again after."""
    agent.report("web1", commit(1))
    first = settled(agent, "web1")
    fleet.publish(2)
    assert settled(agent, "web1") == first
    agent.report("web1", commit(1))
    assert agent.plugins("web1")[1] == first
    agent.report("web1", commit(2))
    second = agent.plugins("web1")[1]
    assert second > first
    agent.report("web1", commit(2))
    assert settled(agent, "web1") == second


def test_a_deployment_lets_its_hosts_look_again_before_their_next_heartbeat(
    fleet: Fleet, agent: GoClient
) -> None:
    agent.report("web1", commit(1))
    first = settled(agent, "web1")
    fleet.publish(2)
    fleet.deployed("web1", 2)
    second = until(lambda: (found := agent.plugins("web1")[1]) > first and found, "it looks again")
    agent.report("web1", commit(2))
    assert settled(agent, "web1") == second, "it has looked at that already"


@pytest.mark.parametrize("head", ["plugin not enabled", "Error:exit status 128", "", "<b>'\";--"])
def test_an_agent_without_a_release_is_not_told_to_look_again(
    fleet: Fleet, agent: GoClient, head: str
) -> None:
    agent.report("web1", commit(1))
    first = settled(agent, "web1")
    agent.report("web1", head)
    assert settled(agent, "web1") == first


def test_an_agent_that_was_away_is_told_to_look_again(
    fleet: Fleet, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another hbs may have told it something else meanwhile."""
    agent.report("web1", commit(1))
    first = settled(agent, "web1")
    monkeypatch.setattr("controller.agents.calls.LONG_AWAY", 0.05)
    time.sleep(0.06)
    agent.report("web1", commit(1))
    assert agent.plugins("web1")[1] > first


def test_a_restart_changes_no_timestamp(fleet: Fleet, context: Context) -> None:
    with again(context) as (_, agent):
        agent.report("web1", commit(1))
        first = settled(agent, "web1")
    with again(context) as (_, agent):
        assert settled(agent, "web1") == first
        agent.report("web1", commit(1))
        assert settled(agent, "web1") == first


@pytest.mark.parametrize("hours", [-24 * 365, 1])
def test_a_step_of_the_clock_lets_no_timestamp_go_back(
    fleet: Fleet, context: Context, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real = time.time
    with again(context) as (_, agent):
        agent.report("web1", commit(1))
        first = settled(agent, "web1")
        monkeypatch.setattr(lists.time, "time", lambda: real() + hours * 3600)
        assert settled(agent, "web1") == first
        fleet.bind("web", "a")
        second = until_told(agent, "web1", ["a", "sys/ntp"])
    monkeypatch.setattr(lists.time, "time", real)
    with again(context) as (_, agent):
        assert settled(agent, "web1") == second
        fleet.bind("web", "b")
        assert first < second < until_told(agent, "web1", ["a", "b", "sys/ntp"])
        fleet.delete("web1")
        until(lambda: told(agent, "web1") is None, "it is gone")
        fleet.add("web1", "web")
        assert until_told(agent, "web1", ["a", "b", "sys/ntp"]) >= second


def test_two_controllers_tell_the_same(fleet: Fleet, context: Context) -> None:
    with again(context) as (_, one), again(context) as (_, two):
        assert until_told(one, "web1", ["sys/ntp"]) == until_told(two, "web1", ["sys/ntp"])
        fleet.add("web2", "web")
        fleet.bind("web", "sys/disk")
        for name in ("web1", "web2"):
            first = until_told(one, name, ["sys/disk", "sys/ntp"])
            assert first == until_told(two, name, ["sys/disk", "sys/ntp"])
        one.report("web1", commit(1))
        landed = one.plugins("web1")[1]
        before = two.plugins("web1")[1]
        two.report("web1", commit(2))
        assert two.plugins("web1")[1] > before, "whichever hears of it lets the agent look again"
        until(lambda: fleet.agent("web1").stamp >= landed, "the later Timestamp is kept")


class Away(Database):
    """A database that does not answer while it is told not to."""

    away = False

    @contextmanager
    def read(self):  # type: ignore[no-untyped-def]
        self._check()
        with super().read() as session:
            yield session

    @contextmanager
    def write(self, *, wait: bool = True):  # type: ignore[no-untyped-def]
        self._check()
        with super().write(wait=wait) as session:
            yield session

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the database does not answer: it is away")


def test_while_the_database_is_away_the_last_list_is_told(fleet: Fleet, context: Context) -> None:
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    database = Away(context.settings.database)
    agents = Agents(settings)
    agents.start()
    agents.follow(database, context.vault, publisher_of(context))
    try:
        with GoClient(agents.port) as agent:
            first = until_told(agent, "web1", ["sys/ntp"])
            database.away = True
            for head in (commit(1), commit(2)):
                assert agent.report("web1", head) == {"code": 0}
            assert agent.report("stranger") == {"code": 0}
            plugins, second = agent.plugins("web1")
            assert plugins == ["sys/ntp"]
            assert second > first, "a release that lands is noticed all the same"
            assert fleet.host("web1").last_heartbeat is None
            until(lambda: AGENT_UNWRITTEN_SECONDS._value.get() > 0.05, "the metric tells of it")
            database.away = False
            until(
                lambda: fleet.host("web1").last_heartbeat, "heartbeats are written when it is back"
            )
            assert fleet.agent("web1").head == commit(2)
            until(lambda: AGENT_UNWRITTEN_SECONDS._value.get() == 0, "nothing waits any more")
            assert settled(agent, "web1") == second
            until(lambda: "stranger" in fleet.unknown(), "unknown hosts too")
    finally:
        agents.stop()
        database.close()


def test_a_start_without_the_database_tells_what_was_told_before(
    fleet: Fleet, context: Context
) -> None:
    with again(context) as (_, agent):
        agent.report("web1", commit(1))
        before = agent.plugins("web1")
        assert before[0] == ["sys/ntp"]
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    alone = Agents(settings)
    alone.start()
    try:
        assert alone.kept == 1
        with GoClient(alone.port) as agent:
            assert agent.plugins("web1") == before
            assert told(agent, "web2") is None
            fleet.delete("web1")
            alone.follow(context.database, context.vault, publisher_of(context))
            until(lambda: told(agent, "web1") is None, "what the database says counts again")
    finally:
        alone.stop()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"format":99,"hosts":[]}',
        '{"format":1,"forgotten":0,"hosts":[["web1",1,"nonsense"]]}',
        "\0",
    ],
)
def test_a_damaged_copy_of_the_lists_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "agents.json"
    file.write_text(content)
    damaged = lists.Lists(file)
    damaged.load()
    assert len(damaged) == 0


def test_a_copy_is_readable_by_its_owner_only_and_whole(fleet: Fleet, context: Context) -> None:
    with again(context) as (_, agent):
        until_told(agent, "web1", ["sys/ntp"])
    file = context.settings.data_dir / "agents.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["hosts"][0][0] == "web1"
    assert not list(file.parent.glob("agents.json.*"))


def test_the_thread_outlives_a_surprise(
    fleet: Fleet, hbs: Agents, agent: GoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_told(agent, "web1", ["sys/ntp"])
    with monkeypatch.context() as broken:
        broken.setattr(follower.planned, "read", lambda *_: 1 / 0)
        fleet.bind("web", "a")
        time.sleep(0.1)
        assert agent.plugins("web1")[0] == ["sys/ntp"]
    until_told(agent, "web1", ["a", "sys/ntp"])
