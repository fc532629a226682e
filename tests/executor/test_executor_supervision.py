"""The plain supervised process, for hosts without systemd."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.harness import Host, alive, wait_until


@pytest.fixture
def supervised(host: Host) -> Iterator[Host]:
    host.write_cfg()
    yield host
    host.run("--stop")


def pids(host: Host) -> tuple[int, int]:
    """(daemon, supervisor)."""
    found = re.search(r"pid (\d+), supervisor (\d+)", host.run("--status").stdout)
    assert found is not None
    return int(found.group(1)), int(found.group(2))


def test_it_starts_stops_and_says_so(supervised: Host) -> None:
    assert supervised.run("--status").returncode == 3
    done = supervised.run("--supervise")
    assert (done.returncode, done.stdout.startswith("started")) == (0, True)
    daemon, supervisor = pids(supervised)
    assert "already running" in supervised.run("--supervise").stdout
    assert supervised.run("--stop").stdout == "stopped\n"
    assert not alive(daemon) and not alive(supervisor)
    assert supervised.run("--stop").stdout == "was not running\n"
    assert "plugfleet executor" in (supervised.root / "logs/executor.log").read_text()


def test_a_restart_leaves_one_new_daemon_and_also_starts_what_did_not_run(supervised: Host) -> None:
    assert supervised.run("--restart").stdout.startswith("started")
    before = pids(supervised)
    assert supervised.run("--restart").stdout.startswith("started")
    assert not any(alive(pid) for pid in before)
    assert set(pids(supervised)).isdisjoint(before)


def test_it_lives_on_when_the_session_that_started_it_ends(supervised: Host) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", 'exec "$@"', "sh", *supervised.command("--supervise")],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    # An SSH session ends when nobody holds its pipes any more.
    shell.communicate(timeout=20)
    daemon, supervisor = pids(supervised)
    assert os.getsid(daemon) == os.getsid(supervisor) != shell.pid
    assert alive(daemon)


def test_a_killed_daemon_comes_back(supervised: Host) -> None:
    supervised.run("--supervise")
    daemon, supervisor = pids(supervised)
    os.kill(daemon, signal.SIGKILL)
    wait_until(
        lambda: (
            "restarting" not in supervised.run("--status").stdout and pids(supervised)[0] != daemon
        ),
        "a new daemon",
    )
    assert pids(supervised)[1] == supervisor


def test_a_killed_supervisor_is_replaced_and_no_second_daemon_runs(supervised: Host) -> None:
    supervised.run("--supervise")
    daemon, supervisor = pids(supervised)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(supervisor), "it is gone")
    assert alive(daemon)
    assert supervised.run("--supervise").stdout.startswith("started")
    assert not alive(daemon)
    assert pids(supervised)[1] != supervisor


def test_a_stale_pid_file_kills_nobody(supervised: Host) -> None:
    # The agent's control script was known to kill whoever had got an old pid.
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        state = supervised.root / "state"
        state.mkdir()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (state / "supervisor.pid").write_text(f"{bystander.pid} 12345 {boot}\n")
        (state / "lock").write_text(f"{bystander.pid}\n")
        assert supervised.run("--stop").stdout == "was not running\n"
        time.sleep(0.1)
        assert bystander.poll() is None
        assert supervised.run("--supervise").returncode == 0
    finally:
        bystander.kill()
        bystander.wait()


def test_a_daemon_that_does_not_come_up_is_reported_with_its_reason(supervised: Host) -> None:
    supervised.cfg["http"]["listen"] = "203.0.113.1:1988"
    supervised.write_cfg()
    done = supervised.run("--supervise")
    assert done.returncode == 1
    assert "did not stay up" in done.stderr
    assert "http.listen" in (supervised.root / "logs/executor.log").read_text()
    assert supervised.run("--status").returncode == 3
