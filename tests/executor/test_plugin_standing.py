"""What is said about a manifest plugin and how patient one is with it, turns, and attempts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from executor import standing
from executor.attempts import FIRST_PAUSE, LONGEST_PAUSE, Attempts
from executor.log import Log
from executor.loop import Loop
from executor.standing import MAX_FAILURES, Standing
from executor.turns import Turns


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def plugin(log_file: Path) -> Standing:
    return Standing("check", Log(str(log_file)))


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("poll_seconds", "silent", "values", "rejection", "state", "reason"),
    [
        (1.0, 170, 1, "", "ok", ""),
        (1.0, 190, 1, "", "no-data", "no measurement for 190 s"),
        (1.0, 190, 1, "a line was rejected", "no-data", "for 190 s: a line was rejected"),
        (100.0, 290, 1, "", "ok", ""),
        (100.0, 310, 1, "", "no-data", "no measurement for 310 s"),
        (1.0, 1, 0, "", "running", ""),
        (1.0, 190, 0, "", "no-data", "no measurement for 190 s"),
        (1.0, 0, 0, "OTHER is not declared", "no-data", "no measurement: OTHER is not declared"),
    ],
)
def test_one_that_runs_without_values_is_not_ok_for_ever(
    plugin: Standing, monkeypatch: pytest.MonkeyPatch, poll_seconds: float, silent: float,
    values: int, rejection: str, state: str, reason: str,
) -> None:  # fmt: skip
    clock = Clock(monkeypatch)
    plugin.started(had_values=False)
    plugin.heard(values, runs_for_ever=True)
    clock.now += silent
    plugin.heard(values, runs_for_ever=True)  # it prints, but no further value
    found = plugin.while_running(poll_seconds, rejection)
    assert found[0] == state and reason in found[1]


def test_a_bad_state_is_logged_when_it_comes_and_not_at_every_run(
    plugin: Standing, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for number in range(30):
        plugin.started(had_values=False)
        plugin.note("no-data", f"ended without a measurement ({number})")
        clock.now += 1
    assert log_file.read_text().count("WARNING") == 1
    clock.now += 60
    plugin.note("no-data", "another reason")
    plugin.note("failed", "exit code 1")
    plugin.note("ok", "")
    plugin.note("failed", "exit code 1")
    assert [line.split(": ", 1)[1] for line in log_file.read_text().splitlines()[1:]] == [
        "no-data: another reason", "failed: exit code 1", "failed: exit code 1",
    ]  # fmt: skip


def test_new_code_or_configuration_that_fails_in_the_same_way_is_logged_again(
    plugin: Standing, log_file: Path
) -> None:
    plugin.note("parked", "failed 5 times")
    plugin.forget_failures()
    plugin.note("parked", "failed 5 times")
    plugin.begin_anew()
    plugin.note("parked", "failed 5 times")
    assert log_file.read_text().count("parked: failed 5 times") == 2


def test_the_hosts_trouble_backs_off_and_never_parks(plugin: Standing) -> None:
    pauses = [plugin.troubled("No space left on device") for _ in range(20)]
    assert pauses[:4] == [1, 2, 4, 8] and pauses[-1] == 64
    assert plugin.state == "failed" and "the host cannot start it: No space" in plugin.reason
    assert plugin.failures == 0
    found = [plugin.failed("failed", "exit code 1", 0.0, may_park=True) for _ in range(5)]
    assert found == [1, 2, 4, 8, None] and plugin.state == "parked" and MAX_FAILURES == 5


def test_a_crash_after_a_long_run_is_the_first_one(plugin: Standing) -> None:
    for _ in range(MAX_FAILURES - 1):
        plugin.failed("failed", "exit code 1", 0.0, may_park=True)
    assert plugin.failed("failed", "exit code 1", standing.SOUND_AFTER + 1, may_park=True) == 1


def test_turns_come_in_order_and_one_at_a_time(tmp_path: Path) -> None:
    loop = Loop(Log(str(tmp_path / "log")))
    turns = Turns(loop)
    called: list[str] = []
    first, second, third, fourth = (
        turns.ask(name, lambda name=name: called.append(name)) for name in "abcd"
    )
    first.leave()
    assert turns.holder == "b"  # "a" left before it was called
    third.leave()

    def end_second() -> None:
        assert called == ["b"]
        second.leave()
        loop.call_later(0.0, fourth.leave)
        loop.call_later(0.0, loop.stop)

    loop.call_later(0.0, end_second)
    loop.run()
    assert called == ["b", "d"] and turns.holder == ""


def test_attempts_that_did_not_end_well_make_the_next_one_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_790_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    attempts = Attempts(str(tmp_path), "check", ("npm install", 1))
    assert attempts.pause() == 0
    attempts.note()
    assert attempts.pause() == FIRST_PAUSE
    attempts.note()
    assert (attempts.count, attempts.pause()) == (2, 2 * FIRST_PAUSE)
    now += 2 * FIRST_PAUSE
    assert attempts.pause() == 0
    for _ in range(30):
        attempts.note()
    now -= 86400  # a clock that was set back
    assert attempts.pause() == LONGEST_PAUSE
    assert Attempts(str(tmp_path), "check", ("npm install", 2)).pause() == 0
    attempts.forget()
    assert attempts.count == 0
