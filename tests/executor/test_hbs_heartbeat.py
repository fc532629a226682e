"""hbs tells what to run: taken, kept through its faults, and kept through a restart."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.executor.harness import Host, JsonRpc, free_port, prints, wait_until


class Hbs:
    """Answers as hbs does; `plugins` and `timestamp` can be changed."""

    def __init__(self, port: int = 0) -> None:
        self.plugins: Any = ["app"]
        self.timestamp = 1700000000
        self.broken = False
        self.rpc = JsonRpc(
            {
                "Agent.ReportStatus": lambda param: {"code": 0},
                "Agent.MinePlugins": self._mine,
            },
            port,
        )

    def _mine(self, _param: Any) -> Any:
        if self.broken:
            raise RuntimeError("database is gone")
        return {"Plugins": self.plugins, "Timestamp": self.timestamp}

    def reports(self) -> list[Any]:
        return [param for method, param in self.rpc.calls if method == "Agent.ReportStatus"]


@pytest.fixture
def hbs() -> Any:
    server = Hbs()
    yield server
    server.rpc.close()


@pytest.fixture
def bound(host: Host, hbs: Hbs) -> Host:
    host.script("app/60_a.sh", prints())
    host.script("other/60_b.sh", prints())
    host.cfg["heartbeat"] = {
        "enabled": True,
        "addr": f"127.0.0.1:{hbs.rpc.port}",
        "interval": 1,
        "timeout": 500,
    }
    return host


def test_the_host_reports_itself_and_runs_what_hbs_lists(bound: Host, hbs: Hbs) -> None:
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    report = hbs.reports()[0]
    assert report["Hostname"] == "testhost"
    assert report["AgentVersion"] == "pf-0.1.0" and len(report["AgentVersion"]) <= 16
    assert report["PluginVersion"] == "Error:not a release"
    wait_until(lambda: len(hbs.reports()) >= 2, "a second heartbeat")
    assert hbs.reports()[1]["IP"] == "127.0.0.1"
    assert hbs.rpc.connections == 1
    questions = [param for method, param in hbs.rpc.calls if method == "Agent.MinePlugins"]
    assert questions[0] == {"Hostname": "testhost", "Checksum": ""}


def test_bindings_of_file_and_hbs_are_united(bound: Host) -> None:
    bound.bind("other", "app/60_a.sh(x)")
    bound.start()
    wait_until(lambda: len(bound.plugins()) == 2, "both are there")
    assert set(bound.plugins()) == {"other/60_b.sh", "app/60_a.sh(x)"}


def test_an_empty_list_unbinds_and_null_does_not(bound: Host, hbs: Hbs) -> None:
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    hbs.plugins = None
    wait_until(lambda: "no list" in bound.detail()["hbsError"], "null is said")
    assert "app/60_a.sh" in bound.plugins()
    hbs.plugins = []
    wait_until(lambda: bound.plugins() == {}, "it is unbound")


def test_a_clock_of_hbs_that_went_back_freezes_nothing(bound: Host, hbs: Hbs) -> None:
    # A Falcon agent takes no list any more until hbs' clock has caught up.
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    hbs.timestamp, hbs.plugins = 1000, ["other"]
    bound.wait_state("other/60_b.sh", "ok")
    assert bound.detail()["hbsError"] == ""


def test_a_second_hbs_that_is_behind_takes_nothing_back(bound: Host, hbs: Hbs) -> None:
    # Two controllers behind one address: one is slower to learn of a binding.
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    bound.stop()
    hbs.timestamp, hbs.plugins = hbs.timestamp - 60, ["other"]
    bound.start()  # which forgets nothing
    wait_until(lambda: "is older" in bound.detail()["hbsError"], "it is said")
    assert set(bound.plugins()) == {"app/60_a.sh"}


def test_an_error_or_an_outage_keeps_the_list(bound: Host, hbs: Hbs) -> None:
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    hbs.broken = True
    wait_until(lambda: "database is gone" in bound.detail()["hbsError"], "the error is said")
    assert "app/60_a.sh" in bound.plugins()
    hbs.rpc.close()
    wait_until(lambda: "ReportStatus" in bound.detail()["hbsError"], "the outage is said")
    again = Hbs(hbs.rpc.port)
    try:
        again.plugins = ["other"]
        bound.wait_state("other/60_b.sh", "ok")
        assert bound.detail()["hbsError"] == ""
    finally:
        again.rpc.close()


def test_the_list_survives_a_restart_without_hbs(bound: Host, hbs: Hbs) -> None:
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    bound.stop()
    bound.cfg["heartbeat"]["addr"] = f"127.0.0.1:{free_port()}"
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")


def test_an_hbs_that_never_answers_delays_nothing(bound: Host) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        bound.cfg["heartbeat"]["addr"] = f"127.0.0.1:{silent.getsockname()[1]}"
        bound.bind("app")
        began = time.monotonic()
        bound.start()
        bound.wait_state("app/60_a.sh", "ok")
        assert time.monotonic() - began < 5


def test_rubbish_from_hbs_is_no_list(bound: Host, hbs: Hbs) -> None:
    hbs.plugins = {"app": 1}
    bound.bind("other")
    bound.start()
    bound.wait_state("other/60_b.sh", "ok")
    wait_until(lambda: "no list" in bound.detail()["hbsError"], "it is said")


def test_a_host_name_that_does_not_resolve_is_said_and_blocks_nothing(bound: Host) -> None:
    bound.cfg["heartbeat"]["addr"] = "no-such-host.invalid:6030"
    bound.bind("app")
    bound.start()
    bound.wait_state("app/60_a.sh", "ok")
    wait_until(lambda: "no-such-host.invalid" in bound.detail()["hbsError"], "it is said", 20)
