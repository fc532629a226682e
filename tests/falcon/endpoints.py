"""An agent's HTTP side: every failure is a body with status 200, and hardly anything is guarded."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from tests.falcon.agent import Agent


def done(data: Any) -> str:
    """A success with data."""
    return json.dumps({"msg": "success", "data": data})


class Handler(BaseHTTPRequestHandler):
    """The endpoints, GET and POST alike."""

    agent: Agent

    def do_GET(self) -> None:
        agent = self.agent
        answers: dict[str, Callable[[], str]] = {
            "/health": lambda: "ok",
            "/version": lambda: agent.words,
            "/workdir": lambda: done(os.getcwd()),
            "/plugins": lambda: done(
                {key: found.as_dict() for key, found in dict(agent.plugins.running).items()}
            ),
            "/plugin/update": agent.update,
            "/plugin/reset": agent.reset,
            "/config/reload": self._reload,
            "/exit": self._exit,
        }
        answer = answers.get(self.path)
        body = (answer() if answer else "404 page not found\n").encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def _is_trusted(self) -> bool:
        return self.client_address[0] in ("127.0.0.1", *self.agent.trusted)

    def _reload(self) -> str:
        if not self._is_trusted():
            return "no privilege"
        self.agent.config.read()
        return done(self.agent.config.values)

    def _exit(self) -> str:
        if not self._is_trusted():
            return "no privilege"
        threading.Timer(0.2, os._exit, (0,)).start()
        return "exiting..."

    def log_message(self, format: str, *args: Any) -> None:
        """The real one logs no requests."""


class Server(ThreadingHTTPServer):
    """Where the endpoints are."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # HTTPServer's own asks DNS for the host's name.
        TCPServer.server_bind(self)


def serve(agent: Agent) -> None:
    """Answer for ever."""
    host, _, port = agent.config.of("http", "listen").rpartition(":")
    Handler.agent = agent
    Server((host, int(port)), Handler).serve_forever()
