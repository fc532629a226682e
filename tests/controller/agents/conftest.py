"""Fixtures of the heartbeat server's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from controller.agents import follower, judging
from controller.agents.flow import Agents
from controller.agents.lists import Kept, save
from controller.catalog.deps import publisher_of
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.agents.falcon import GoClient
from tests.controller.agents.fleet import Fleet

# What a controller without a database tells: name, id, plugins, digest, stamp, landed, head, peer, fits.
HOSTS: list[list[str | int]] = [
    ["web1", 1, '["sys/ntp","sys/ntp/6_env.py(a,b)"]', "one", 1795294627, "", "", "", "*"],
    ["idle", 2, "[]", "none", 1795294627, "", "", "", "*"],
    ["busy", 4, '["app"]', "app", 1795294627, "", "", "", "*"],
    ["bare", 5, "[]", "", 1795294627, "", "", "", "*"],
    ["odd", 3, '["a\\u003cb\\u003e\\u0026/ünï"]', "odd", 7, "", "", "", "*"],
]

KEPT: Kept = {"format": 2, "forgotten": 0, "hosts": HOSTS}

Start = Callable[..., Agents]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a second in a controller takes a moment here."""
    monkeypatch.setattr(follower, "_EVERY", 0.02)
    monkeypatch.setattr(judging, "_ON_ITS_WAY", 0.0)
    monkeypatch.setattr(follower, "_LOOK_AT_STATES_EVERY", 0.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts heartbeat servers without a database, which tell what was kept."""
    with ExitStack() as running:

        def begin(**settings: Any) -> Agents:
            folder = tmp_path / "agents"
            folder.mkdir(exist_ok=True)
            save(folder / "agents.json", KEPT)
            given = {"agents_listen": "127.0.0.1:0"} | settings
            agents = Agents(Settings(data_dir=folder, **given))
            agents.start()
            running.callback(agents.stop)
            return agents

        yield begin


@pytest.fixture
def fleet(context: Context) -> Fleet:
    """A release, a hostgroup with a binding, and a host with a Falcon agent in it."""
    fleet = Fleet(context)
    fleet.publish(1)
    fleet.group("web")
    fleet.add("web1", "web")
    fleet.bind("web", "sys/ntp")
    return fleet


@pytest.fixture
def hbs(context: Context) -> Iterator[Agents]:
    """A heartbeat server that follows the test's database."""
    settings = context.settings.model_copy(update={"agents_listen": "127.0.0.1:0"})
    agents = Agents(settings)
    agents.start()
    agents.follow(context.database, context.vault, publisher_of(context))
    yield agents
    agents.stop()


@pytest.fixture
def agent(hbs: Agents) -> Iterator[GoClient]:
    """An agent that is connected."""
    with GoClient(hbs.port) as client:
        yield client
