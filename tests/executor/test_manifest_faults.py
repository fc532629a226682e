"""Manifest plugins that cannot start, spoil their own files, or meet a host in trouble."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

from agentplugin.formats import Format
from agentplugin.planned import PlannedManifest
from executor import manifest_verdict
from executor.manifest_course import Course
from executor.manifest_launch import Launch
from executor.manifest_process import STOP_GRACE, Process
from tests.executor.harness import Host, wait_until
from tests.executor.manifest_source import LOOPS, copy_of, detail, install

PRINTS = "print('TEST_VALUE 1')\n"


def look(host: Host) -> None:
    """Have the executor look at all files, and wait until it has seen them."""
    before = host.plugins()["other"]["Drifts"]
    (copy_of(host, "other") / "main.py").write_text("print('tampered')\n")
    host.get("/plugin/update")  # there is nothing to update, but it looks afterwards
    wait_until(lambda: host.plugins()["other"]["Drifts"] == before + 1, "it looked")


def test_what_a_failing_plugin_does_to_its_files_brings_it_no_new_start(host: Host) -> None:
    install(host, LOOPS, "other")
    install(host, PRINTS, "extract", postExtract="sh prepare.sh")
    install(host, "open('data', 'a').write('x')\nimport sys\nsys.exit('no')\n", "crash")
    for name in ("extract", "crash"):
        (host.root / "plugin" / name / "data").write_text("x\n")
    prepare = host.root / "plugin/extract/prepare.sh"
    prepare.write_text("echo >> runs; echo x >> data; echo no such package >&2; exit 1\n")
    host.bind("crash", "extract", "other")
    host.cfg["executor"].update(postextract=True, restart_pause=60)
    host.start()
    host.wait_state("crash", "failed")
    host.wait_state("extract", "postextract-failed")
    host.wait_state("other", "ok")
    look(host)
    look(host)
    found = host.plugins()
    assert (copy_of(host, "extract") / "runs").read_text() == "\n"
    assert (found["extract"]["State"], found["extract"]["Drifts"]) == ("postextract-failed", 0)
    # The crashing one's file is mended, once, and it waits for its next start as before.
    assert (found["crash"]["Drifts"], found["crash"]["Runs"]) == (1, 1)
    assert detail(host, "crash")["DriftFiles"] == ["changed: data"]
    assert found["crash"]["State"] == "failed" and found["crash"]["NextRun"]


def test_trouble_of_the_host_parks_no_plugin(host: Host) -> None:
    install(host, PRINTS)
    in_the_way = copy_of(host) / "param.json.tmp"
    in_the_way.mkdir(parents=True)
    host.bind("check")
    host.cfg["executor"]["restart_pause"] = 0.01
    host.start()
    entry = host.wait_state("check", "failed")
    assert "the host cannot start it" in entry["Reason"] and "param.json.tmp" in entry["Reason"]
    time.sleep(0.01 + 0.02 + 0.04 + 0.08 + 0.16 + 0.1)  # five more tries
    assert host.plugins()["check"]["State"] == "failed"
    in_the_way.rmdir()
    host.wait_state("check", "ok")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EAGAIN, "trouble"), (errno.EMFILE, "trouble"), (errno.ENOSPC, "trouble"),
        (errno.ENOMEM, "trouble"), (errno.EACCES, "failure"), (errno.E2BIG, "failure"),
    ],
)  # fmt: skip
def test_a_start_that_the_host_refuses_is_not_the_plugins_failure(number: int, kind: str) -> None:
    launch = Launch(["/bin/sh"], "/", 1000)
    failure = OSError(number, os.strerror(number))
    assert manifest_verdict.of_start(launch, Format(), failure, "/bin").kind == kind


def test_the_contract_starts_what_node_would_and_says_what_it_cannot(host: Host) -> None:
    def program(name: str, content: bytes, **fields: Any) -> None:
        install(host, "", name, command="./run", **fields)
        path = host.root / "plugin" / name / "run"
        path.write_bytes(content)
        path.chmod(0o755)

    program("no-shebang", b"echo TEST_VALUE 1\nsleep 60\n", postExtract="./run2")
    (host.root / "plugin/no-shebang/run2").write_bytes(b"echo made > made\n")
    (host.root / "plugin/no-shebang/run2").chmod(0o755)
    program("no-ruby", b"#!/usr/bin/no-ruby\n")
    program("no-env-ruby", b"#!/usr/bin/env no-ruby\n")
    program("no-program", b"\0\1\2\n")
    program("undeclared", b"#!/bin/sh\nwhile :; do echo STRAY 1; sleep 0.1; done\n")
    program("linked", b"#!/bin/sh\n. ./lib.sh\nsay\nsleep 60\n")
    (host.root / "plugin/common").mkdir()
    (host.root / "plugin/common/lib.sh").write_text("say() { echo TEST_VALUE 7; }\n")
    (host.root / "plugin/linked/lib.sh").symlink_to("../common/lib.sh")
    program("leaves", b"#!/bin/sh\n")
    (host.root / "plugin/leaves/hosts").symlink_to("/etc/hosts")
    deep = json.loads("[" * 600 + "]" * 600)
    program("deep", b"#!/bin/sh\n")
    names = ("no-shebang", "no-ruby", "no-env-ruby", "no-program", "undeclared", "linked", "leaves")
    host.bind(*names, {"plugin": "deep", "config": {"deep": deep}})
    host.cfg["executor"]["postextract"] = True
    host.start()
    assert host.wait_state("no-shebang", "ok")["Running"]
    assert (copy_of(host, "no-shebang") / "made").exists()
    assert host.wait_state("linked", "ok")["LastValue"]["value"] == 7
    for name, state, reason in (
        ("no-ruby", "unsupported-runtime", "/usr/bin/no-ruby"),
        ("no-env-ruby", "unsupported-runtime", "no-ruby"),
        ("no-program", "failed", "exec format error"),
        ("undeclared", "no-data", "prints no measurement: a line was rejected"),
        ("leaves", "failed", "the link hosts -> /etc/hosts leads out of the plugin tree"),
        ("deep", "failed", "nested too deep"),
    ):
        entry = host.wait_state(name, state)
        assert reason in entry["Reason"], name
        assert entry["Running"] == (name == "undeclared")
    assert host.wait_state("no-env-ruby", "unsupported-runtime")["NextRun"] == 0


def test_a_copy_is_made_beside_the_event_loop(host: Host) -> None:
    install(host, PRINTS)
    host.bind("check")
    state = host.root / "state"
    state.mkdir()
    with open(state / "manifest.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host.start()
        wait_until(lambda: host.plugins()["check"]["NextRun"] == 0, "its turn has come")
        assert host.plugins()["check"]["State"] == "waiting"
        assert not (copy_of(host) / "main.py").exists()
    host.wait_state("check", "ok")


def test_secrets_of_what_was_unbound_while_the_executor_was_dead_go_at_its_start(
    host: Host,
) -> None:
    install(host, LOOPS)
    host.bind({"plugin": "check", "config": {"secret": "hidden"}})
    host.start()
    host.wait_state("check", "ok")
    host.stop(signal.SIGKILL)
    host.bind()
    params = copy_of(host) / "param.json"
    assert params.exists()
    host.start()
    wait_until(lambda: not params.exists(), "its secrets are gone")
    assert (copy_of(host) / "main.py").exists()


class Recorder:
    """A runtime and all its parts: notes every call, and answers itself."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.code = 0
        self.left_behind: list[str] = []
        self.env: dict[str, str] = {}
        self.state_dir = ""
        self.config = {"executor.node_path": "", "executor.silence_limit": 0}

    def __getattr__(self, name: str) -> Any:
        if name in ("loop", "children", "sweeper", "intake", "log"):
            return self

        def call(*arguments: Any, **_named: Any) -> Any:
            self.calls.append((name, arguments))
            return self

        return call


def test_further_updates_put_off_no_sigkill(tmp_path: Path) -> None:
    recorder = cast(Any, Recorder())
    launch = Launch(["/bin/true"], str(tmp_path), 1000)
    process = Process(recorder, "check", launch, Format(), recorder, lambda code, why: None)
    process.terminate("printed nothing")
    process.stop()
    process.stop()
    later = [arguments for name, arguments in recorder.calls if name == "call_later"]
    assert [arguments[0] for arguments in later] == [STOP_GRACE]


def test_a_fault_of_ours_leaves_no_plugin_without_a_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("executor.manifest_launch.plan", broken)
    recorder = cast(Any, Recorder())
    recorder.ending = set()
    recorder.logs = str(tmp_path)
    recorder.config["executor.restart_pause"] = 2
    course = Course(PlannedManifest("check", {}), recorder, 0.0)
    _name, (_delay, start) = recorder.calls.pop()
    with pytest.raises(RuntimeError):
        start()
    assert course.shown()[0] == "failed" and "internal error" in course.shown()[1]
    assert [arguments for name, arguments in recorder.calls if name == "call_later"] == [(2, start)]
