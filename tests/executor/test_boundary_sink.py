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
    """Keeps the calls of each accepted batch; `statuses` are answered first.

    known: metrics that are defined there, if not all; other values are refused within a 200.
    no_events: a batch with an event in it is refused.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.known: set[str] = set()
        self.no_events = False
        self.accounts: set[str] = set()
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.statuses.pop(0) if outer.statuses else 200
                outer.accounts.add(self.headers["Authorization"])
                calls = json.loads(gzip.decompress(body))
                if outer.no_events and any(call["path"] == "/v1/events" for call in calls):
                    status = 422
                results = [outer.judged(call) for call in calls]
                if status == 200 and self.path == "/v1/batch":
                    pairs = zip(calls, results, strict=True)
                    outer.calls.extend(call for call, result in pairs if result["status"] == 200)
                answer = json.dumps({"result": results}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/batch"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def judged(self, call: dict[str, Any]) -> dict[str, Any]:
        """What a batch answers to one of its calls."""
        values = call["body"] if call["path"] == "/v1/measurements" else []
        if self.known and any(value[1] not in self.known for value in values):
            return {"status": 404, "body": {"error": "ERR_UNKNOWN_METRICS"}}
        return {"status": 200}

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


VALUES = "print('\\n'.join('TEST_VALUE %d s%d 1795290000' % (n, n) for n in range(8)))\n"


def boundary_host(host: Host, backend: Backend, code: str) -> None:
    install(host, code)
    host.cfg["executor"]["boundary"] = {"url": backend.url, "email": "e", "token": "t"}
    host.bind({"plugin": "check", "config": {"pollInterval": 60000}})
    host.start()


def told(host: Host) -> Any:
    return json.loads(host.get("/sinks"))["data"]["boundary"]


def test_an_event_that_is_refused_costs_no_value(host: Host, backend: Backend) -> None:
    backend.no_events = True
    boundary_host(host, backend, "print('_bevent:bad')\n" + VALUES)
    wait_until(lambda: told(host)["delivered"] == 8, "all values came")
    assert told(host)["refused"] == 0
    assert "1 events and messages were refused for good" in host.log


def test_metrics_that_nobody_defined_are_left_out(host: Host, backend: Backend) -> None:
    backend.known = {"TEST_VALUE"}
    boundary_host(host, backend, VALUES + "print('TEST_OTHER 1 s 1795290000')\n")
    wait_until(lambda: told(host)["waiting"] == 0 and told(host)["delivered"], "it is through")
    assert (told(host)["delivered"], told(host)["refused"]) == (8, 1)
    assert sum(len(body) for body in backend.bodies("/v1/measurements")) == 8
