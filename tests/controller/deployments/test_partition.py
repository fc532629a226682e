"""Two controllers on one PostgreSQL, of which one loses the network: never do both run one wave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from controller.database.engine import Database
from controller.deployments.advisory import Shared, is_local, serves_nobody
from controller.deployments.models import ControllerRow
from controller.deployments.presence import CHECK, ENDING, SILENCE, Lost
from controller.deployments.processes import mark
from controller.errors import Unavailable
from controller.settings import Settings
from tests.controller.deployments.conftest import Fleet, eventually, postgresql_only, runs_alive
from tests.controller.deployments.test_restarts import Start
from tests.controller.deployments.test_restarts import start as start  # a fixture
from tests.controller.network import Network
from tests.controller.postgresql import Server

_LEASE = 8.0
# Ends the session that holds a controller's lock.
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = :id"
)
_MARGIN = 4.0  # seconds to see it and write it, on a machine that is busy


@pytest.fixture
def network(database_url: str) -> Iterator[Network]:
    made = Network(database_url)
    yield made
    made.close()


@postgresql_only
def test_a_controller_without_network_ends_its_runs_before_another_takes_over(
    start: Start, fleet: Fleet, network: Network, database_url: str, tmp_path: Path
) -> None:
    url = network.url(database_url)
    fleet.publish()
    fleet.host("a", seconds=60)
    one = start(lease=_LEASE, data_dir=tmp_path / "one", database_url=url)
    deployment = one.post("deployments", hosts=["a"])["id"]
    known_by = mark(1, url)
    eventually(20, lambda: len(runs_alive(known_by)) > 3)
    two = start(lease=_LEASE, data_dir=tmp_path / "two")
    run = fleet.run_pid()
    network.fall_silent()
    began = time.monotonic()
    while (view := two.get(f"deployments/{deployment}"))["status"] == "running":
        assert time.monotonic() - began < _LEASE + _MARGIN
        time.sleep(0.05)
    # Looked for after it was taken over: whatever is there still would be run by both.
    assert set(runs_alive(known_by)) <= {run}
    assert (view["status"], two.statuses(deployment)) == ("interrupted", {"a": "interrupted"})
    # What it was about to say when the network went may arrive now, and must change nothing.
    network.come_back()
    eventually(20, lambda: not runs_alive(known_by))
    eventually(20, lambda: _entered(fleet) == 3)
    assert one.get(f"deployments/{deployment}")["reason"] == view["reason"]
    assert fleet.row("a").state == "failed"


@postgresql_only
def test_a_controller_whose_own_way_is_refused_is_lost_before_another_takes_over(
    settings: Settings, fleet: Fleet, network: Network, database_url: str
) -> None:
    lease = 2.0
    url = network.url(database_url)
    with contextlib.closing(Database(url)) as database:
        one = Shared(settings.model_copy(update={"lease": lease, "database_url": url}), database)
        two = Shared(settings.model_copy(update={"lease": lease}), fleet.database)
        one.check()
        network.refuse()  # the server lets go of its lock at once
        taken, _said = _until_taken_over(one, two, lease)
        # Its runs know by themselves: they end after SILENCE, and need ENDING for it.
        assert one.sure + (SILENCE + ENDING) * lease < taken
        two.close()


@postgresql_only
def test_a_server_that_shuts_down_when_all_have_left_still_serves_the_other_controller(
    settings: Settings, fleet: Fleet, postgresql_server: Server
) -> None:
    lease = 2.0
    given = settings.model_copy(update={"lease": lease})
    with contextlib.closing(Database(settings.database)) as database:
        one, two = Shared(given, database), Shared(given, fleet.database)
        one.check()
        two.check()
        postgresql_server.take_nobody_new()
        try:
            with fleet.database.write() as session:  # by a connection that is there
                session.execute(_END, {"id": one.id})
            _taken, said = _until_taken_over(one, two, lease)
            assert "the database system is shutting down" in said
        finally:
            postgresql_server.stop()
            postgresql_server.start()
        two.close()


@postgresql_only
def test_a_server_is_local_only_where_no_proxy_is_in_between(
    fleet: Fleet, network: Network, database_url: str
) -> None:
    with fleet.database.engine.connect() as connection:
        assert is_local(connection)
    with (
        contextlib.closing(Database(network.url(database_url))) as database,
        database.engine.connect() as connection,
    ):
        assert not is_local(connection)


@pytest.mark.parametrize(
    ("said", "by_the_network", "by_its_own_socket"),
    [
        ("connection to server at 10.0.0.1 failed: Connection refused", False, True),
        ("connection on socket failed: No such file or directory", False, True),
        ("FATAL:  the database system is starting up", True, True),
        ("FATAL:  the database system is in recovery mode", True, True),
        ("FATAL:  the database system is not yet accepting connections", True, True),
        ("FATAL:  the database system is shutting down", False, False),
        ("FATAL:  database is not currently accepting connections", False, False),
        ("connection timeout expired", False, False),
        ("server closed the connection unexpectedly", False, False),
    ],
)
def test_only_what_the_server_itself_refuses_is_refused_to_all(
    said: str, by_the_network: bool, by_its_own_socket: bool
) -> None:
    error = OperationalError("SELECT", {}, Exception(said))
    assert serves_nobody(error, local=False) is by_the_network
    assert serves_nobody(error, local=True) is by_its_own_socket


def _entered(fleet: Fleet) -> int | None:
    """How often a controller has begun to work on the database."""
    with fleet.database.read() as session:
        return session.scalar(select(func.count(ControllerRow.id)))


def _until_taken_over(one: Shared, two: Shared, lease: float) -> tuple[float, set[str]]:
    """Let two controllers check until the second counts the first as dead, which must know by then.

    Returns:
        When that was (`time.monotonic()`), and what the server said to the first meanwhile.
    """
    said, lost = set(), False
    began = time.monotonic()
    while time.monotonic() - began < 5 * lease:
        try:
            one.check()
        except Lost:
            lost = True
        except Unavailable as error:
            assert not lost, "once lost, for ever"
            said.add(str(error).rpartition("FATAL: ")[2].strip())
        two.check()
        if one.id in two.dead():
            taken = time.monotonic()
            with pytest.raises(Lost):  # it does not go on beside the one that takes over
                one.check()
            return taken, said
        time.sleep(lease * CHECK)
    raise AssertionError("nobody takes over")
