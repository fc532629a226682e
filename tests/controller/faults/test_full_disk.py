"""The data folder's disk fills up: what cannot be written is refused in one clear sentence, and goes on later."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from controller.deployments import rundir
from controller.deployments.processes import mark
from controller.deployments.rundir import RunDir
from controller.errors import PlugfleetError
from controller.settings import Settings
from tests.controller.deployments.conftest import Fleet, ended, eventually, results, runs_alive
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

# Only root mounts a disk of its own.
pytestmark = pytest.mark.fleet_root
SIZE = 8 << 20  # bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={SIZE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def settings(settings: Settings, disk: Path) -> Settings:
    """With SQLite the database is on the small disk, too."""
    url = settings.database_url if settings.database_url.startswith("postgresql") else ""
    return settings.model_copy(update={"data_dir": disk / "data", "database_url": url})


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """A block in which there is no free byte on the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1 << 20))  # as much of it as there is room for
    yield
    filler.unlink()


def large_host(api: Api, name: str) -> Any:
    """What a new host that takes several pages of the database is answered."""
    return api.client.post("hosts", json={"name": name, "variables": {"x": "x" * 20_000}})


def assert_full(answer: Any, what: str) -> None:
    assert answer.status_code == 503, f"{what}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert "full" in answer.json()["detail"] or "No space" in answer.json()["detail"], answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_answered_is_kept_and_what_was_refused_is_not_there(api: Api, disk: Path) -> None:
    api.send("POST", "hosts", 201, json={"name": "before"})
    kept, refused = ["before"], []
    with full(disk):
        for number in range(40):
            name = f"h{number:02}"
            answer = large_host(api, name)
            if answer.status_code == 201:
                kept.append(name)
            else:
                assert_full(answer, name)
                refused.append(name)
        assert refused, "the disk is full"
        assert sorted(row["name"] for row in api.get("hosts")["items"]) == sorted(kept)
        for path in (f"{api.url}/healthz", f"{api.url}/readyz", "inventory", "plans/before"):
            api.get(path)
    for name in refused:
        api.send("POST", "hosts", 201, json={"name": name})
    assert sorted(row["name"] for row in api.get("hosts")["items"]) == sorted([*kept, *refused])
    file = make_url(api.context.settings.database).database
    with sqlite3.connect(str(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_publish_on_a_full_disk_is_refused_and_later_works(
    api: Api, disk: Path, make_source: Callable[..., SourceRepository]
) -> None:
    source = make_source()
    api.send("POST", "sources", 201, json={"name": "plugins", "url": str(source.path)})
    for number in (1, 2):
        source.write(f"sys/more{number}/60_more.sh", f"#!/bin/sh\n# {os.urandom(9000).hex()}\n")
        source.commit()
        with full(disk):
            assert_full(api.client.post("releases", json={}), f"release {number}")
            assert_full(api.client.post("sources/plugins/lint", json={}), f"lint {number}")
        assert api.send("POST", "releases", 201, json={})["release"]["number"] == number
    assert [release["number"] for release in api.get("releases")["items"]] == [2, 1]


def test_a_run_that_has_no_room_in_memory_says_so_and_leaves_nothing(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "_MEMORY", disk)
    folder = RunDir("mark-1", tmp_path / "runs")
    inventory = {"_meta": {"hostvars": {"web1": {"note": "x" * 20_000}}}}
    with full(disk):
        with pytest.raises(PlugfleetError, match=r"No space left.*no host was visited") as told:
            folder.make(inventory)
        assert str(disk) in told.value.hint
        assert [file.name for file in disk.iterdir()] == ["filler"]
    folder.make(inventory)
    assert "x" * 20_000 in folder.inventory.read_text()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_deployment_under_way_on_a_disk_that_fills_up_ends_with_true_states(
    api: Api, fleet: Fleet, disk: Path
) -> None:
    fleet.publish()
    fleet.hosts(["a", "b"], seconds=1)
    deployment = api.send("POST", "deployments", 202, json={})["id"]
    eventually(20, lambda: len(runs_alive(mark(1, api.context.settings.database))) > 3)
    with full(disk):
        # What the database has in reserve goes to others.
        eventually(10, lambda: large_host(api, f"x{time.monotonic_ns()}").status_code == 503)
        time.sleep(1.5)  # the hosts are through by now, and the run waits to write that
        assert api.get(f"deployments/{deployment}")["status"] == "running"
    view = ended(api, deployment)
    assert (view["status"], view["hosts"]) == ("succeeded", {"ok": 2})
    assert {name: row["status"] for name, row in results(api, deployment).items()} == {
        "a": "ok",
        "b": "ok",
    }
