"""A connection that TLS cannot even begin on fails once, and says why."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest

from executor.log import Log
from executor.loop import Loop
from executor.net import Connection


def _names(name: str) -> Callable[[socket.socket], socket.socket]:
    def wrap(connection: socket.socket) -> socket.socket:
        name.encode("idna")  # as executor.tls does
        context = ssl.create_default_context()
        return context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False)

    return wrap


def _takes_over_and_fails(connection: socket.socket) -> socket.socket:
    """As ssl does where the peer is gone already."""
    socket.socket(fileno=connection.detach()).close()
    raise OSError("Transport endpoint is not connected")


@pytest.mark.parametrize(
    "wrap",
    [_names(""), _names(".example"), _names("a..b"), _takes_over_and_fails],
    ids=["empty", "dot", "dots", "gone"],
)
def test_where_tls_cannot_begin_the_connection_ends(
    wrap: Callable[[socket.socket], socket.socket],
) -> None:
    loop = Loop(Log())
    reasons: list[str] = []

    def ended(reason: str) -> None:
        reasons.append(reason)
        loop.stop()

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        connection = Connection(loop, address, 5.0, lambda _: None, ended, wrap)
        loop.call_later(2.0, loop.stop)  # without an end, it would be tried for ever
        loop.run()
        connection.close()
        assert len(reasons) == 1 and reasons[0].startswith(f"127.0.0.1:{address[1]}: ")
        server.accept()[0].close()
        # The next one may get the same descriptor.
        following = Connection(loop, address, 5.0, lambda _: None, ended)
        loop.call_later(2.0, loop.stop)
        server.accept()[0].close()
        loop.run()
        following.close()
    assert reasons[1:] == [f"127.0.0.1:{address[1]} closed the connection"]
