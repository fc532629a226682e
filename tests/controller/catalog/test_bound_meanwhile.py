"""What is bound between a release's approval and its row is held against it too; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.agents.models import AgentRow
from controller.auth.principal import CONTROLLER
from controller.catalog import approval, releases
from controller.catalog.deps import publisher_of
from controller.catalog.flow import Publisher
from controller.fleet.models import Host
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Lets something happen once, after git has moved the line and before the row is made."""
    real, left = Publisher._made, []

    def made(*given: Any, **more: Any) -> Any:
        result = real(*given, **more)
        for happen in left[:]:
            left.remove(happen)
            happen()
        return result

    monkeypatch.setattr(Publisher, "_made", made)
    return left.append


def line(api: Api) -> list[int]:
    """The numbers of the releases that stand on the deploy line."""
    return [release.number for release in releases.history(api.context.catalog.repository)]


def bind(api: Api, plugin: str, status: int = 201) -> Any:
    return api.send("POST", "bindings", status, json={"hostgroup": "all", "plugin": plugin})


@pytest.fixture
def source(api: Api, make_source: MakeSource) -> SourceRepository:
    """Its first release has sys/old; the next one would not."""
    source = make_source()
    source.write("sys/old/60_a.sh")
    source.commit()
    publish(api, source)
    source.git("rm", "-q", "sys/old/60_a.sh")
    source.commit()
    return source


def test_a_binding_that_the_release_lacks_ends_the_publish_and_takes_it_back(
    api: Api, source: SourceRepository, meanwhile: Callable[[Callable[[], Any]], None]
) -> None:
    meanwhile(lambda: bind(api, "sys/old"))
    problem = api.send("POST", "releases", 422, json={})
    assert "sys/old" in problem["detail"] and "nothing was published" in problem["detail"]
    assert [release["number"] for release in api.get("releases")["items"]] == [1] == line(api)
    publisher_of(api.context).sync()
    assert [release["number"] for release in api.get("releases")["items"]] == [1]
    binding = api.get("bindings")["items"][0]["id"]
    assert api.client.delete(f"bindings/{binding}").status_code == 204
    assert publish(api, source)["release"]["number"] == 2
    # The way back is held against what is bound by then as well.
    source.write("sys/new/60_a.sh")
    source.commit()
    publish(api, source)
    meanwhile(lambda: bind(api, "sys/new"))
    problem = api.send("POST", "releases/rollback", 422, json={"number": 1})
    assert "sys/new" in problem["detail"]
    assert line(api) == [3, 2, 1]


def test_an_agent_that_the_release_would_end_and_that_joins_meanwhile_ends_the_publish(
    api: Api, source: SourceRepository, meanwhile: Callable[[Callable[[], Any]], None]
) -> None:
    def join() -> None:
        body = {"name": "late", "agent_kind": "falcon", "hostgroups": ["web"]}
        api.send("POST", "hosts", 201, json=body)
        with api.context.database.write() as session:
            host = session.query(Host).filter_by(name="late").one()
            session.add(AgentRow(host_id=host.id, version="5.1.2", listed="", stamp=1))

    api.send("POST", "hosts", 201, json={"name": "ours"})
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "sys/ntp"})
    source.write("sys/ntp/0_a.sh")
    source.commit()
    meanwhile(join)
    problem = api.send("POST", "releases", 422, json={})
    assert "hostgroup web: 1 host runs agent v0.2.1 or v0.3" in problem["detail"]
    assert line(api) == [1]


def test_plans_that_change_all_the_time_only_delay_a_publish(
    api: Api, source: SourceRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, numbers = approval.Approvals.check, iter(range(100))

    def check(*given: Any) -> int:
        found = real(*given)
        api.send("POST", "hosts", 201, json={"name": f"h{next(numbers)}"})
        return found

    monkeypatch.setattr(approval.Approvals, "check", check)
    assert publish(api, source)["release"]["number"] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_controller_that_died_left_on_the_line_is_adopted_only_if_it_fits(
    api: Api, source: SourceRepository, meanwhile: Callable[[Callable[[], Any]], None]
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    publisher = publisher_of(api.context)
    meanwhile(die)
    with pytest.raises(Killed), publisher.turn():
        publisher.publish(CONTROLLER, dry_run=False, force=False)
    assert line(api) == [2, 1]
    bind(api, "sys/old")
    publisher.sync()
    assert line(api) == [1]
    assert [release["number"] for release in api.get("releases")["items"]] == [1]
