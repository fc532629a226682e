"""TLS with client certificates: a certificate's name is the host's."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller.agents.flow import Agents
from controller.agents.server import ListenError
from controller.settings import Settings
from executor.config import load
from executor.jsonrpc import JsonRpcClient
from executor.log import Log
from executor.loop import Loop
from executor.tls import wrapper
from tests.controller.agents.conftest import Start
from tests.controller.agents.falcon import Closed, GoClient, RpcError
from tests.controller.agents.fleet import until


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("ca", "-subj", "/CN=agents")

    def make(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a name."""
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName=DNS:{name}")
        self._openssl(name, "-subj", "/CN=x", *signed, "-addext", "basicConstraints=CA:FALSE")
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _openssl(self, name: str, *arguments: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30")
        argv = ["openssl", "req", "-x509", *key, *files, *arguments]
        subprocess.run(argv, cwd=self.folder, check=True, capture_output=True)

    def client(self, *certificate: Path) -> ssl.SSLContext:
        """What a client with a certificate, or none, connects with."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if certificate:
            context.load_cert_chain(*certificate)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def with_tls(start: Start, authority: Authority, **settings: Any) -> Agents:
    """A heartbeat server that listens with TLS too."""
    certificate, key = authority.make("localhost")
    return start(
        agents_tls_listen="127.0.0.1:0",
        agents_tls_certificate=certificate,
        agents_tls_key=key,
        agents_tls_authority=authority.folder / "ca.pem",
        **settings,
    )


@pytest.fixture
def agents(start: Start, authority: Authority) -> Agents:
    return with_tls(start, authority)


@pytest.mark.parametrize(
    ("settings", "stay"),
    [
        ({"agents_networks": "10.0.0.0/8"}, 0),
        ({"agents_connections_per_address": 3}, 3),
        ({"agents_connections": 3}, 3),
    ],
)
def test_who_may_not_stay_is_closed_before_any_tls(
    start: Start, authority: Authority, settings: dict[str, Any], stay: int
) -> None:
    agents = with_tls(start, authority, **settings)
    silent = [socket.create_connection(("127.0.0.1", agents.tls_port), 5) for _ in range(9)]
    try:
        until(lambda: len([c for c in silent if not closed(c)]) == stay, f"{stay} are open", 3)
    finally:
        for client in silent:
            client.close()


def closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_places_of_handshakes_that_failed_are_free_again(
    start: Start, authority: Authority
) -> None:
    agents = with_tls(start, authority, agents_connections=2)
    for _ in range(4):
        with GoClient(agents.tls_port) as plain, pytest.raises((Closed, ConnectionError)):
            plain.plugins("web1")
        with socket.create_connection(("127.0.0.1", agents.tls_port), 5):
            pass
    client = authority.client(*authority.make("web1"))

    def comes_in() -> bool:
        try:
            with GoClient(agents.tls_port, tls=client) as agent:
                return bool(agent.plugins("web1")[0])
        except (OSError, Closed):
            return False

    until(comes_in, "there is a place", 5)


def test_a_host_is_who_its_certificate_says(agents: Agents, authority: Authority) -> None:
    with GoClient(agents.tls_port, tls=authority.client(*authority.make("web1"))) as agent:
        assert agent.report("web1") == {"code": 0}
        assert agent.plugins("web1")[0] == ["sys/ntp", "sys/ntp/6_env.py(a,b)"]
        for call in (agent.report, agent.plugins):
            with pytest.raises(RpcError, match="certificate is not one of host 'idle'"):
                call("idle")
    with GoClient(agents.port) as plain:
        assert plain.plugins("idle")[0] == []


def test_a_client_without_a_certificate_of_ours_is_refused(
    agents: Agents, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path).make("web1")
    for context in (authority.client(), authority.client(*stranger)):
        # With TLS 1.3 a client learns of it when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError, Closed)):  # noqa: SIM117
            with GoClient(agents.tls_port, tls=context) as agent:
                agent.plugins("web1")


def test_speaking_without_tls_on_that_port_costs_nobody_anything(
    agents: Agents, authority: Authority
) -> None:
    with GoClient(agents.tls_port) as plain, pytest.raises((Closed, ConnectionError)):
        plain.plugins("web1")
    with GoClient(agents.tls_port, tls=authority.client(*authority.make("web1"))) as agent:
        assert agent.plugins("web1")[0]


@pytest.mark.parametrize(
    ("host", "problem"),
    [("web1", ""), ("idle", "certificate is not one of host 'web1'"), ("", "localhost:")],
)
def test_our_executor_speaks_it(
    agents: Agents, authority: Authority, tmp_path: Path, host: str, problem: str
) -> None:
    heartbeat: dict[str, Any] = {"addr": f"localhost:{agents.tls_port}"}
    heartbeat["tls"] = {"authority": str(authority.folder / "ca.pem")}
    if host:
        certificate, key = authority.make(host)
        heartbeat["tls"] |= {"certificate": str(certificate), "key": str(key)}
    file = tmp_path / "cfg.json"
    file.write_text(json.dumps({"heartbeat": heartbeat}))
    loop = Loop(Log(debug=False))
    told: list[tuple[Any, Any]] = []

    def done(result: Any, error: Any) -> None:
        told.append((result, error))
        loop.stop()

    client = JsonRpcClient(loop, ("localhost", agents.tls_port), 5.0, wrapper(load(str(file))))
    client.call("Agent.MinePlugins", b'{"Hostname":"web1"}', done)
    loop.run()
    client.close()
    for descriptor in (loop._wake_read, loop._wake_write):
        os.close(descriptor)  # a daemon's loop ends with its process
    ((result, error),) = told
    if problem:
        assert problem in str(error)
    else:
        assert result["Plugins"] == ["sys/ntp", "sys/ntp/6_env.py(a,b)"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs agents_tls_certificate, agents_tls_key, agents_tls_authority"),
        (
            {"agents_tls_certificate": "ca.key", "agents_tls_key": "ca.key"},
            "agents_tls_certificate",
        ),
        ({"agents_tls_authority": "none.pem"}, "agents_tls_authority"),
    ],
)
def test_files_that_cannot_be_used_are_said_at_the_start(
    tmp_path: Path, authority: Authority, given: dict[str, str], said: str
) -> None:
    files = dict.fromkeys(given, "")
    if given:
        files = {name: "ca.pem" for name in ("agents_tls_certificate", "agents_tls_authority")}
        files |= {"agents_tls_key": "ca.key"} | given
    paths = {name: authority.folder / file for name, file in files.items()}
    agents = Agents(Settings(data_dir=tmp_path, agents_tls_listen="127.0.0.1:0", **paths))
    with pytest.raises(ListenError, match=said):
        agents.start()
