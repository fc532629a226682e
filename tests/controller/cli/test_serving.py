"""`plugfleet serve`, `init` and `secrets rotate`, as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[3]
CLI = [sys.executable, "-m", "controller.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a machine where nothing of plugfleet is configured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLUGFLEET_")}
    return kept | {
        "PLUGFLEET_CONFIG": str(tmp_path / "controller.toml"),
        "PLUGFLEET_DATA_DIR": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "150",
    }


def run(
    environment: Mapping[str, str], *words: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command, which must end with `code` and without a stack trace."""
    done = subprocess.run(
        [*CLI, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr + done.stdout
    return done


@contextmanager
def serving(environment: Mapping[str, str], *words: str) -> Iterator[tuple[Any, Any]]:
    """A controller, and the first line that it printed, as JSON."""
    process = subprocess.Popen(
        [*CLI, "serve", "--port", "0", "--json", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
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
    environment: dict[str, str],
) -> None:
    with serving(environment) as (_, first):
        headers = {"Authorization": f"Bearer {first['token']}"}
        with httpx2.Client(base_url=first["url"], headers=headers, timeout=30) as client:
            assert client.get("/api/v1/tokens/current").json()["scope"] == "admin"
            assert client.get("/readyz").status_code == 200
        done = run(
            environment | {"PLUGFLEET_TOKEN": first["token"]}, "--url", first["url"], "status"
        )
        assert "0 hosts" in done.stdout
    with serving(environment) as (_, second):
        assert second["token"] is None


def test_a_second_controller_on_one_data_folder_is_told_so(environment: dict[str, str]) -> None:
    with serving(environment) as (process, _):
        done = run(environment, "serve", "--port", "0", code=3)
        assert done.stderr.splitlines()[-1].strip()
        assert process.poll() is None


def test_a_port_that_is_taken_is_named(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(environment, "serve", "--port", port, code=2)
    assert f"port {port}" in done.stderr and "PLUGFLEET_PORT" in done.stderr


def test_init_makes_a_controller_that_serve_finds(
    environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["PLUGFLEET_DATA_DIR"]
    data = tmp_path / "elsewhere"
    done = run(environment, "init", "--data-dir", str(data), "--token", "--json")
    made = json.loads(done.stdout)
    assert (data / "plugfleet.db").exists() and made["token"].startswith("pf_")
    for file in (tmp_path / "controller.toml", data / "secret.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with serving(environment) as (_, first):
        assert first["token"] is None
        run(environment | {"PLUGFLEET_TOKEN": made["token"]}, "--url", first["url"], "status")


def test_init_overwrites_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    run(environment, "init")
    kept = {file: file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file()}
    assert "is there already" in run(environment, "init", code=2).stderr
    other = str(tmp_path / "other.toml")
    assert "holds a controller's data" in run(environment, "init", "--config", other, code=2).stderr
    assert kept == {file: file.read_bytes() for file in kept}
    assert not Path(other).exists()


def test_init_that_fails_can_be_repeated(environment: dict[str, str], tmp_path: Path) -> None:
    broken = "sqlite:////no/such/folder/x.db"
    run(environment, "init", "--database-url", broken, code=3)
    run(environment, "init")
    file = tmp_path / "controller.toml"
    assert "no/such" not in file.read_text()


def test_keys_are_rotated_in_three_steps(environment: dict[str, str], tmp_path: Path) -> None:
    made = json.loads(run(environment, "init", "--token", "--json").stdout)
    signed_in = environment | {"PLUGFLEET_TOKEN": made["token"]}
    body = {"name": "web1", "secrets": {"ansible_password": "s3cret"}}
    headers = {"Authorization": f"Bearer {made['token']}"}
    with serving(environment) as (_, first):
        answer = httpx2.post(f"{first['url']}/api/v1/hosts", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
    keys = tmp_path / "data" / "secret.key"
    old = keys.read_text().split()
    run(environment, "init", "--new-key")
    assert keys.read_text().split()[1:] == old
    assert json.loads(run(environment, "secrets", "rotate", "--drop-old", "--json").stdout) == {
        "sealed": {"hosts": 1, "hostgroups": 0, "bindings": 0, "sources": 0},
        "dropped_keys": 1,
    }
    assert len(keys.read_text().split()) == 1 and keys.read_text().split() != old
    with serving(environment) as (_, second):
        done = run(signed_in, "--url", second["url"], "host", "show", "web1", "--json")
        assert json.loads(done.stdout)["secrets"] == ["ansible_password"]


@pytest.mark.parametrize("words", [("init", "--new-key"), ("secrets", "rotate")])
def test_keys_of_a_controller_that_is_not_there_are_not_made(
    environment: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert "there is no key file" in run(environment, *words, code=2).stderr
    assert not (tmp_path / "data").exists()
