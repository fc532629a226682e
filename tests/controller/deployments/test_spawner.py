"""Processes of runs, as copies of one that has imported what they need: how they begin and end is seen."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from controller.deployments.spawner import UNSEEN, Copy, Spawner
from tests.controller.deployments.conftest import eventually

# A run does nothing until it is told what there is to do, and ends when nobody can tell it any more.


@pytest.fixture(scope="module")
def shared() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    """One of the test's own, whose process may be killed."""
    own = Spawner()
    yield own
    own.close()


def origin(copy: Copy) -> psutil.Process:
    """What a run was copied from."""
    found = psutil.Process(copy.pid).parent()
    assert found is not None
    return found


def ended(copy: Copy) -> int | None:
    status = copy.wait(20)
    copy.close()
    return status


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("said", "status"), [(b"", 0), (b"no JSON\n", 1)], ids=["told nothing", "told nonsense"]
)
def test_how_a_run_ended_is_told(shared: Spawner, said: bytes, status: int) -> None:
    copy = shared.start()
    assert copy.wait(0.1) is None, "it waits for what there is to do"
    copy.orders.write(said)
    copy.orders.close()
    assert copy.wait(20) == status
    assert copy.wait(0) == status, "told again"
    copy.close()


def test_a_killed_run_costs_no_other(shared: Spawner) -> None:
    one, two = shared.start(), shared.start()
    one.kill()
    assert ended(one) == -signal.SIGKILL
    assert two.wait(0.1) is None
    two.orders.close()
    assert ended(two) == 0


def test_each_run_is_a_session_of_its_own_with_nothing_open_but_its_orders(shared: Spawner) -> None:
    copies = [shared.start() for _ in range(3)]
    for copy in copies:
        assert os.getsid(copy.pid) == copy.pid
        eventually(5, lambda pid=copy.pid: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"])
        copy.close()


def test_a_run_does_not_inherit_what_is_secret(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_AWX_TOKEN", "only-for-the-controller")
    copy = spawner.start()
    assert b"only-for" not in Path(f"/proc/{copy.pid}/environ").read_bytes()
    copy.close()


def test_the_end_of_what_runs_are_copied_from_is_not_theirs(spawner: Spawner) -> None:
    copy = spawner.start()
    origin(copy).kill()
    assert copy.wait(0.3) is None, "it goes on"
    later = spawner.start()
    assert later.pid != copy.pid
    copy.orders.close()
    assert ended(copy) == UNSEEN
    later.orders.close()
    assert ended(later) == 0


def test_runs_outlive_the_controller(spawner: Spawner) -> None:
    copy = spawner.start()
    spawner.close()
    assert copy.wait(0.3) is None
    copy.orders.close()
    assert ended(copy) == UNSEEN


def test_a_service_manager_that_ends_all_processes_at_once_does_not_hide_how_runs_end(
    spawner: Spawner,
) -> None:
    copy = spawner.start()
    origin(copy).terminate()
    psutil.Process(copy.pid).terminate()
    assert ended(copy) == -signal.SIGTERM


def test_nothing_stays_open(shared: Spawner) -> None:
    shared.start().close()
    before = open_files()
    for _ in range(5):
        copy = shared.start()
        copy.orders.close()
        assert ended(copy) == 0
    assert open_files() == before


def test_being_ready_is_waited_for_by_nobody(spawner: Spawner) -> None:
    began = time.monotonic()
    spawner.prepare()
    spawner.prepare()
    assert time.monotonic() - began < 0.5
    spawner.start().close()


def test_one_that_is_stopped_is_replaced(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spawner.start()
    stopped = origin(before)
    stopped.suspend()
    monkeypatch.setattr("controller.deployments.spawner._PATIENCE", 0.3)
    monkeypatch.setattr(Spawner, "_end", lambda self: patient(monkeypatch, self))
    later = spawner.start()
    assert not stopped.is_running()
    for copy, status in ((later, 0), (before, UNSEEN)):
        copy.orders.close()
        assert ended(copy) == status


END = Spawner._end


def patient(monkeypatch: pytest.MonkeyPatch, spawner: Spawner) -> None:
    """End what hangs; the next one may take as long as it takes."""
    monkeypatch.setattr("controller.deployments.spawner._PATIENCE", 30)
    END(spawner)


def test_a_machine_that_has_no_room_for_one_more_costs_no_other_run(spawner: Spawner) -> None:
    before = spawner.start()
    now = resource.prlimit(origin(before).pid, resource.RLIMIT_NOFILE)
    there = len(os.listdir(f"/proc/{origin(before).pid}/fd"))
    resource.prlimit(origin(before).pid, resource.RLIMIT_NOFILE, (there + 2, now[1]))
    with pytest.raises(OSError, match="no room"):
        spawner.start()
    resource.prlimit(origin(before).pid, resource.RLIMIT_NOFILE, now)
    later = spawner.start()
    assert origin(later) == origin(before)
    for copy in (before, later):
        copy.orders.close()
        assert ended(copy) == 0


def test_a_controller_that_was_started_with_signals_ignored_sees_how_runs_end() -> None:
    code = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from controller.deployments.spawner import Spawner\n"
        "spawner = Spawner(); copy = spawner.start(); copy.orders.close(); print(copy.wait(20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
