"""PostgreSQL keeps every connection, takes new ones, and answers nobody: that ends in a clear 503, in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import text

from controller.database import engine, silence
from controller.database.engine import Database
from controller.errors import Unavailable
from controller.settings import Settings
from tests.controller.deployments.conftest import eventually
from tests.controller.network import Network
from tests.controller.server import Api

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
SUSPECT = 0.2  # seconds
PROBE = 2  # seconds; the least that there is
# Seconds in which an answer must come. Where all threads are busy some requests wait for those before them:
# SUSPECT, a look and two PROBEs after the first one it is known, and nobody waits any more: 23 s as it is in force.
BOUND = SUSPECT + 3 * PROBE + 2
AT_ONCE = 60  # requests, more than the controller has threads for


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LOOK", 0.05), ("_SUSPECT", SUSPECT), ("_PROBE", PROBE)):
        monkeypatch.setattr(silence, name, value)
    monkeypatch.setattr(engine, "_CONNECT_TIMEOUT", PROBE)


@pytest.fixture
def network(database_url: str) -> Iterator[Network]:
    made = Network(database_url)
    yield made
    made.close()


@pytest.fixture
def settings(settings: Settings, network: Network) -> Settings:
    return settings.model_copy(update={"database_url": network.url(settings.database_url)})


def test_requests_end_in_a_clear_503_and_go_on_when_it_answers_again(
    api: Api, network: Network
) -> None:
    api.send("POST", "hosts", 201, json={"name": "before"})

    def ask(number: int) -> None:
        began = time.monotonic()
        if number % 2:
            answer = api.client.post("hosts", json={"name": f"h{number}"})
        else:
            answer = api.client.get("hosts")
        assert answer.status_code == 503, answer.text
        assert "database" in answer.json()["detail"] and int(answer.headers["Retry-After"]) > 0
        assert time.monotonic() - began < BOUND

    network.fall_silent()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for asked in [pool.submit(ask, number) for number in range(AT_ONCE)]:
            asked.result()
    began = time.monotonic()
    ask(0)
    assert time.monotonic() - began < 1, "it is known by now"
    network.come_back()
    eventually(20, lambda: api.client.get("hosts").status_code == 200)
    assert [host["name"] for host in api.get("hosts")["items"]] == ["before"]
    api.send("POST", "hosts", 201, json={"name": "after"})


def test_a_statement_that_takes_long_is_not_cut(settings: Settings) -> None:
    with closing(Database(settings.database)) as database, database.read() as session:
        assert session.scalar(text(f"SELECT 1 FROM pg_sleep({SUSPECT * 5})")) == 1


def test_a_connection_that_is_broken_already_does_not_end_the_watch(settings: Settings) -> None:
    with psycopg.connect(settings.database.replace("+psycopg", "")) as connection:
        connection.close()
        silence._end(connection)


def test_a_change_whose_commit_was_not_answered_is_not_said_to_have_failed(
    settings: Settings, network: Network
) -> None:
    with closing(Database(settings.database)) as database:
        with pytest.raises(Unavailable) as told, database.write() as session:
            session.execute(text("SELECT 1"))
            network.fall_silent()
        assert "while the change was written" in told.value.message
        assert "look before trying again" in told.value.hint
