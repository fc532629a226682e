"""When plugins run: soon, spread, at a fixed rate, never twice at a time, never starved."""

from __future__ import annotations

import os
import signal
import time

import pytest

from executor.schedule import Schedule, kill_times, spread
from tests.executor.harness import Host, alive, prints, wait_until


def stamps(path: str) -> str:
    return f"date +%s.%N >> {path}\n" + prints()


def test_spread_is_stable_and_even() -> None:
    delays = [spread(f"host{n}", "sys/ntp/60_a.py", 5.0) for n in range(2000)]
    assert delays[7] == spread("host7", "sys/ntp/60_a.py", 5.0)
    assert min(delays) >= 0 and max(delays) < 5
    for second in range(5):
        assert 300 < sum(second <= delay < second + 1 for delay in delays) < 500


@pytest.mark.parametrize(
    ("called", "missed", "following"),
    [(100.0, 0, 110.0), (100.4, 0, 110.0), (109.9, 0, 110.0), (125.0, 2, 130.0), (110.0, 1, 120.0)],
)
def test_ticks_keep_their_phase_whatever_the_delay(
    called: float, missed: int, following: float
) -> None:
    schedule = Schedule(100.0, 10)
    assert schedule.advance(called) == missed
    assert schedule.next == following


@pytest.mark.parametrize("step", [1, 2, 5, 60, 3600])
def test_everything_of_a_run_is_over_before_the_next(step: int) -> None:
    terminate, kill = kill_times(step)
    assert terminate == max(0.5, step - 0.5)
    assert terminate < kill < step


def test_the_rate_is_fixed_and_does_not_drift(host: Host) -> None:
    path = host.root / "stamps"
    host.script("app/1_a.sh", stamps(str(path)) + "sleep 0.3\n")
    host.bind("app")
    host.start()
    wait_until(lambda: path.exists() and len(path.read_text().split()) >= 4, "four runs", 12)
    times = [float(text) for text in path.read_text().split()]
    for number, moment in enumerate(times):
        assert abs(moment - times[0] - number) < 0.15
    assert host.plugins()["app/1_a.sh"]["Missed"] == 0


def test_touching_a_file_all_the_time_does_not_starve_it(host: Host) -> None:
    # A Falcon agent ran a 5 s plugin 0 times in 18 s under this.
    script = host.script("app/2_a.sh", prints())
    host.bind("app")
    host.cfg["heartbeat"] = {"interval": 1}
    host.start()
    for number in range(6):
        os.utime(script, (1700000000 + number, 1700000000 + number))
        time.sleep(1)
    assert host.plugins()["app/2_a.sh"]["Runs"] >= 3
    assert host.plugins()["app/2_a.sh"]["MTime"] >= 1700000004


def test_a_changed_slow_plugin_runs_soon_and_is_not_flooded(host: Host) -> None:
    from executor import schedule

    script = host.script("app/3600_a.sh", prints())
    host.bind("app")
    host.cfg["heartbeat"] = {"interval": 1}
    host.start()
    host.wait_state("app/3600_a.sh", "ok")
    os.utime(script, (1700000000, 1700000000))
    time.sleep(2)
    assert host.plugins()["app/3600_a.sh"]["Runs"] == 1
    assert schedule.EARLY_RUN_SPACING == 30.0


def test_bindings_are_picked_up_within_two_seconds(host: Host) -> None:
    host.script("app/60_a.sh", prints())
    host.start()
    began = time.monotonic()
    host.bind("app")
    host.wait_state("app/60_a.sh", "ok")
    assert time.monotonic() - began < 2.5


def test_unbinding_ends_a_run_that_is_under_way(host: Host) -> None:
    pid_file = host.root / "pid"
    host.script("app/60_a.sh", f"echo $$ > {pid_file}; exec sleep 50\n")
    host.bind("app")
    host.start()
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it runs"))
    host.bind()
    wait_until(lambda: not alive(pid), "it ended")
    assert host.plugins() == {}


def test_bound_again_at_once_it_waits_for_the_end_of_its_last_run(host: Host) -> None:
    runs = host.root / "runs"
    body = f"echo start >> {runs}\ntrap 'sleep 1; echo end >> {runs}; exit' TERM\nsleep 50 & wait\n"
    host.script("app/60_a.sh", body)
    host.bind("app")
    host.start()
    wait_until(lambda: runs.exists(), "it runs")
    host.cfg["executor"]["first_run_within"] = 0
    host.write_cfg()
    host.get("/config/reload")
    wait_until(lambda: len(runs.read_text().split()) == 3, "the second run")
    assert runs.read_text().split() == ["start", "end", "start"]


def test_the_same_script_runs_once_for_each_set_of_arguments(host: Host) -> None:
    host.script("app/60_a.sh", 'echo "[{\\"metric\\":\\"m\\",\\"value\\":$1}]"\n')
    host.bind("app/60_a.sh(1)", "app/60_a.sh(2)", "app")
    host.start()
    wait_until(lambda: len(host.samples()) == 2, "both ran")
    time.sleep(0.3)
    assert sorted(metric["value"] for metric in host.samples()) == [1, 2]


def test_sigterm_ends_plugins_and_exits_0(host: Host) -> None:
    pid_file = host.root / "pid"
    host.script("app/60_a.sh", f"trap '' TERM; echo $$ > {pid_file}; while :; do sleep 1; done\n")
    host.bind("app")
    host.start()
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it runs"))
    began = time.monotonic()
    assert host.stop() == 0
    assert time.monotonic() - began < 5
    wait_until(lambda: not alive(pid), "its plugin is gone")


def test_after_kill_9_no_plugin_runs_twice(host: Host) -> None:
    pid_file = host.root / "pids"
    host.script("app/60_a.sh", f"echo $$ >> {pid_file}; exec sleep 50\n")
    host.bind("app")
    host.start()
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it runs")
    host.stop(signal.SIGKILL)
    first = int(pid_file.read_text())
    assert alive(first)
    host.start()
    wait_until(lambda: len(pid_file.read_text().split()) == 2, "it runs again")
    assert not alive(first)
    assert "left running by an executor that was killed" in host.log


def test_a_restart_spares_what_left_the_session_on_purpose(host: Host) -> None:
    # A plugin that restarts a service leaves it with our marker in its environment.
    pid_file = host.root / "pid"
    # It waits for it to have left: what is still in its group when it ends is killed.
    host.script(
        "app/60_a.sh",
        f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 50' >/dev/null 2>&1 &\n"
        f"while [ ! -s {pid_file} ]; do sleep 0.05; done\n",
    )
    host.bind("app")
    host.start()
    service = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it runs"))
    try:
        host.stop(signal.SIGKILL)
        host.start()
        host.get("/health")
        assert alive(service)
    finally:
        os.kill(service, signal.SIGKILL)


def test_fifty_kills_of_the_executor_leave_nothing_behind(host: Host) -> None:
    pids = host.root / "pids"
    for number in range(4):
        body = f'echo $$ >> {pids}; echo \'[{{"metric":"m","value":1}}]\'; exec sleep 0.4\n'
        host.script(f"app/1_{number}.sh", body)
    host.bind("app")
    host.cfg["executor"]["first_run_within"] = 0
    for number in range(50):
        host.start()
        time.sleep(0.002 * number)
        host.stop(signal.SIGKILL)
    host.start()
    for number in range(4):
        host.wait_state(f"app/1_{number}.sh", "ok")
    # No two copies of one plugin, and the state folder is sound.
    running = [
        entry for entry in os.listdir("/proc")
        if entry.isdigit() and str(host.root).encode() in _command_line(entry)
    ]  # fmt: skip
    assert len(running) <= 5
    assert host.detail()["sinks"]["jsonl"]["dropped"] == 0
    wait_until(host.samples, "values arrive")
    assert all(metric["metric"] == "m" for metric in host.samples())


def _command_line(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read()
    except OSError:
        return b""
