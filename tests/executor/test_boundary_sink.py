"""The Boundary batch API as one more sink."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.executor.harness import Host, wait_until
from tests.executor.manifest_source import install


class Backend:
    """Keeps the calls of each accepted batch; `statuses` are answered first."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.accounts: set[str] = set()
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.statuses.pop(0) if outer.statuses else 200
                outer.accounts.add(self.headers["Authorization"])
                calls = json.loads(gzip.decompress(body))
                if status == 200 and self.path == "/v1/batch":
                    outer.calls.extend(calls)
                self.send_response(status)
                self.send_header("Content-Length", "13")
                self.end_headers()
                self.wfile.write(b'{"result":[]}')

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/batch"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def bodies(self, path: str) -> list[Any]:
        return [call["body"] for call in self.calls if call["path"] == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    yield server
    server.close()


def test_values_events_and_messages_reach_a_boundary_backend_once(
    host: Host, backend: Backend
) -> None:
    backend.statuses = [503]
    install(
        host,
        "import sys\nprint('_bevent:disk replaced|t:warn|h:web-2')\n"
        "print('slow answer', file=sys.stderr)\n"
        "print('TEST_VALUE 1.5 web-1 1795290000')\nprint('TEST_OTHER 2 \"\" 1795290001')\n",
    )
    account = {"url": backend.url, "email": "me@example.org", "token": "api.secret"}
    host.cfg["executor"]["boundary"] = account
    host.bind({"plugin": "check", "config": {"pollInterval": 60000}})
    host.start()
    wait_until(lambda: backend.bodies("/v1/measurements"), "values came, at the second try")
    assert backend.bodies("/v1/measurements") == [
        [["web-1", "TEST_VALUE", 1.5, 1795290000], ["testhost", "TEST_OTHER", 2.0, 1795290001]]
    ]
    assert backend.bodies("/v1/relays/heartbeat") == [{"hostname": "testhost"}]
    (messages,) = backend.bodies("/v1/relays/testhost/output")
    assert [(one["plugin"], one["type"], one["msg"]) for one in messages] == [
        ("check", "error", "slow answer")
    ]
    (event,) = backend.bodies("/v1/events")
    assert (event["title"], event["severity"], event["source"]["ref"]) == (
        "disk replaced", "WARN", "web-2",
    )  # fmt: skip
    expected = base64.b64encode(b"me@example.org:api.secret").decode()
    assert backend.accounts == {f"Basic {expected}"}
    sinks = json.loads(host.get("/sinks"))["data"]["boundary"]
    assert (sinks["delivered"], sinks["waiting"]) == (2, 0)
    assert "api.secret" not in host.get("/config/reload") and "api.secret" not in host.log
