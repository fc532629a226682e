"""PostgreSQL is stopped and started again under a controller: everybody is told at once, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from controller.deployments.processes import mark
from controller.settings import Settings
from tests.controller.deployments.conftest import Fleet, ended, eventually, results, runs_alive
from tests.controller.postgresql import Server
from tests.controller.server import Api

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
GONE = 4.0  # seconds; far longer than a silent database would be borne, as 30 s are
# Seconds in which an answer must come; the machine may be busy.
BOUND = 3.0
AT_ONCE = 60  # requests, more than the controller has threads for


@contextmanager
def gone(server: Server) -> Iterator[None]:
    """A block in which there is no database."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def assert_unavailable(api: Api, method: str, path: str) -> None:
    began = time.monotonic()
    answer = api.client.request(method, path, json=None if method == "GET" else {})
    assert answer.status_code == 503, f"{method} {path}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert "database" in answer.json()["detail"] and "Traceback" not in answer.text
    assert time.monotonic() - began < BOUND, f"{method} {path}"


def test_a_deployment_goes_on_while_everybody_else_is_told_that_the_database_is_gone(
    api: Api, fleet: Fleet, settings: Settings, postgresql_server: Server
) -> None:
    fleet.publish()
    fleet.host("before", seconds=0)
    fleet.host("meanwhile", seconds=GONE / 2, result={"changed": True, "msg": "brought"})
    fleet.host("broken", seconds=GONE / 2, result={"failed": True, "msg": "no room"})
    fleet.host("after", seconds=GONE + 1)
    deployment = api.send("POST", "deployments", 202, json={})["id"]
    eventually(20, lambda: results(api, deployment)["before"]["status"] == "ok")
    ready, alive = f"{api.url}/readyz", f"{api.url}/healthz"
    with gone(postgresql_server), ThreadPoolExecutor(AT_ONCE) as pool:
        back = time.monotonic() + GONE
        for method, path in (("GET", "hosts"), ("POST", "hosts"), ("GET", ready)):
            assert_unavailable(api, method, path)
        many = [pool.submit(assert_unavailable, api, "GET", "inventory") for _ in range(AT_ONCE)]
        while time.monotonic() < back:
            api.get(alive)
            time.sleep(0.1)
        for asked in many:
            asked.result()
        assert runs_alive(mark(1, settings.database)), "the run goes on"
    eventually(20, lambda: api.client.get(ready).status_code == 200)
    view = ended(api, deployment)
    assert (view["status"], view["hosts"]) == ("failed", {"ok": 2, "changed": 1, "failed": 1})
    assert results(api, deployment)["broken"]["message"] == "no room"
    told = [
        e["host"]
        for e in api.get(f"deployments/{deployment}/events")["items"]
        if e["kind"] == "host.ended"
    ]
    assert sorted(told) == ["after", "before", "broken", "meanwhile"], "each once"
