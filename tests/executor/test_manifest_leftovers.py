"""No manifest plugin runs twice, whatever it put into groups and sessions of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import leftovers
from executor.leftovers import PLUGIN_MARK, Sweeper, plugin_mark
from executor.log import Log
from executor.loop import Loop
from tests.executor.harness import Host, alive, wait_until
from tests.executor.manifest_source import copy_of, install

# Each notes the pids that it means to leave: the executor must find them by itself.
OWN_GROUP = "echo TEST_VALUE 1\ntimeout 60 sh -c 'echo $$ >> pids; exec sleep 60'\n"
OWN_SESSION = "echo TEST_VALUE 1\nexec setsid -w sh -c 'echo $$ >> pids; exec sleep 60'\n"
DAEMON = "setsid sh -c 'echo $$ >> pids; exec sleep 60' > /dev/null 2>&1 &\necho TEST_VALUE 1\n"


def install_sh(host: Host, name: str, script: str) -> None:
    install(host, "", name, command="sh run.sh")
    (host.root / "plugin" / name / "run.sh").write_text(script)


def pids(host: Host, name: str) -> list[int]:
    path = copy_of(host, name) / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_what_leaves_its_group_or_session_ends_with_its_plugin(host: Host) -> None:
    scripts = {"group": OWN_GROUP, "session": OWN_SESSION}
    for name, script in scripts.items():
        install_sh(host, name, script)

    def bind(value: str) -> None:
        host.bind(*({"plugin": name, "config": {"host": value}} for name in scripts))

    def started(count: int) -> None:
        wait_until(lambda: all(len(pids(host, name)) == count for name in scripts), "started")
        for name in scripts:
            assert [alive(pid) for pid in pids(host, name)] == [False] * (count - 1) + [True]

    bind("one")
    host.start()
    started(1)
    bind("two")
    started(2)
    host.stop(signal.SIGKILL)
    host.start()
    started(3)
    host.stop()
    assert not any(alive(pid) for name in scripts for pid in pids(host, name))


def test_one_that_daemonises_and_ends_does_not_pile_up(host: Host) -> None:
    install_sh(host, "check", DAEMON)
    host.bind({"plugin": "check", "config": {"pollInterval": 1000}})
    host.start()
    entry = wait_until(lambda: host.plugins()["check"]["Runs"] and host.plugins()["check"], "ran")
    assert entry["State"] == "ok" and "left 1 processes behind" in entry["Reason"]
    wait_until(lambda: len(pids(host, "check")) == 2, "it ran again")
    wait_until(lambda: not any(alive(pid) for pid in pids(host, "check")), "none is left")


def test_stdin_stays_open_for_one_that_stays_and_ends_with_the_executor(host: Host) -> None:
    script = "echo TEST_VALUE 1\necho $$ > pids\ncat > /dev/null\n"
    install_sh(host, "check", script)
    host.script("checks/execd", "echo m a=1\ncat > /dev/null\n")
    host.script("checks/exec", "cat > /dev/null\necho m a=1\n")
    host.bind(
        "check",
        {"plugin": "checks/execd", "format": "telegraf-execd", "step": 1},
        {"plugin": "checks/exec", "format": "telegraf-exec", "step": 1},
    )
    host.start()
    for key in ("check", "checks/execd()"):
        host.wait_state(key, "ok")
    wait_until(lambda: host.plugins()["checks/exec()"]["Runs"] >= 2, "that one ends each time")
    for key in ("check", "checks/execd()"):
        entry = host.plugins()[key]
        assert entry["Running"] and entry["Runs"] == 0
    host.stop(signal.SIGKILL)
    wait_until(lambda: not alive(pids(host, "check")[0]), "it saw the end of its stdin")


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[str, int], int]:
    """Sweeps for a mark and collects our child: how many were killed."""
    log = Log(str(tmp_path / "log"))
    loop = Loop(log)
    sweeper = Sweeper(loop, log)

    def sweep_it(mark: str, child: int) -> int:
        killed: list[int] = []

        def reap() -> None:
            # Nobody else collects the one that is our own child.
            os.waitpid(child, os.WNOHANG)
            loop.call_later(0.01, reap)

        def done(count: int) -> None:
            killed.append(count)
            loop.stop()

        loop.call_later(0.0, reap)
        sweeper.sweep(mark, done)
        loop.run()
        return killed[0]

    return sweep_it


def marked(mark: str) -> dict[str, str]:
    return dict(os.environ, **{PLUGIN_MARK: mark})


def test_a_sweep_kills_until_nothing_carries_the_mark(
    tmp_path: Path, sweep: Callable[[str, int], int]
) -> None:
    mark = plugin_mark("check(-p,secret)", str(tmp_path))
    assert "secret" not in mark
    pids_file = tmp_path / "pids"
    script = f"for n in 1 2 3; do setsid sleep 60 & echo $! >> {pids_file}; done; wait\n"
    other = os.posix_spawn("/bin/sleep", ["sleep", "60"], marked(mark + "x"))
    forker = os.posix_spawn("/bin/sh", ["sh", "-c", script], marked(mark))
    try:
        wait_until(
            lambda: pids_file.exists() and len(pids_file.read_text().split()) == 3, "they run"
        )
        began = time.monotonic()
        assert sweep(mark, forker) == 4 and time.monotonic() - began < 5
        assert not any(alive(int(pid)) for pid in pids_file.read_text().split())
        assert alive(other)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_one_in_the_middle_of_an_exec_is_not_overlooked(
    tmp_path: Path, sweep: Callable[[str, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = plugin_mark("check", str(tmp_path))
    child = os.posix_spawn("/bin/sleep", ["sleep", "60"], marked(mark))
    seen = []
    read = leftovers._marks

    def blank_at_first(pid: str) -> dict[str, bytes] | None:
        if pid != str(child):
            return {}
        seen.append(pid)
        return None if len(seen) == 1 else read(pid)

    monkeypatch.setattr(leftovers, "_marks", blank_at_first)
    assert sweep(mark, child) == 1
