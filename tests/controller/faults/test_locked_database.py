"""Another process holds SQLite's write lock: changes wait, then are refused with nothing lost; reads go on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import make_url, update

from controller.app import open_context
from controller.auth.models import Token
from controller.database import engine
from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BUSY = 0.5  # seconds that changes wait here; else many
QUICK = BUSY / 2  # seconds in which nothing can have waited for the lock
AT_ONCE = 50  # requests, more than the controller has threads for

_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def context(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr(engine, "_BUSY_TIMEOUT", int(BUSY * 1000))
    opened = open_context(settings)
    yield opened
    opened.database.close()


@contextmanager
def locked(api: Api) -> Iterator[subprocess.Popen[str]]:
    """A block in which a process has the write lock, unless its standard input is closed before."""
    file = make_url(api.context.settings.database).database
    command = [sys.executable, "-Sc", _HOLDER, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdin
        assert holder.stdout.readline() == "held\n"
        yield holder
        if not holder.stdin.closed:
            holder.stdin.close()


CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "hosts", {"name": "late"}),
    ("PATCH", "hosts/web1", {"labels": {"role": "late"}}),
    ("DELETE", "hosts/web1", None),
    ("POST", "hosts/import?format=json", [{"name": "late"}]),
    ("POST", "hostgroups", {"name": "late"}),
    ("POST", "sources", {"name": "late", "url": "https://git.example.com/late.git"}),
    ("POST", "bindings", {"hostgroup": "all", "plugin": "sys/late"}),
    ("POST", "tokens", {"name": "late", "scope": "viewer"}),
    ("POST", "configuration/apply", {"hostgroups": {"late": {}}}),
)
READS = ("hosts", "hostgroups", "bindings", "audit", "inventory", "deployments", "plans/web1")


def test_a_change_waits_for_a_lock_that_is_let_go(api: Api) -> None:
    with locked(api) as holder, ThreadPoolExecutor(1) as pool:
        change = pool.submit(api.send, "POST", "hosts", 201, json={"name": "web1"})
        time.sleep(QUICK)
        assert not change.done()
        assert holder.stdin
        holder.stdin.close()
        assert change.result(10)["name"] == "web1"


def test_under_a_lock_that_stays_changes_are_refused_in_time_and_nothing_is_lost(api: Api) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1"})
    before = {path: api.get(path) for path in READS}
    with locked(api), ThreadPoolExecutor(len(CHANGES)) as pool:
        began = time.monotonic()
        sent = [pool.submit(api.client.request, m, path, json=b) for m, path, b in CHANGES]
        for (method, path, _), response in zip(CHANGES, sent, strict=True):
            answer = response.result(30)
            assert answer.status_code == 503, f"{method} {path}: {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) > 0
            assert "locked" in answer.json()["detail"] and "try again" in answer.json()["hint"]
        assert time.monotonic() - began < BUSY * 6, "not one after the other"
    assert {path: api.get(path) for path in READS} == before
    assert api.send("POST", "hosts", 201, json={"name": "late"})["name"] == "late"


def test_reads_do_not_wait_for_the_lock_though_their_tokens_use_is_to_be_noted(api: Api) -> None:
    api.send("POST", "hosts", 201, json={"name": "web1"})
    with api.context.database.write() as session:
        session.execute(update(Token).values(last_used=None))
    with locked(api):
        for path in (*READS, f"{api.url}/readyz", f"{api.url}/healthz"):
            began = time.monotonic()
            api.get(path)
            assert time.monotonic() - began < QUICK, path
    api.get("hosts")
    assert all(token["last_used"] for token in api.get("tokens")["items"])


def test_more_changes_than_the_controller_has_threads_wait_and_hold_up_nobody(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_TIMEOUT", 10_000)
    api.context.database.close()  # it opens new connections, which wait that long
    with locked(api) as holder, ThreadPoolExecutor(AT_ONCE) as pool:
        sent = [
            pool.submit(api.send, "POST", "hosts", 201, json={"name": f"h{number}"})
            for number in range(AT_ONCE)
        ]
        time.sleep(QUICK)
        for path in ("hosts", f"{api.url}/readyz", f"{api.url}/healthz"):
            api.get(path)
        assert not any(change.done() for change in sent)
        assert holder.stdin
        holder.stdin.close()
        for change in sent:
            change.result(30)


def test_a_publish_that_could_not_be_recorded_is_recorded_once_when_it_is_repeated(
    api: Api, make_source: Callable[..., SourceRepository]
) -> None:
    api.send("POST", "sources", 201, json={"name": "plugins", "url": str(make_source().path)})
    once: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}, "json": {}}
    with locked(api):
        assert "locked" in api.send("POST", "releases", 503, **once)["detail"]
        assert api.get("releases")["items"] == []
    # The deploy line has it since; what was missing is its row.
    for _ in range(2):
        assert api.send("POST", "releases", 200, **once)["release"]["number"] == 1
    assert [release["number"] for release in api.get("releases")["items"]] == [1]
