"""The TLS plugin against real servers with certificates of the tests' own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plugin_certificates import Authority, TlsServer

TLS = "net/tls/3600_tls_expiry.py"


@pytest.fixture
def serve(authority: Authority) -> Iterator[Callable[..., TlsServer]]:
    """Starts a server whose certificate is for `name` and expires in so many days."""
    servers = []

    def start(name: str = "localhost", days: float = 30) -> TlsServer:
        servers.append(TlsServer(authority.issue(name, days)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("days", [0.5, 30, 400, 40000])
def test_the_days_that_are_left_are_told(
    run_plugin: Any, serve: Any, authority: Authority, days: float
) -> None:
    server = f"localhost:{serve(days=days).port}"
    values = run_plugin(TLS, f"ca={authority.path}", server).values()
    assert values == {
        f"tls.up/server={server}": 1,
        f"tls.error/server={server}": 0,
        f"tls.days.left/server={server}": pytest.approx(days, abs=0.01),
        f"tls.verified/server={server}": 1,
        f"tls.verify.code/server={server}": 0,
    }


def test_an_expired_certificate_is_dated_though_it_cannot_be_verified(
    run_plugin: Any, serve: Any, authority: Authority
) -> None:
    server = f"localhost:{serve(days=-3).port}"
    values = run_plugin(TLS, f"ca={authority.path}", server).values()
    assert values[f"tls.days.left/server={server}"] == pytest.approx(-3, abs=0.01)
    assert values[f"tls.verified/server={server}"] == 0
    assert values[f"tls.verify.code/server={server}"] == 10  # X509_V_ERR_CERT_HAS_EXPIRED


def test_an_unknown_authority_is_told_with_the_date(run_plugin: Any, serve: Any) -> None:
    server = f"localhost:{serve(days=9).port}"
    values = run_plugin(TLS, server).values()
    assert values[f"tls.verified/server={server}"] == 0
    assert values[f"tls.verify.code/server={server}"] == 20  # ..._GET_ISSUER_CERT_LOCALLY
    assert values[f"tls.days.left/server={server}"] == pytest.approx(9, abs=0.01)


def test_the_name_that_is_verified_may_differ_from_where_to_connect(
    run_plugin: Any, serve: Any, authority: Authority
) -> None:
    server = serve("www.example.org")
    plain, named = f"127.0.0.1:{server.port}", f"www.example.org@127.0.0.1:{server.port}"
    values = run_plugin(TLS, f"ca={authority.path}", plain, named).values()
    assert values[f"tls.verified/server={named}"] == 1
    assert "www.example.org" in server.names
    assert values[f"tls.verified/server={plain}"] == 0
    assert values[f"tls.verify.code/server={plain}"] in (62, 64)  # name or address mismatch


def test_what_keeps_a_server_from_showing_a_certificate_is_told_by_number(
    run_plugin: Any, serve: Any, silent: int, refusing: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = listener.getsockname()[1]

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        servers = ["nosuch.invalid:443", f"127.0.0.1:{refusing}", f"127.0.0.1:{silent}"]
        ran = run_plugin(TLS, *servers, f"127.0.0.1:{plain}", name="3_tls.py")
        thread.join(10)
    values = ran.values()
    codes = [values[f"tls.error/server={server}"] for server in (*servers, f"127.0.0.1:{plain}")]
    assert codes == [1, 2, 3, 4]
    assert set(values.values()) == {0, 1, 2, 3, 4}
    assert not any(name.startswith(("tls.days", "tls.verif")) for name in values)
    assert ran.seconds < 2.5


def test_no_answer_ends_inside_the_step(run_plugin: Any, silent: int) -> None:
    ran = run_plugin(TLS, f"127.0.0.1:{silent}", name="3_tls.py")
    assert ran.values()[f"tls.error/server=127.0.0.1:{silent}"] == 3
    assert ran.seconds < 2.5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([""], "no server is given: bind it with servers, as 3600_tls_expiry.py(www.example"),
        (["ca=/etc/none.pem", "a:1"], "cannot use the authorities in '/etc/none.pem': No such"),
        (["ca=/etc/passwd", "a:1"], "cannot use the authorities in '/etc/passwd'"),
        (["https://a/"], "'https://a/' is no TLS server"),
        (["a:0"], "'a:0' is no TLS server"),
        (["a:65536"], "'a:65536' is no TLS server"),
        (["::1"], "'::1' is no TLS server"),
    ],
)
def test_wrong_arguments_are_named(run_plugin: Any, arguments: list[str], reason: str) -> None:
    assert reason in run_plugin(TLS, *arguments).reason()
