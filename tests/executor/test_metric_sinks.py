"""Metrics reach every kind of sink, in order; a sink that is down loses nothing inside the spool's
bound.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from typing import Any

from tests.executor.harness import (
    FalconHttp,
    Host,
    JsonRpc,
    free_port,
    prints,
    transfer,
    wait_until,
)

COUNTER = """#!/bin/sh
n=$(cat counter 2>/dev/null || echo 0)
echo "[{\\"metric\\":\\"n\\",\\"value\\":$n}]"
echo $((n + 1)) > counter
"""


def push(host: Host, first: int, last: int, size: int = 0) -> None:
    """Values first..last-1 through /v1/push, ten at a time."""
    for start in range(first, last, 10):
        metrics = [
            {"metric": "n", "value": n, "tags": "pad=" + "x" * size, "timestamp": 1700000000 + n}
            for n in range(start, min(start + 10, last))
        ]
        assert host.get("/v1/push", json.dumps(metrics).encode()) == "success"


def values(received: list[dict[str, Any]]) -> list[float]:
    return [metric["value"] for metric in received]


def test_transfer_by_json_rpc_gets_whole_falcon_metrics(host: Host) -> None:
    server = transfer()
    try:
        host.script("app/5_a.sh", prints("cpu.x", 2))
        host.bind("app")
        host.cfg["transfer"] = {"enabled": True, "addrs": [f"127.0.0.1:{server.port}"]}
        host.cfg["default_tags"] = {"idc": "lab"}
        host.start()
        wait_until(lambda: server.calls, "transfer was called")
        method, metrics = server.calls[0]
        assert method == "Transfer.Update"
        timestamp = metrics[0].pop("timestamp")
        assert abs(timestamp - time.time()) < 10
        assert metrics == [
            {
                "endpoint": "testhost",
                "metric": "cpu.x",
                "value": 2.0,
                "step": 5,
                "counterType": "GAUGE",
                "tags": "t=1,idc=lab",
            }
        ]
    finally:
        server.close()


def test_the_next_transfer_is_taken_when_one_is_down(host: Host) -> None:
    server = transfer()
    try:
        addrs = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{server.port}"]
        host.cfg["transfer"] = {"enabled": True, "addrs": addrs}
        host.start()
        push(host, 0, 1)
        wait_until(lambda: server.calls, "the one that is up was called")
    finally:
        server.close()


def test_falcon_http_push_and_a_local_agent_get_the_same_values(host: Host) -> None:
    first, second = FalconHttp(), FalconHttp()
    try:
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{first.port}/api/push"
        host.cfg["executor"]["agent_push"] = f"http://127.0.0.1:{second.port}/v1/push"
        host.start()
        push(host, 0, 25)
        wait_until(lambda: len(first.received) == len(second.received) == 25, "all values")
        assert values(first.received) == values(second.received) == list(range(25))
    finally:
        first.close()
        second.close()


def test_a_sink_that_comes_back_gets_everything_in_order(host: Host) -> None:
    port = free_port()
    host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{port}/api/push"
    host.start()
    push(host, 0, 500)
    wait_until(lambda: host.detail()["sinks"]["transfer-http"]["lastError"], "the error is said")
    assert host.detail()["sinks"]["transfer-http"]["waiting"] == 500
    server = FalconHttp(port)
    try:
        wait_until(lambda: len(server.received) >= 500, "the spool is delivered")
        assert values(server.received) == list(range(500))
        wait_until(
            lambda: host.detail()["sinks"]["transfer-http"]["waiting"] == 0, "the answer is taken"
        )
        assert host.detail()["sinks"]["transfer-http"]["dropped"] == 0
        # The other sink was never held up.
        assert values(host.samples()) == list(range(500))
    finally:
        server.close()


def test_kill_9_loses_nothing_that_was_spooled_and_keeps_the_order(host: Host) -> None:
    port = free_port()
    host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{port}/api/push"
    for round_number in range(3):
        host.start()
        push(host, round_number * 100, round_number * 100 + 100)
        host.stop(signal.SIGKILL)
    server = FalconHttp(port)
    try:
        host.start()
        wait_until(lambda: len(server.received) >= 300, "the spool is delivered")
        assert values(server.received) == list(range(300))
    finally:
        server.close()


def test_a_clean_stop_sends_what_is_queued(host: Host) -> None:
    server = FalconHttp()
    try:
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{server.port}/api/push"
        host.start()
        push(host, 0, 10)
        assert host.stop() == 0
        assert values(server.received) == list(range(10))
    finally:
        server.close()


def test_past_the_bound_the_oldest_go_and_are_counted(host: Host) -> None:
    port = free_port()
    host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{port}/api/push"
    host.cfg["executor"]["spool_max_bytes"] = 65536
    host.start()
    push(host, 0, 1000, size=200)
    spool = host.root / "state" / "spool"
    held = sum(path.stat().st_size for path in spool.glob("*.jsonl"))
    assert 50000 < held <= 65536 + 8192
    server = FalconHttp(port)
    try:
        wait_until(lambda: server.received and server.received[-1]["value"] == 999, "the newest")
        got = values(server.received)
        dropped = host.detail()["sinks"]["transfer-http"]["dropped"]
        assert got == list(range(1000 - len(got), 1000))
        assert dropped == 1000 - len(got) > 0
        assert "metrics dropped, the spool was full" in host.log
    finally:
        server.close()


def test_one_value_that_is_refused_for_good_does_not_hold_the_rest(host: Host) -> None:
    server = FalconHttp()
    server.answer = lambda body: (400, b"decode error") if b"poison" in body else (200, b"ok")
    try:
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{server.port}/api/push"
        host.start()
        metrics = [{"metric": "poison" if n == 33 else "good", "value": n} for n in range(100)]
        host.get("/v1/push", json.dumps(metrics).encode())
        wait_until(lambda: len(server.received) == 99, "all but one")
        assert values(server.received) == [n for n in range(100) if n != 33]
        assert host.detail()["sinks"]["transfer-http"]["refused"] == 1
    finally:
        server.close()


def test_a_wrong_url_destroys_nothing(host: Host) -> None:
    server = FalconHttp()
    server.answer = lambda body: (404, b"no such page")
    try:
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{server.port}/wrong"
        host.start()
        push(host, 0, 20)
        sinks = wait_until(
            lambda: host.detail()["sinks"]["transfer-http"]["lastError"], "the error is said"
        )
        assert "answered 404: no such page" in sinks
        server.answer = lambda body: (200, b"ok")
        wait_until(lambda: len(server.received) == 20, "delivered after all")
    finally:
        server.close()


def test_a_method_that_is_not_there_destroys_nothing(host: Host) -> None:
    hbs_by_mistake = JsonRpc({})
    try:
        host.cfg["transfer"] = {"enabled": True, "addrs": [f"127.0.0.1:{hbs_by_mistake.port}"]}
        host.start()
        push(host, 0, 5)
        wait_until(
            lambda: "can't find method" in host.detail()["sinks"]["transfer-rpc"]["lastError"],
            "the error is said",
        )
        assert host.detail()["sinks"]["transfer-rpc"]["waiting"] == 5
    finally:
        hbs_by_mistake.close()


def test_a_host_whose_disk_takes_no_byte_still_delivers(host: Host) -> None:
    server, port = FalconHttp(), free_port()
    try:
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{server.port}/api/push"
        host.cfg["http"]["listen"] = f"127.0.0.1:{port}"
        host.script("app/1_a.sh", "echo complains >&2\n" + prints())
        host.bind("app")
        host.write_cfg()
        # No file may grow: how any user sees a full disk.
        limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *host.command()]
        host.process = subprocess.Popen(limited, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(server.received) >= 2, "values arrive")
        host.url = f"http://127.0.0.1:{port}"
        assert host.plugins()["app/1_a.sh"]["State"] == "ok"
        assert host.detail()["sinks"]["jsonl"]["waiting"] >= 2
    finally:
        server.close()


def test_a_sink_that_never_answers_delays_no_plugin(host: Host) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{port}/api/push"
        host.cfg["transfer"] = {"enabled": True, "addrs": [f"127.0.0.1:{port}"]}
        host.script("app/1_a.sh", COUNTER)
        host.bind("app")
        host.start()
        wait_until(lambda: len(host.samples()) >= 4, "four runs", 8)
        assert host.plugins()["app/1_a.sh"]["Missed"] == 0


def test_the_json_lines_file_rotates(host: Host) -> None:
    host.cfg["executor"]["jsonl"]["max_bytes"] = 5000
    host.start()
    push(host, 0, 60)
    wait_until(lambda: (host.root / "out.jsonl.1").exists(), "it was turned")
    push(host, 60, 65)
    wait_until(lambda: host.samples() and host.samples()[-1]["value"] == 64, "goes on")
    assert (host.root / "out.jsonl").stat().st_size < 5000


def test_a_sink_that_was_switched_off_holds_no_spool(host: Host) -> None:
    host.cfg["executor"]["falcon_push"] = f"http://127.0.0.1:{free_port()}/api/push"
    host.start()
    push(host, 0, 10)
    host.cfg["executor"]["falcon_push"] = ""
    host.write_cfg()
    assert json.loads(host.get("/config/reload"))["msg"] == "success"
    assert list(host.detail()["sinks"]) == ["jsonl"]
    wait_until(lambda: len(host.samples()) == 10, "the other one delivers")


def test_prometheus_shows_the_newest_values_with_clean_names(host: Host) -> None:
    host.start()
    metrics = [
        {
            "metric": "net.if/in",
            "value": 5,
            "tags": "iface=eth0,path=/a b\\c",
            "counterType": "COUNTER",
        },
        {"metric": "9lives", "value": 1.5, "endpoint": "other"},
        {"metric": "net.if/in", "value": 7, "tags": "iface=eth1", "counterType": "COUNTER"},
        {"metric": "9lives", "value": 2.5, "endpoint": "other"},
    ]
    assert host.get("/v1/push", json.dumps(metrics).encode()) == "success"
    lines = host.get("/metrics").splitlines()
    assert "# TYPE net_if_in counter" in lines
    assert 'net_if_in{iface="eth0",path="/a b\\\\c"} 5.0' in lines
    assert 'net_if_in{iface="eth1"} 7.0' in lines
    assert '_9lives{endpoint="other"} 2.5' in lines
    assert sum(line.startswith("# TYPE net_if_in") for line in lines) == 1
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
