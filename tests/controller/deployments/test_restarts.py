"""Controllers that are stopped, killed, and taken over from: no orphan, no lost row, true states."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from controller.auth import service as auth
from controller.database.base import now
from controller.deployments.liveness import register
from controller.deployments.models import ControllerRow, HostLock
from controller.deployments.processes import mark
from controller.errors import Conflict
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.deployments.conftest import (
    Fleet,
    ended,
    eventually,
    postgresql_only,
    runs_alive,
    sqlite_only,
)
from tests.controller.deployments.controllers import ControllerProcess
from tests.controller.server import Api

Start = Callable[..., ControllerProcess]


@pytest.fixture
def lease() -> float:
    return 8.0


@pytest.fixture
def start(context: Context, tmp_path: Path) -> Iterator[Start]:
    """Starts controllers on the test's database; all are stopped in the end."""
    with context.database.write() as session:
        token = auth.first_token(session)
    assert token
    started: list[ControllerProcess] = []

    def begin(**changes: object) -> ControllerProcess:
        settings = context.settings.model_copy(update=changes)
        controller = ControllerProcess(settings, token, tmp_path / f"controller{len(started)}")
        started.append(controller)
        return controller

    yield begin
    for controller in started:
        controller.end()


def _half_way(controller: ControllerProcess, fleet: Fleet) -> tuple[int, str]:
    """A deployment of two waves: one host through, one being visited, one not begun, one queued."""
    fleet.publish()
    fleet.host("a", result={"changed": True, "msg": "brought"})
    fleet.hosts(["b", "c", "d"], seconds=60)
    deployment = controller.post("deployments", batch_size=3)["id"]

    def begun() -> bool:
        events = controller.get(f"deployments/{deployment}/events")["items"]
        return any(e["kind"] == "host.began" and e["host"] == "b" for e in events)

    eventually(30, begun)
    return deployment, mark(1, fleet.settings.database)


_LEFT = {"a": "changed", "b": "interrupted", "c": "canceled", "d": "canceled"}


def test_a_killed_controller_leaves_no_process_and_the_next_knows_every_host(
    start: Start, fleet: Fleet
) -> None:
    killed = start(forks=1)
    deployment, known_by = _half_way(killed, fleet)
    queued = killed.post("deployments", hosts=["b"], all=True)["id"]
    killed.process.kill()
    killed.process.wait(10)
    eventually(10, lambda: not runs_alive(known_by))
    after = start(forks=1)
    view = after.ended(deployment, 20)
    assert (view["status"], view["reason"]) == (
        "interrupted",
        "the controller died; retry what is left",
    )
    assert after.statuses(deployment) == _LEFT
    assert [wave["status"] for wave in view["waves"]] == ["interrupted", "canceled"]
    assert fleet.row("a").state == "converged" and fleet.row("b").state == "failed"
    assert (fleet.row("c").state, fleet.row("d").state) == ("pending", "pending")
    eventually(20, lambda: after.get(f"deployments/{queued}")["status"] == "running")
    after.post(f"deployments/{queued}/cancel")
    after.ended(queued, 20)


def test_controller_and_run_killed_together_are_cleared_up_after(
    start: Start, fleet: Fleet
) -> None:
    killed = start(forks=1)
    deployment, known_by = _half_way(killed, fleet)
    killed.process.kill()
    os.kill(fleet.run_pid(), signal.SIGKILL)
    killed.process.wait(10)
    assert runs_alive(known_by), "ansible-playbook has outlived them"
    after = start(forks=1)
    assert after.ended(deployment, 40)["status"] == "interrupted"
    assert runs_alive(known_by) == []
    assert after.statuses(deployment) == _LEFT, "what the run's journal told is not lost"


def test_a_stopped_controller_interrupts_its_runs_and_keeps_what_is_queued(
    start: Start, fleet: Fleet
) -> None:
    stopped = start(forks=1)
    deployment, known_by = _half_way(stopped, fleet)
    queued = stopped.post("deployments", hosts=["b"], all=True)["id"]
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.process.wait(30) in (0, -signal.SIGTERM), "uvicorn ends as it was told to"
    assert runs_alive(known_by) == []
    after = start(forks=1)
    view = after.get(f"deployments/{deployment}")
    assert (view["status"], view["reason"]) == ("interrupted", "the controller was stopped")
    assert after.statuses(deployment) == _LEFT
    eventually(20, lambda: after.get(f"deployments/{queued}")["status"] == "running")
    after.post(f"deployments/{queued}/cancel")
    after.ended(queued, 20)


@postgresql_only
def test_two_controllers_share_the_work_and_one_takes_over_from_the_other(
    start: Start, fleet: Fleet, tmp_path: Path
) -> None:
    one = start(forks=1, concurrent_runs=1, data_dir=tmp_path / "one", lease=8)
    two = start(forks=1, concurrent_runs=1, data_dir=tmp_path / "two", lease=8)
    fleet.publish()
    fleet.hosts(["a", "b", "c"], seconds=60)
    ids = [one.post("deployments", hosts=[name])["id"] for name in ("a", "b", "c")]
    eventually(20, lambda: [_status(one, i) for i in ids] == ["running", "running", "queued"])
    claims = {fleet.claimed_by(deployment) for deployment in ids[:2]}
    assert len(claims) == 2, "each drives one of them"
    one.process.kill()
    one.process.wait(10)
    began = time.monotonic()
    eventually(20, lambda: "interrupted" in [_status(two, i) for i in ids])
    assert time.monotonic() - began < 8 + 4, "within the lease, and a moment to write it"
    lost = next(i for i in ids if _status(two, i) == "interrupted")
    two.post(f"deployments/{lost}/retry")
    two.process.send_signal(signal.SIGTERM)
    two.process.wait(30)
    with fleet.database.read() as session:
        assert session.scalar(select(func.count()).select_from(HostLock)) <= 2


@postgresql_only
def test_a_controller_that_was_taken_over_ends_its_runs_and_begins_anew(
    api: Api, fleet: Fleet, settings: Settings
) -> None:
    fleet.publish()
    fleet.host("a", seconds=60)
    fleet.host("b")
    deployment = api.send("POST", "deployments", 202, json={"hosts": ["a"]})["id"]
    eventually(20, lambda: len(runs_alive(mark(1, settings.database))) > 3)
    with fleet.database.write() as session:
        session.query(ControllerRow).one().ended = now()
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'plugfleet presence' AND datname = current_database()"
            )
        )
    assert ended(api, deployment, 20)["status"] == "interrupted"
    assert runs_alive(mark(1, settings.database)) == []
    later = api.send("POST", "deployments", 202, json={"hosts": ["b"]})["id"]
    assert ended(api, later)["status"] == "succeeded"
    assert fleet.claimed_by(later) != fleet.claimed_by(deployment)


@sqlite_only
def test_a_second_controller_on_one_sqlite_is_refused(start: Start, context: Context) -> None:
    start()
    with pytest.raises(Conflict, match="another controller is at work"):
        register(context.settings, context.database)


def test_a_controller_that_said_goodbye_is_not_taken_for_dead(
    settings: Settings, context: Context
) -> None:
    first = register(settings, context.database)
    first.close()
    second = register(settings, context.database)
    assert second.dead() == []
    with context.database.write() as session:
        session.get_one(ControllerRow, first.id).ended = None

    def found_dead() -> bool:
        second.check()  # as its lease does: the server ends the session of one that says nothing
        return second.dead() == [first.id]

    eventually(10, found_dead)
    with second.taking_over(first.id) as mine:
        assert mine
    second.close()
    with context.database.read() as session:
        ended = session.get_one(ControllerRow, second.id).ended
    assert ended is not None and ended <= now()


def _status(controller: ControllerProcess, deployment: int) -> str:
    status: str = controller.get(f"deployments/{deployment}")["status"]
    return status
