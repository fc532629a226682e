"""Backup and restore, as docs/controller.md has it: a copy of a running controller answers like the original."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from controller.app import open_context
from controller.catalog.releases import history
from controller.operations.backup import BackupError, back_up
from controller.settings import Settings
from tests.controller.server import Api, serving
from tests.deploy.deployment import Source

ASKED = (
    "hosts",
    "hostgroups",
    "sources",
    "bindings",
    "releases",
    "audit",
    "plans/web1",
    "inventory",
)


@pytest.fixture
def filled(api: Api, tmp_path: Path) -> Api:
    """A controller with something of everything."""
    source = Source(tmp_path / "source")
    source.write("sys/disk/60_disk.sh", "#!/bin/sh\necho '[]'\n")
    source.commit()
    api.send("POST", "hostgroups", 201, json={"name": "web"})
    secret = {"name": "web1", "hostgroups": ["web"], "secrets": {"ansible_password": "hunter22"}}
    api.send("POST", "hosts", 201, json=secret)
    api.send("POST", "sources", 201, json={"name": "plugins", "url": str(source.path)})
    api.send("POST", "releases", 201, json={})
    api.send("POST", "bindings", 201, json={"hostgroup": "web", "plugin": "sys/disk"})
    return api


@pytest.fixture
def restored_url(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Callable[[Path], str]:
    """Restores the backup's database; gives the URL of what it is in now."""

    def restore(backup: Path) -> str:
        if database_url.startswith("sqlite"):
            return ""  # the file in the data folder
        server = request.getfixturevalue("postgresql_server")
        name = server.create()
        request.addfinalizer(lambda: server.drop(name))
        url = str(server.url(name))
        place = make_url(url).set(drivername="postgresql").render_as_string()
        command = ["pg_restore", "--exit-on-error", "--no-owner", f"--dbname={place}"]
        subprocess.run([*command, str(backup / "plugfleet.dump")], check=True)
        return url

    return restore


def answers(api: Api, token: str) -> dict[str, Any]:
    client = api.connect(token)
    found = {path: client.get(path).json() for path in ASKED}
    found["secrets"] = client.get("inventory", params={"secrets": "true"}).json()["_meta"]
    # Where it is reached is the one thing that differs.
    found["inventory"]["all"]["vars"].pop("plugin_source_controller")
    return found


def test_a_restored_controller_answers_like_the_one_that_was_backed_up(
    filled: Api, restored_url: Callable[[Path], str], tmp_path: Path
) -> None:
    before = answers(filled, filled.token)
    back_up(filled.context.settings, tmp_path / "backup", with_key=True)
    url = restored_url(tmp_path / "backup")
    data = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "backup", data)
    context = open_context(Settings(data_dir=data, database_url=url))
    assert history(context.catalog.repository) == history(filled.context.catalog.repository)
    with serving(context, token=filled.token) as restored:
        assert answers(restored, filled.token) == before
        # It goes on from there: the tree is in the deploy line, so bindings are held against it.
        again = restored.send("POST", "bindings", 422, json={"hostgroup": "web", "plugin": "nope"})
        assert "nope" in again["detail"]


# With PostgreSQL this is pg_dump's own promise.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_is_consistent_while_others_write(filled: Api, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            filled.send("POST", "hosts", 201, json={"name": f"h{number}", "hostgroups": ["web"]})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            back_up(filled.context.settings, tmp_path / f"b{number}", with_key=False)
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        with sqlite3.connect(tmp_path / f"b{number}/plugfleet.db") as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            [hosts] = copy.execute("SELECT count(*) FROM hosts").fetchone()
            [members] = copy.execute("SELECT count(*) FROM memberships").fetchone()
            assert hosts == members
        copy.close()


def test_a_backup_is_its_owners_alone_and_has_the_key_only_if_asked(
    filled: Api, tmp_path: Path
) -> None:
    back_up(filled.context.settings, tmp_path / "backup", with_key=False)
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "backup/secret.key").exists()


def test_a_backup_that_cannot_be_made_leaves_nothing(filled: Api, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(BackupError, match="there already"):
        back_up(filled.context.settings, tmp_path / "taken", with_key=False)
    shutil.rmtree(filled.context.settings.catalog_dir / "deploy.git/objects")
    with pytest.raises(BackupError, match="the deploy line could not be copied"):
        back_up(filled.context.settings, tmp_path / "backup", with_key=False)
    assert not list(tmp_path.glob("backup*"))


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGFLEET_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    done = subprocess.run(
        [sys.executable, "-m", "controller.operations.backup", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("backup: there is no database")
