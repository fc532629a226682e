"""A stand-in for the controller's inventory route, and `ansible-inventory` run against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

DOCUMENT: dict[str, Any] = {
    "_meta": {
        "hostvars": {
            "web1": {"ansible_host": "10.0.0.1", "note": "{{ 1 + 1 }}", "plugfleet_plan": "a" * 64},
            "web2": {"agent_config_kind": "falcon", "plugfleet_plan": "b" * 64},
            "db1": {"plugfleet_plan": "c" * 64},
        }
    },
    "all": {
        "vars": {
            "plugin_bindings": {"all": ["sys/disk"], "web": ["net/http"]},
            "plugin_source_release": {"number": 7, "commit": "0" * 40},
            "plugin_source_controller": "",
        },
        "children": ["pf_everyone", "web", "db", "pf_pending", "pf_drifted"],
    },
    "pf_everyone": {
        "hosts": ["web1", "web2", "db1"],
        "vars": {"tier": "any", "ansible_group_priority": -(2**31)},
    },
    "web": {"hosts": ["web1", "web2"], "vars": {"tier": "front"}},
    "db": {"hosts": ["db1"]},
    "pf_pending": {"hosts": ["web1", "db1"]},
    "pf_drifted": {"hosts": ["web2"]},
}


class Controller:
    """Answers `GET /api/v1/inventory`, and remembers what it was asked.

    Attributes:
        requests: path and headers of each request.
        answers: status of each answer.
        failing: status to answer instead, or 0.
    """

    def __init__(self) -> None:
        self.document = DOCUMENT
        self.etag = '"1-1"'
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: list[int] = []
        self.failing = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        controller = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                controller.requests.append((self.path, dict(self.headers)))
                status, body = controller._answer(self.headers)
                controller.answers.append(status)
                self.send_response(status)
                if status == 200:
                    self.send_header("ETag", controller.etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _answer(self, headers: Any) -> tuple[int, bytes]:
        if self.failing:
            problem = {"detail": "the token is not valid", "hint": "it may be revoked"}
            return self.failing, json.dumps(problem).encode()
        if headers.get("If-None-Match") == self.etag:
            return 304, b""
        return 200, json.dumps(self.document).encode()


@pytest.fixture
def controller() -> Iterator[Controller]:
    answering = Controller()
    yield answering
    answering.close()


class Inventory:
    """`ansible-inventory` with the plugin's file, and a cache of its own.

    Attributes:
        programs: the folder that it is in.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.programs = BIN
        self.cache = folder / "cache"
        self.file = folder / "controller.plugfleet.yml"
        self.file.write_text("plugin: plugfleet\n")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLUGFLEET_")}
        self.environment = inherited | {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "PLUGFLEET_URL": url,
            "PLUGFLEET_TOKEN": "pf_secret-token",
            "PLUGFLEET_INVENTORY_CACHE": str(self.cache),
        }

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """The finished command."""
        return subprocess.run(
            [self.programs / "ansible-inventory", "-i", self.file, *args],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self) -> dict[str, Any]:
        """What `--list` prints."""
        done = self.run("--list")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def inventory(tmp_path: Path, controller: Controller) -> Inventory:
    return Inventory(tmp_path, controller.url)
