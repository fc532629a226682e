"""Events of a run: as JSON, live to many readers with none lost, kept through trouble, pruned."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from controller.auth.models import Scope, Token
from controller.database.base import now
from controller.database.engine import Database
from controller.deployments import events, stream
from controller.deployments.cleaning import Cleaner
from controller.deployments.events import Event
from controller.deployments.journal import JournalReader
from controller.deployments.models import (
    Deployment,
    HostResult,
    HostStatus,
    RunEvent,
    Status,
    Wave,
)
from controller.deployments.pruning import prune
from controller.deployments.recorder import Recorder, WaveEnd
from controller.deployments.results import Delivered, HostOutcome
from controller.deployments.service import end
from controller.errors import Unavailable
from controller.web.deps import Context
from tests.controller.deployments.conftest import Fleet, ended
from tests.controller.server import Api


def _running(context: Context) -> int:
    """A deployment that looks as if its one wave ran, on a controller of its own."""
    with context.database.write() as session:
        deployment = Deployment(release=1, status=Status.RUNNING.value)
        session.add(deployment)
        session.flush()
        session.add(Wave(deployment_id=deployment.id, number=1, status=Status.RUNNING.value))
        return deployment.id


def _recorder(context: Context, deployment: int, **changes: Any) -> Recorder:
    options: dict[str, Any] = {
        "deployment_id": deployment,
        "wave_id": 1,
        "wave": 1,
        "release": Delivered(1, "0" * 40),
        "read": lambda told: [told],
        "give_up": lambda: False,
    }
    return Recorder(context.database, **(options | changes))


def _end(context: Context, deployment: int) -> None:
    with context.database.write() as session:
        end(session, session.get_one(Deployment, deployment), Status.SUCCEEDED, "")


def _read(client: httpx2.Client, deployment: int, after: int | None = None) -> list[dict[str, Any]]:
    """Everything that a stream sends until it says that it ends."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    read: list[dict[str, Any]] = []
    path = f"deployments/{deployment}/events/stream"
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                read.append(json.loads(line[6:]))
    return read


def test_a_run_tells_its_story_in_order(api: Api, fleet: Fleet) -> None:
    fleet.publish()
    fleet.host("a")
    deployment = api.send("POST", "deployments", 202, json={})["id"]
    live = _read(api.client, deployment)
    assert live[-1] == {"status": "succeeded", "reason": ""}
    ended(api, deployment)
    page, told = 0, []
    while True:
        view = api.get(f"deployments/{deployment}/events", params={"after": page, "limit": 5})
        told += view["items"]
        page = view["last"]
        if view["ended"]:
            break
    assert [event["id"] for event in live[:-1]] == [event["id"] for event in told]
    kinds = [event["kind"] for event in told]
    expected = [
        "deployment.queued",
        "deployment.started",
        "wave.started",
        "host.began",
        "host.ended",
        "wave.ended",
        "deployment.ended",
    ]
    assert [kind for kind in kinds if kind in expected] == expected
    assert kinds.index("playbook_on_start") < kinds.index("playbook_on_stats")
    assert live[3]["data"] == told[3]["data"]
    assert _read(api.client, deployment, told[-2]["id"]) == [
        {**told[-1], "deployment": deployment},
        live[-1],
    ]


def test_five_readers_get_two_thousand_events_with_none_lost(api: Api) -> None:
    deployment = _running(api.context)
    recorder = _recorder(api.context, deployment)
    clients = [api.connect(api.token_of(Scope.VIEWER)) for _ in range(5)]
    with ThreadPoolExecutor(len(clients)) as pool:
        readers = [pool.submit(_read, client, deployment) for client in clients[:3]]
        for number in range(2000):
            recorder.put(Event("line", {"number": number, "text": "x" * 100}))
            if number == 1000:
                readers += [pool.submit(_read, client, deployment) for client in clients[3:]]
        assert recorder.finish()
        _end(api.context, deployment)
        for reader in readers:
            read = reader.result(30)
            assert [e["data"]["number"] for e in read if e.get("kind") == "line"] == [*range(2000)]


def test_a_reader_resumes_in_the_middle_of_what_others_follow(api: Api) -> None:
    deployment = _running(api.context)
    recorder = _recorder(api.context, deployment)
    for number in range(500):
        recorder.put(Event("line", {"number": number}))
    assert recorder.finish()
    first = api.get(f"deployments/{deployment}/events")["items"][0]["id"]
    with ThreadPoolExecutor(3) as pool:
        readers = [
            pool.submit(_read, api.connect(api.token), deployment, after)
            for after in (0, first + 249, first + 499)
        ]
        time.sleep(0.5)
        _end(api.context, deployment)
        lengths = [sum(e.get("kind") == "line" for e in r.result(20)) for r in readers]
    assert lengths == [500, 250, 0]


def test_a_reader_ahead_of_every_event_takes_none_from_the_others(api: Api) -> None:
    deployment = _running(api.context)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(_read, api.connect(api.token), deployment, 10**9)
        time.sleep(0.5)  # it is the first, whose place the followers' common one begins at
        reader = pool.submit(_read, api.connect(api.token), deployment)
        for number in range(3):
            recorder = _recorder(api.context, deployment)
            recorder.put(Event("line", {"number": number}))
            assert recorder.finish()
            time.sleep(0.3)
        _end(api.context, deployment)
        read = reader.result(20)
        ahead.result(20)
    assert [e["data"]["number"] for e in read if e.get("kind") == "line"] == [0, 1, 2]


def test_a_stream_ends_soon_after_its_token_and_no_other_does(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_TOKENS_EVERY", 0.1)
    deployment = _running(api.context)
    revoked, expired = (api.token_of(Scope.VIEWER) for _ in range(2))
    with ThreadPoolExecutor(3) as pool:
        stays, *leave = [
            pool.submit(_read, api.connect(token), deployment)
            for token in (api.token, revoked, expired)
        ]
        with pytest.raises(TimeoutError):
            leave[0].result(0.5)
        with api.context.database.write() as session:
            rows = session.scalars(select(Token).where(Token.name != "admin").order_by(Token.id))
            first, second = rows.all()
            first.revoked, second.expires = now(), now()
        assert [reader.result(3) for reader in leave] == [[], []]
        assert not stays.done()
        _end(api.context, deployment)
        assert stays.result(10)[-1]["status"] == "succeeded"


def test_events_wait_in_memory_while_the_database_is_away(
    context: Context, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.publish()
    fleet.host("a")
    deployment = _running(context)
    away = threading.Event()
    write = Database.write

    @contextmanager
    def sometimes(self: Database) -> Iterator[Any]:
        if away.is_set():
            raise Unavailable("the database does not answer")
        with write(self) as session:
            yield session

    monkeypatch.setattr(Database, "write", sometimes)
    recorder = _recorder(context, deployment)
    away.set()
    for number in range(1000):
        recorder.put(Event("line", {"number": number}))
    recorder.put(WaveEnd(Status.SUCCEEDED, "", 0))
    time.sleep(1)
    away.clear()
    assert recorder.finish()
    with context.database.read() as session:
        rows = events.read(session, deployment, 0, 2000)
        assert session.get_one(Wave, 1).status == "succeeded"
    told = [json.loads(row.data)["number"] for row in rows if row.kind == "line"]
    assert told == [*range(1000)]


def test_a_run_gives_up_on_a_database_that_stays_away_and_says_so(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = _running(context)

    @contextmanager
    def never(_: Database) -> Iterator[Any]:
        raise Unavailable("the database does not answer")
        yield

    monkeypatch.setattr(Database, "write", never)
    recorder = _recorder(context, deployment, give_up=lambda: True)
    recorder.put(Event("line"))
    assert not recorder.finish()


def test_one_event_that_cannot_be_written_takes_no_other_with_it(context: Context) -> None:
    deployment = _running(context)
    recorder = _recorder(context, deployment)
    recorder.put(Event("before"))
    recorder.put(Event("broken", {"what": object()}))
    recorder.put(Event("after"))
    assert not recorder.finish()
    with context.database.read() as session:
        kinds = [row.kind for row in events.read(session, deployment, 0, 10)]
    assert kinds == ["before", "after"]


def test_of_deployments_that_ended_long_ago_what_was_done_is_kept(context: Context) -> None:
    old, young, alive = (_running(context) for _ in range(3))
    with context.database.write() as session:
        for deployment in (old, young, alive):
            events.append(session, deployment, 0, [Event("line")] * 3)
        for deployment, days in ((old, 31), (young, 29)):
            row = session.get_one(Deployment, deployment)
            row.status, row.ended = Status.FAILED.value, now() - timedelta(days=days)
            for host in (HostStatus.CURRENT, HostStatus.CHANGED):
                session.add(HostResult(deployment_id=deployment, host=host, status=host.value))
    with context.database.write() as session:
        assert prune(session, 30) == 3 + 1
        assert prune(session, 30) == 0
    with context.database.read() as session:
        left = session.execute(
            select(RunEvent.deployment_id, func.count()).group_by(RunEvent.deployment_id)
        ).all()
        hosts = session.execute(
            select(HostResult.deployment_id, HostResult.status).order_by(HostResult.id)
        ).all()
    assert sorted(tuple(row) for row in left) == [(young, 3), (alive, 3)]
    assert [tuple(row) for row in hosts] == [
        (old, "changed"), (young, "current"), (young, "changed"),
    ]  # fmt: skip


def test_what_is_kept_holds_no_secret_and_nothing_that_a_database_refuses() -> None:
    cleaner = Cleaner(['pass"word', "abc", "-----BEGIN-----\nMIIEv\n-----END-----"])
    told = {
        "msg": 'got pass"word and \x1b[31mred\x1b[0m and \x00 and \ud800 and abc',
        "json": json.dumps({"password": 'pass"word'}),
        "key": ["MIIEv alone", 7, None, True],
    }
    kept = cleaner.data(told)
    assert kept["msg"] == "got ******** and red and \ufffd and ? and abc"
    assert kept["json"] == '{"password": "********"}'
    assert kept["key"] == ["******** alone", 7, None, True]


def test_a_journal_cut_short_is_read_up_to_there(tmp_path: Any) -> None:
    reader = JournalReader(tmp_path / "journal")
    assert reader.new() == []
    (tmp_path / "journal").write_bytes(b'{"host": "a"}\n{"ho')
    assert [entry.host for entry in reader.new()] == ["a"]
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'st": "b", "result": {}}\nrubbish\n7\n')
    assert [(entry.host, entry.result) for entry in reader.new()] == [("b", {})]


def test_results_that_come_after_a_takeover_do_not_hide_what_was_done_since(
    context: Context, fleet: Fleet
) -> None:
    from controller.deployments.results import record_results

    fleet.publish()
    fleet.host("a")
    deployment = _running(context)
    with context.database.write() as session:
        outcome = HostOutcome("a", HostStatus.CHANGED, plan="1" * 64)
        record_results(session, session.get_one(Deployment, deployment), [outcome], None)
    assert fleet.row("a").state == "pending", "the deployment does not hold the host any more"
