"""Upstream mode: what is not ours goes to a real hbs, whose trouble is none of ours."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from controller.agents import upstream
from controller.agents.flow import Agents
from tests.controller.agents.conftest import Start
from tests.controller.agents.falcon import GoClient, RpcError
from tests.controller.agents.fleet import until

METRICS = (
    b'{"Metrics":[{"Metric":"net.port.listen","Tags":"port=22"}],"Checksum":"c1","Timestamp":9}'
)


class Hbs:
    """A real hbs as far as a controller sees it: Go's JSON-RPC on one connection after another.

    Attributes:
        silent: take calls and answer none.
        says: answers by method, as JSON.
    """

    def __init__(self) -> None:
        self.silent = False
        self.calls: list[tuple[str, Any]] = []
        self.says = {
            "Agent.ReportStatus": b'{"code":0}',
            "Agent.BuiltinMetrics": METRICS,
            "Agent.TrustableIps": b'"10.9.9.9,"',
            "Agent.MinePlugins": b'{"Plugins":["from/hbs"],"Timestamp":5}',
        }
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as stream:
                for line in stream:
                    call = json.loads(line)
                    self.calls.append((call["method"], call["params"][0]))
                    if not self.silent:
                        client.sendall(self._answer(call["method"], call["id"]))
        except OSError:
            return

    def _answer(self, method: str, number: int) -> bytes:
        result = self.says.get(method)
        if result is None:
            return b'{"id":%d,"result":null,"error":"rpc: can\'t find method %b"}\n' % (
                number,
                method.encode(),
            )
        return b'{"id":%d,"result":%b,"error":null}\n' % (number, result)

    def cut(self) -> None:
        """Close every connection."""
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._clients.clear()

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            # Closing alone would leave it open for the thread that waits in accept, and one client more.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@pytest.fixture
def real() -> Iterator[Hbs]:
    hbs = Hbs()
    yield hbs
    hbs.close()


@pytest.fixture
def agents(start: Start, real: Hbs, monkeypatch: pytest.MonkeyPatch) -> Agents:
    """A server with that upstream, which waits for it less long than it would."""
    monkeypatch.setattr(upstream, "ANSWER", 0.3)
    monkeypatch.setattr(upstream, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(upstream, "_LONGEST_PAUSE", 0.05)
    agents = start(agents_upstream=f"127.0.0.1:{real.port}")
    with GoClient(agents.port) as agent:
        until(lambda: answered(agent, "Agent.TrustableIps", {}), "the upstream is connected")
    real.calls.clear()
    return agents


def answered(agent: GoClient, method: str, param: Any) -> bool:
    try:
        return agent.call(method, param) is not None
    except RpcError:
        return False


def test_what_is_not_ours_is_answered_by_the_upstream(agents: Agents, real: Hbs) -> None:
    asked = {"Hostname": "web1", "Checksum": "nil"}
    with GoClient(agents.port) as agent:
        agent.send("Agent.BuiltinMetrics", asked)
        assert agent.line() == b'{"id":0,"result":%b,"error":null}\n' % METRICS
        assert agent.call("Agent.TrustableIps", {}) == "10.9.9.9,"
        with pytest.raises(RpcError, match=r"can't find method Hbs.GetStrategies"):
            agent.call("Hbs.GetStrategies", {})
        assert agent.plugins("web1")[0] == ["sys/ntp", "sys/ntp/6_env.py(a,b)"]
    assert [method for method, _ in real.calls] == [
        "Agent.BuiltinMetrics",
        "Agent.TrustableIps",
        "Hbs.GetStrategies",
    ]
    assert real.calls[0][1] == asked


def test_a_heartbeat_is_copied_to_the_upstream_and_answered_by_us(
    agents: Agents, real: Hbs
) -> None:
    real.says["Agent.ReportStatus"] = b'{"code":77}'
    with GoClient(agents.port) as agent:
        assert agent.report("web1") == {"code": 0}
        assert agent.report("nobody") == {"code": 0}
        assert agent.plugins("web1")
    until(lambda: len(real.calls) == 2, "both are copied")
    assert real.calls[1][1]["Hostname"] == "nobody"


def test_a_host_that_is_not_ours_keeps_the_upstreams_list(agents: Agents) -> None:
    with GoClient(agents.port) as agent:
        assert agent.plugins("nobody") == (["from/hbs"], 5)


def test_answers_find_whoever_asked(agents: Agents) -> None:
    clients = [GoClient(agents.port) for _ in range(20)]
    try:
        for number, client in enumerate(clients):
            for _ in range(number):
                client._next += 1
            client.send("Agent.TrustableIps", {})
            client.send("Agent.MinePlugins", {"Hostname": "nobody"})
        for number, client in enumerate(clients):
            assert client.answer(number) == "10.9.9.9,"
            assert client.answer(number + 1)["Plugins"] == ["from/hbs"]
    finally:
        for client in clients:
            client.close()


def test_an_upstream_that_is_down_leaves_our_own_calls_alone(agents: Agents, real: Hbs) -> None:
    real.close()
    with GoClient(agents.port) as agent:
        until(lambda: not answered(agent, "Agent.TrustableIps", {}), "it is away")
        began = time.monotonic()
        for _ in range(20):
            assert agent.report("web1") == {"code": 0}
            assert agent.plugins("web1")[0]
            with pytest.raises(RpcError, match="upstream hbs"):
                agent.call("Agent.BuiltinMetrics", {"Hostname": "web1"})
            with pytest.raises(RpcError, match="upstream hbs"):
                agent.plugins("nobody")
        assert time.monotonic() - began < 2


def test_an_upstream_that_hangs_is_left_in_bounded_time(agents: Agents, real: Hbs) -> None:
    real.silent = True
    with GoClient(agents.port) as stuck, GoClient(agents.port) as agent:
        number = stuck.send("Agent.BuiltinMetrics", {"Hostname": "web1"})
        began = time.monotonic()
        assert agent.plugins("web1")[0]
        assert time.monotonic() - began < 0.25, "nobody waits with it"
        with pytest.raises(RpcError, match="upstream hbs does not answer"):
            stuck.answer(number)
        assert time.monotonic() - began < 3
        real.silent = False
        until(lambda: answered(agent, "Agent.TrustableIps", {}), "it is used again")


@pytest.mark.parametrize("params", ["[1e999]", "[" * 985 + "]" * 985, "[" * 930 + "]" * 930])
def test_params_that_cannot_be_passed_on_cost_the_upstream_nothing(
    agents: Agents, real: Hbs, params: str
) -> None:
    with GoClient(agents.port) as odd, GoClient(agents.port) as agent:
        for method in ("Agent.X", "Agent.ReportStatus"):
            odd.socket.sendall(f'{{"method":"{method}","params":{params},"id":1}}\n'.encode())
        for _ in range(10):
            assert agent.call("Agent.TrustableIps", {}) == "10.9.9.9,"
            time.sleep(0.05)  # half a second: longer than a call may wait


def test_a_call_that_is_never_answered_is_given_up_though_others_are_answered(
    agents: Agents, real: Hbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = real._answer
    monkeypatch.setattr(
        real, "_answer", lambda method, id: b"" if method == "Agent.Lost" else answer(method, id)
    )
    with GoClient(agents.port) as stuck, GoClient(agents.port) as agent:
        stuck.socket.settimeout(2)
        number = stuck.send("Agent.Lost", {})
        for _ in range(25):
            assert agent.call("Agent.TrustableIps", {}) == "10.9.9.9,"
            time.sleep(0.02)
        with pytest.raises(RpcError, match="upstream hbs does not answer"):
            stuck.answer(number)


def test_half_an_answer_is_not_passed_on(
    agents: Agents, real: Hbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "_answer", lambda _, id: b'{"id":%d,"result":{"Metr' % id)
    with GoClient(agents.port) as agent:
        number = agent.send("Agent.BuiltinMetrics", {})
        until(lambda: real.calls, "it is asked")
        time.sleep(0.02)
        real.cut()
        with pytest.raises(RpcError, match="upstream hbs does not answer"):
            agent.answer(number)


def test_a_host_that_never_had_a_plugin_keeps_the_upstreams_list(agents: Agents) -> None:
    with GoClient(agents.port) as agent:
        assert agent.plugins("bare") == (["from/hbs"], 5)


def test_an_upstream_that_comes_back_is_used_again(agents: Agents, real: Hbs) -> None:
    real.cut()
    with GoClient(agents.port) as agent:
        until(lambda: answered(agent, "Agent.TrustableIps", {}), "it is used again")
        assert agent.call("Agent.TrustableIps", {}) == "10.9.9.9,"


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[]\n", b'{"id":"x"}\n'])
def test_an_upstream_that_is_no_hbs_is_as_good_as_down(
    agents: Agents, real: Hbs, rubbish: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "_answer", lambda *_: rubbish)
    with GoClient(agents.port) as agent:
        with pytest.raises(RpcError, match="upstream hbs does not answer"):
            agent.call("Agent.TrustableIps", {})
        assert agent.plugins("web1")[0]
