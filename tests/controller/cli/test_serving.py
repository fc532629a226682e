"""`plugfleet serve`, `init` and `secrets rotate` together; what serves is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from controller.auth.vault import new_key
from tests.controller.cli.conftest import Command

ROOT = Path(__file__).resolve().parents[3]
SERVE = [sys.executable, "-m", "controller.cli", "serve", "--port", "0", "--json"]


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    monkeypatch.setenv("PLUGFLEET_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that `init` is to make."""
    file = tmp_path / "controller.toml"
    monkeypatch.setenv("PLUGFLEET_CONFIG", str(file))
    return file


@contextmanager
def serving() -> Iterator[tuple[Any, Any]]:
    """A controller, and what it printed when it was ready."""
    process = subprocess.Popen(
        SERVE, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    with process.stdout:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, "it ends in good order"


def test_the_first_start_prints_an_admin_token_and_no_other_start_does(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as (_, first):
        monkeypatch.setenv("PLUGFLEET_TOKEN", first["token"])
        assert "0 hosts" in command("--url", first["url"], "status").out
        found = command("--url", first["url"], "token", "current", "--json").json()
        assert (found["name"], found["scope"]) == ("admin", "admin")
    with serving() as (_, second):
        assert second["token"] is None


def test_a_second_controller_on_one_data_folder_is_told_so() -> None:
    with serving() as (process, _):
        other = subprocess.run(SERVE, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert other.returncode == 3 and other.stdout == ""
        assert "another controller" in other.stderr and "Traceback" not in other.stderr
        assert process.poll() is None


def test_a_port_that_is_taken_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Logging belongs to the tests' process.
    monkeypatch.setattr("controller.operations.logs.configure", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = command("serve", "--port", port, code=2)
    assert f"port {port}" in run.err and "PLUGFLEET_PORT" in run.err


@pytest.mark.usefixtures("new_file")
def test_init_makes_a_controller_that_serve_finds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLUGFLEET_DATA_DIR")
    data = tmp_path / "elsewhere"
    made = command("init", "--data-dir", data, "--token", "--json").json()
    assert (data / "plugfleet.db").exists() and made["token"].startswith("pf_")
    for file in (tmp_path / "controller.toml", data / "secret.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("PLUGFLEET_TOKEN", made["token"])
    with serving() as (_, first):
        assert first["token"] is None
        command("--url", first["url"], "status")


@pytest.mark.usefixtures("new_file")
def test_init_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    command("init")
    kept = {file: file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file()}
    assert "is there already" in command("init", code=2).err
    other = tmp_path / "other.toml"
    assert "holds a controller's data" in command("init", "--config", other, code=2).err
    assert kept == {file: file.read_bytes() for file in kept}
    assert not other.exists()


@pytest.mark.usefixtures("new_file")
def test_init_that_fails_can_be_repeated(command: Command, tmp_path: Path) -> None:
    command("init", "--database-url", "sqlite:////no/such/folder/x.db", code=3)
    command("init")
    assert "no/such" not in (tmp_path / "controller.toml").read_text()


def test_init_says_where_it_cannot_write(command: Command) -> None:
    run = command("init", "--config", "/proc/plugfleet/x.toml", code=2)
    assert "cannot write" in run.err and "PLUGFLEET_CONFIG" in run.err


@pytest.mark.usefixtures("new_file")
def test_keys_are_rotated_step_by_step(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = command("init", "--token", "--json").json()
    monkeypatch.setenv("PLUGFLEET_TOKEN", made["token"])
    body = {"name": "web1", "secrets": {"ansible_password": "s3cret"}}
    headers = {"Authorization": f"Bearer {made['token']}"}
    keys = tmp_path / "data" / "secret.key"
    old = keys.read_text().split()
    with serving() as (_, first):
        hosts = f"{first['url']}/api/v1/hosts"
        answer = httpx2.post(hosts, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        command("init", "--new-key")
        assert keys.read_text().split()[1:] == old
        others = ("hostgroups", "bindings", "binding_overrides", "sources")
        assert command("secrets", "rotate", "--drop-old", "--json").json() == {
            "sealed": {"hosts": 1} | dict.fromkeys(others, 0),
            "dropped_keys": 1,
        }
        assert len(keys.read_text().split()) == 1 and keys.read_text().split() != old
        # The controller that runs reads what others sealed, and seals what others can read.
        body = {"secrets": {"ansible_become_password": "s3cret too"}}
        answer = httpx2.patch(f"{hosts}/web1", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    with serving() as (_, second):
        host = command("--url", second["url"], "host", "show", "web1", "--json").json()
    assert host["secrets"] == ["ansible_become_password", "ansible_password"]


@pytest.mark.usefixtures("new_file")
def test_a_key_in_a_variable_is_rotated_by_hand(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_SECRET_KEY", new_key())
    command("init")
    made = command("init", "--new-key", "--json").json()
    monkeypatch.setenv("PLUGFLEET_SECRET_KEY", f"{made['key']},{new_key()}")
    assert (
        "cannot change PLUGFLEET_SECRET_KEY"
        in command("secrets", "rotate", "--drop-old", code=2).err
    )
    assert "0 secrets" in command("secrets", "rotate").out


@pytest.mark.parametrize(
    "words", [("init", "--new-key"), ("secrets", "rotate"), ("token", "rescue")]
)
def test_keys_of_a_controller_that_is_not_there_are_not_made(
    command: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert "there is no key file" in command(*words, code=2).err
    assert not (tmp_path / "data").exists()
