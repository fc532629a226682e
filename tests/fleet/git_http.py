"""A smart HTTP git server in front of `git http-backend`, with passwords and TLS if asked.

A program: `git_http.py CONFIG.json`. It writes one JSON line for every request to the log that
CONFIG names. Rules: git-http-backend(1), RFC 7617 (basic authentication), RFC 3875 (CGI).
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


class Server(ThreadingHTTPServer):
    """Listens as `config` says; a thread a request."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__((config["address"], config["port"]), Handler)
        self.config = config
        self.log_lock = threading.Lock()
        if config["chain"]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(config["chain"], config["key"])
            # The handshake is left to the request's thread: one slow client stops nobody.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    """One request, handed to `git http-backend` as CGI."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """info/refs and files."""
        self._serve()

    def do_POST(self) -> None:
        """git-upload-pack and git-receive-pack."""
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: `_note` writes the log."""

    def _serve(self) -> None:
        body = self._body()
        user = self._user()
        if user is None:
            self._answer(401, [("WWW-Authenticate", 'Basic realm="plugfleet tests"')], b"")
            return
        path, _, query = self.path.partition("?")
        repository = unquote(path).lstrip("/").partition(".git")[0]
        traces = Path(self.server.config["traces"], repository.replace("/", "_"))
        traces.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": self.server.config["repositories"],
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_TRACE2_EVENT": str(traces),
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_USER": user,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env=environment,
            stdout=subprocess.PIPE,
            check=False,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status, headers = 200 if done.returncode == 0 else 500, []
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        self._answer(status, headers, content)

    def _user(self) -> str | None:
        """Who asks; None is nobody that may. A server without users lets everyone in as ""."""
        users: dict[str, str] = self.server.config["users"]
        if not users:
            return ""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                name, _, password = base64.b64decode(token).decode().partition(":")
                right = users.get(name)
                if right is not None and hmac.compare_digest(right.encode(), password.encode()):
                    return name
        return None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(pieces)

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        # The log first: who counts requests does so when the client has its answer.
        self._note(status)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _note(self, status: int) -> None:
        line = {
            "method": self.command,
            "path": self.path,
            "status": status,
            "authorized": "Authorization" in self.headers,
        }
        with self.server.log_lock, open(self.server.config["log"], "a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    Server(json.loads(Path(sys.argv[1]).read_text())).serve_forever()
