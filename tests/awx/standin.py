"""The stand-in of AWX: its API on a loopback port, and faults at will.

`python -m tests.awx` runs it by itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.awx.api import AwxApi
from tests.awx.faults import Faults
from tests.fleet.tls import Certificate


class StandIn:
    """An AWX that answers at `url`.

    Attributes:
        url: where it answers, without `/api/v2/`.
        token: an administrator's.
        password: the one of the user `admin`.
        awx: what it holds and does.
        faults: what goes wrong.
        requests: method and path of each request that arrived.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.awx = AwxApi()
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.token = self.awx.rights.token
        self.password = self.awx.rights.password
        self._certificate = certificate
        self._connections: set[socket.socket] = set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.up()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Answer, at the same address as before."""
        server = _Server(("127.0.0.1", self._port), self._handler())
        if self._certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.chain, self._certificate.key)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and end those that there are; jobs go on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and all that it runs."""
        self.down()
        self.awx.close()

    def _control(self, path: str, body: Any) -> tuple[int, Any]:
        """`/stand-in/...`: what a test in another process asks for."""
        if path == "/stand-in/faults":
            self.faults.set(**(body or {}))
        elif path == "/stand-in/clear":
            self.faults.clear()
        elif path == "/stand-in/down":
            self.down()
            threading.Timer(float((body or {}).get("seconds", 1)), self.up).start()
        else:
            return 404, {"detail": "no such order"}
        return 200, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                stand_in._connections.add(self.connection)

            def finish(self) -> None:
                stand_in._connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def answer(self) -> None:
                parts = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stand_in.requests.append((self.command, self.path))
                if parts.path.startswith("/stand-in/"):
                    return self.send(*stand_in._control(parts.path, _json(raw)))
                if not parts.path.endswith("/"):
                    return self.send(301 if self.command == "GET" else 404, {}, parts.path + "/")
                status = stand_in.faults.before(self.command, parts.path)
                if status:
                    return self.send(status, "<html>")
                if stand_in.faults.has_lost(parts.path):
                    return self.send(404, {"detail": "Not found."})
                status, body = stand_in.awx.answer(
                    self.command, parts.path, parts.query, _json(raw), self.headers["Authorization"]
                )
                if stand_in.faults.loses_answer(self.command, parts.path):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return None
                return self.send(status, body)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = answer

            def send(self, status: int, body: Any, location: str = "") -> None:
                text = isinstance(body, str)
                raw = body.encode() if text else b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if text else "application/json")
                self.send_header("Content-Length", str(len(raw)))
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or does not trust the certificate, is nothing to print."""


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return []
