"""postExtract: any code, so allowed by a switch, run once, bounded, and never the others' trouble."""

from __future__ import annotations

import os
import signal
import stat
import time
from typing import Any

import pytest

from tests.executor.harness import Host, alive, wait_until
from tests.executor.manifest_source import LOOPS, copy_of, detail, install

PRINTS = "print('TEST_VALUE 1')\n"


def allow(host: Host, **settings: Any) -> None:
    host.cfg["executor"].update(dict({"postextract": True}, **settings))


def marked_alive(mark: str) -> list[int]:
    """Processes with `mark` on their command line."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                words = stream.read()
        except OSError:
            continue
        if entry.isdigit() and mark.encode() in words and alive(int(entry)):
            found.append(int(entry))
    return found


def test_it_is_not_run_unless_the_host_allows_it_and_the_state_says_so(host: Host) -> None:
    install(host, PRINTS, postExtract="touch made")
    host.bind("check")
    host.start()
    entry = host.wait_state("check", "postextract-not-allowed")
    assert "touch made" in entry["Reason"] and "executor.postextract" in entry["Reason"]
    assert not (copy_of(host) / "made").exists()
    allow(host, postextract="skip")
    host.write_cfg()
    host.get("/config/reload")
    host.wait_state("check", "ok")
    assert not (copy_of(host) / "made").exists()


def test_it_runs_once_with_param_json_there_and_what_it_makes_is_run(host: Host) -> None:
    install(host, PRINTS, command="./made", postExtract="python3 prepare.py $(host)")
    (host.root / "plugin/check/prepare.py").write_text(
        "import json, os, sys\n"
        "json.load(open('param.json'))\n"
        "print('said', sys.argv[1:])\n"
        "open('count', 'a').write('x')\n"
        "open('main.py', 'a').write('# changed here\\n')\n"
        "open('made', 'w').write('#!/bin/sh\\nexec python3 main.py\\n')\nos.chmod('made', 0o755)\n"
    )
    host.bind({"plugin": "check", "config": {"pollInterval": 1000}})
    allow(host)
    host.cfg["heartbeat"] = {"interval": 1}
    host.start()
    host.wait_state("check", "ok")
    # No macro is expanded in it, as with the first manager.
    assert "said ['$(host)']" in (host.root / "logs/check(postExtract).stderr.log").read_text()
    wait_until(lambda: host.plugins()["check"]["Runs"] >= 2, "it is started again")
    assert (copy_of(host) / "count").read_text() == "x"
    # What it did to a file of the release is no drift.
    assert host.plugins()["check"]["Drifts"] == 0
    host.stop()
    host.start()
    host.wait_state("check", "ok")
    done = detail(host)["PostExtract"]
    assert done["command"] == "python3 prepare.py $(host)" and "Landlock" in done["protection"]
    assert (copy_of(host) / "count").read_text() == "x"
    assert not (host.root / "state/manifest.home/check").exists()
    (host.root / "plugin/check/main.py").write_text("print('TEST_VALUE 2')\n")
    wait_until(lambda: (copy_of(host) / "count").read_text() == "xx", "new code, once more")


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        ("echo no such registry >&2; exit 3", {}, "exit code 3: no such registry"),
        ("sleep 60", {"postextract_timeout": 0.3}, "did not end within 0.3 s"),
        ("trap '' TERM; sleep 60 & wait", {"postextract_timeout": 0.3}, "did not end within 0.3 s"),
        ("for n in $(seq 300); do setsid sleep 60 & done; wait", {}, "more than 256 processes"),
        ("head -c 9000000 /dev/zero > big", {"postextract_max_bytes": 1 << 20}, "exit code 1"),
        (
            "for n in 1 2 3 4 5; do head -c 900000 /dev/zero > $n; done; sleep 60",
            {"postextract_max_bytes": 1 << 20},
            "more than 1048576 bytes",
        ),
    ],
    ids=["fails", "never-ends", "ignores-sigterm", "forks", "big-file", "fills"],
)
def test_a_bad_one_parks_its_plugin_alone(
    host: Host, script: str, limits: dict[str, Any], reason: str
) -> None:
    mark = f"mark-{time.monotonic_ns()}"
    install(host, PRINTS, postExtract=f"sh prepare.sh {mark}")
    (host.root / "plugin/check/prepare.sh").write_text(script + "\n")
    install(host, LOOPS, "other")
    host.bind("check", "other")
    allow(host, **limits)
    host.start()
    entry = host.wait_state("check", "postextract-failed", seconds=20)
    assert reason in entry["Reason"] and "check(postExtract).stderr.log" in entry["Reason"]
    assert host.wait_state("other", "ok")["Running"]
    assert host.plugins()["check"]["Runs"] == 0
    assert not marked_alive(mark)


def has_landlock() -> bool:
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) >= 1


def test_it_cannot_write_outside_its_copy(host: Host) -> None:
    outside = host.root / "plugin" / "other.txt"
    install(host, PRINTS, postExtract="sh prepare.sh")
    (host.root / "plugin/check/prepare.sh").write_text(
        f"echo fine > inside && mktemp >/dev/null && ln -s {host.root} link && echo x > {outside}\n"
    )
    host.bind("check")
    allow(host)
    host.start()
    if not has_landlock():
        # Then only the unit holds it, and its output says so.
        host.wait_state("check", "ok")
        assert "no Landlock" in (host.root / "logs/check(postExtract).stderr.log").read_text()
        return
    entry = host.wait_state("check", "postextract-failed")
    assert "ermission denied" in entry["Reason"] and "other.txt" in entry["Reason"]
    assert (copy_of(host) / "inside").read_text() == "fine\n"
    assert not outside.exists()
    assert stat.S_IMODE((copy_of(host) / "param.json").stat().st_mode) == 0o600


def test_unbinding_and_kill_9_end_it_with_all_that_it_started(host: Host) -> None:
    mark = f"mark-{time.monotonic_ns()}"
    install(host, PRINTS, postExtract=f"sh prepare.sh {mark}")
    (host.root / "plugin/check/prepare.sh").write_text(
        'setsid sh -c "sleep 61; :" $1 & sh -c "sleep 62; :" $1; :\n'
    )
    host.bind("check")
    allow(host)
    host.start()
    wait_until(lambda: len(marked_alive(mark)) >= 3, "it runs")
    host.bind()
    wait_until(lambda: not marked_alive(mark), "all of it ended")
    host.bind("check")
    wait_until(lambda: len(marked_alive(mark)) >= 3, "it runs again")
    host.stop(signal.SIGKILL)
    wait_until(lambda: not marked_alive(mark), "all of it ended again")


def test_they_run_one_at_a_time_and_the_others_say_that_they_wait(host: Host) -> None:
    for name in ("one", "two"):
        install(host, PRINTS, name, postExtract="sh prepare.sh")
        (host.root / "plugin" / name / "prepare.sh").write_text(
            f"while [ ! -e {host.root}/go ]; do sleep 0.02; done\n"
        )
    host.bind("one", "two")
    allow(host)
    host.start()

    def reasons() -> list[str]:
        entries = host.plugins().values()
        return sorted(entry["Reason"] for entry in entries if entry["State"] == "installing")

    runs, waits = wait_until(lambda: len(reasons()) == 2 and reasons(), "both want to")
    assert runs == "runs its postExtract 'sh prepare.sh'"
    assert waits in (
        f"waiting to install: the postExtract of {name} comes first" for name in ("one", "two")
    )
    (host.root / "go").touch()
    for name in ("one", "two"):
        host.wait_state(name, "ok")


def test_one_that_took_the_executor_with_it_is_not_begun_at_each_start(host: Host) -> None:
    install(host, PRINTS, postExtract="sh prepare.sh")
    (host.root / "plugin/check/prepare.sh").write_text("echo >> runs; sleep 60\n")
    host.bind("check")
    allow(host)
    host.start()
    runs = copy_of(host) / "runs"
    wait_until(runs.exists, "it runs")
    host.stop(signal.SIGKILL)
    host.start()
    entry = host.wait_state("check", "postextract-failed")
    assert "was begun 1 times and did not end well: tried again in" in entry["Reason"]
    assert entry["NextRun"] and runs.read_text() == "\n"
    host.bind({"plugin": "check", "config": {"host": "another"}})
    wait_until(lambda: runs.read_text() == "\n\n", "a new configuration tries it at once")


def test_nothing_of_it_outlives_the_process_that_holds_it(host: Host) -> None:
    install(host, PRINTS, postExtract="sh prepare.sh")
    (host.root / "plugin/check/prepare.sh").write_text(
        "echo $PPID > holder\nsetsid sh -c 'echo $$ > inner; exec sleep 60' &\nwait\n"
    )
    host.bind("check")
    allow(host)
    host.start()
    inner, holder = copy_of(host) / "inner", copy_of(host) / "holder"
    wait_until(lambda: inner.exists() and inner.read_text().strip(), "it runs")
    os.kill(int(holder.read_text()), signal.SIGKILL)
    assert "SIGKILL" in host.wait_state("check", "postextract-failed")["Reason"]
    assert not alive(int(inner.read_text()))
