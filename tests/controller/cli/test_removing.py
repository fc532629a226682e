"""`plugfleet host|group|bind|source remove`: several at once, with what came of each."""

from __future__ import annotations

import pytest

from controller.auth.models import Scope
from controller.cli.client import Client
from controller.cli.exits import CommandError, Exit
from tests.controller.cli.conftest import Command
from tests.controller.server import Api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

COLLECTIONS = {"host": "hosts", "group": "hostgroups", "source": "sources", "bind": "bindings"}


@pytest.fixture
def made(api: Api) -> dict[str, list[str]]:
    """Three of each kind, by the command's word for it; the hostgroups have no bindings."""
    numbers = []
    for name in ("1", "2", "3"):
        api.send("POST", "hosts", 201, json={"name": f"h{name}"})
        api.send("POST", "hostgroups", 201, json={"name": f"g{name}"})
        body = {"name": f"s{name}", "path": f"s{name}", "url": f"https://git.example.com/{name}"}
        api.send("POST", "sources", 201, json=body)
        body = {"hostgroup": "all", "plugin": f"sys/p{name}"}
        numbers.append(str(api.send("POST", "bindings", 201, json=body)["id"]))
    names = {"host": "h", "group": "g", "source": "s"}
    return {kind: [f"{name}{n}" for n in (1, 2, 3)] for kind, name in names.items()} | {
        "bind": numbers
    }


def left(api: Api, kind: str) -> list[str]:
    """What there still is of a kind, besides the hostgroup of every host."""
    rows = api.get(COLLECTIONS[kind])["items"]
    names = [str(row.get("name", row.get("id"))) for row in rows]
    return [name for name in names if name != "all"]


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_one_that_is_not_there_keeps_no_other(
    api: Api, plugfleet: Command, made: dict[str, list[str]], kind: str
) -> None:
    first, second, third = made[kind]
    run = plugfleet(kind, "remove", first, "999", second, first, code=1)
    said = run.out.splitlines()
    assert len(said) == 2 and said[0].endswith(f" {first}.") and said[1].endswith(f" {second}.")
    assert "999 was not removed: there is no" in run.err
    assert left(api, kind) == [third]
    plugfleet(kind, "remove", third)
    assert left(api, kind) == []


def test_programs_are_told_what_came_of_each(
    api: Api, plugfleet: Command, made: dict[str, list[str]]
) -> None:
    run = plugfleet("host", "remove", "h1", "h9", "../h2", "--json", code=1)
    told = run.json()
    assert told["removed"] == ["h1"]
    assert [entry["name"] for entry in told["failed"]] == ["h9", "../h2"]
    assert "there is no host 'h9'" in told["failed"][0]["error"]
    assert plugfleet("host", "remove", "h2", "--json").json() == {"removed": ["h2"], "failed": []}


def test_one_alone_that_cannot_be_removed_is_an_error_like_any_other(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no host 'h9'" in plugfleet("host", "remove", "h9", code=2).err
    monkeypatch.setenv("PLUGFLEET_TOKEN", api.token_of(Scope.VIEWER))
    plugfleet("host", "remove", "h9", code=4)


def test_what_was_not_tried_is_said_where_the_controller_is_lost(
    api: Api, plugfleet: Command, made: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Client.send

    def lost(self: Client, method: str, path: str, **more: object) -> object:
        if path == "hosts/h2":
            raise CommandError("cannot be reached", exit_code=Exit.NOT_REACHABLE)
        return send(self, method, path, **more)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Client, "send", lost)
    run = plugfleet("host", "remove", "h1", "h2", "h3", code=3)
    assert "Removed host h1." in run.out
    assert "host h2 was not removed" in run.err and "not tried: h3" in run.err
    assert left(api, "host") == ["h2", "h3"]
