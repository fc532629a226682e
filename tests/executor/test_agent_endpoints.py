"""The endpoints answer as a Falcon agent does, and bad clients hurt nobody."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.executor.harness import Host, prints, wait_until


def raw(host: Host, data: bytes, timeout: float = 15) -> bytes:
    """Everything that comes back for these bytes."""
    address, _, port = host.url[len("http://") :].partition(":")
    with socket.create_connection((address, int(port)), timeout) as client:
        got = b""
        try:
            client.sendall(data)
            while piece := client.recv(65536):
                got += piece
        except ConnectionError:
            pass
        return got


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/health", 200, "ok"),
        ("/version", 200, "plugfleet-0.1.0"),
        ("/plugins", 200, '{"msg": "success", "data": {}}'),
        ("/nonesuch", 404, "404 page not found\n"),
        ("/plugin/reset", 200, "success"),
    ],
)
def test_bodies_are_the_agents(host: Host, path: str, status: int, body: str) -> None:
    host.start()
    assert host.answer(path) == (status, body)


def test_workdir_is_where_plugins_run(host: Host) -> None:
    host.start()
    assert json.loads(host.get("/workdir")) == {"msg": "success", "data": str(host.root)}


def test_plugins_has_the_agents_four_fields(host: Host) -> None:
    path = host.script("app/60_a.sh", prints())
    host.bind("app/60_a.sh(x,y)", "app")
    host.start()
    entry = host.wait_state("app/60_a.sh(x,y)", "ok")
    assert {key: entry[key] for key in ("FilePath", "MTime", "Cycle", "Args")} == {
        "FilePath": "app/60_a.sh",
        "MTime": int(path.stat().st_mtime),
        "Cycle": 60,
        "Args": "x,y",
    }
    assert entry["LastValue"]["value"] == 1.0
    assert entry["NextRun"] - entry["LastRun"] in (59, 60, 61)


def test_a_disabled_plugin_half_says_so(host: Host) -> None:
    host.cfg["plugin"]["enabled"] = False
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    assert host.get("/plugin/update") == "plugin not enabled"
    assert host.get("/plugin/reset") == "plugin not enabled"
    assert host.plugins() == {}


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b"", 400, "body is blank"),
        (b"{}", 400, "connot decode body"),
        (b"no json", 400, "connot decode body"),
        (b'[{"metric":"a","value":1}]', 200, "success"),
    ],
)
def test_push_answers_as_the_agent(host: Host, body: bytes, status: int, answer: str) -> None:
    host.start()
    got = host.answer("/v1/push", body)
    assert got[0] == status
    assert got[1].startswith(answer)


def test_wrong_method_and_rubbish_are_refused(host: Host) -> None:
    host.start()
    assert raw(host, b"DELETE /plugins HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 405")
    assert raw(host, b"\x16\x03\x01rubbish\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(host, b"GET http://x/ HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    chunked = b"POST /v1/push HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert raw(host, chunked).startswith(b"HTTP/1.1 411")
    negative = b"POST /v1/push HTTP/1.1\r\nContent-Length: -5\r\n\r\n"
    assert raw(host, negative).startswith(b"HTTP/1.1 400")
    assert host.get("/health") == "ok"


def test_a_megabyte_of_rubbish_and_a_huge_body_cost_no_memory(host: Host) -> None:
    host.start()
    before = host.rss_kb()
    assert raw(host, b"x" * (1 << 20)).startswith(b"HTTP/1.1 431")
    head = b"POST /v1/push HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n"
    assert raw(host, head + b"x" * 9000000).startswith(b"HTTP/1.1 413")
    assert raw(host, b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n").startswith(
        b"HTTP/1.1 413"
    )
    assert host.rss_kb() - before < 2048


def test_slow_and_many_clients_are_cut_and_plugins_run_on(host: Host) -> None:
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    address, _, port = host.url[len("http://") :].partition(":")
    clients = [socket.create_connection((address, int(port))) for _ in range(100)]
    try:
        for client in clients[:64]:
            client.send(b"GET /plugins HTTP/1.1\r\nX: ")
        refused = clients[99].recv(100)
        assert refused == b"" or refused.startswith(b"HTTP/1.1 503")
        clients[0].settimeout(15)
        began = time.monotonic()
        assert clients[0].recv(100).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 12
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: host.get("/health") == "ok", "it answers again")
    entry = host.plugins()["app/1_a.sh"]
    assert entry["Runs"] >= 8
    assert entry["Missed"] == 0


def test_curl_style_expect_continue_works(host: Host) -> None:
    host.start()
    body = b'[{"metric":"a","value":1}]'
    head = b"POST /v1/push HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    address, _, port = host.url[len("http://") :].partition(":")
    with socket.create_connection((address, int(port)), 5) as client:
        client.sendall(head % len(body))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(1000).endswith(b"success")


def test_it_runs_without_http(host: Host) -> None:
    host.cfg["http"]["enabled"] = False
    host.script("app/1_a.sh", prints())
    host.bind("app")
    host.start()
    wait_until(host.samples, "the plugin delivered")
    assert host.stop() == 0
