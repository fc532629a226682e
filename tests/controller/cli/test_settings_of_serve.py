"""`plugfleet serve` with settings that cannot be: named, with what to do, and no stack trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.operations import logs
from tests.controller.cli.conftest import Command


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "controller.toml").touch()
    monkeypatch.setenv("PLUGFLEET_CONFIG", str(tmp_path / "controller.toml"))
    monkeypatch.setenv("PLUGFLEET_DATA_DIR", str(tmp_path / "data"))
    # Logging belongs to the tests' process.
    monkeypatch.setattr(logs, "configure", lambda *_: None)


@pytest.mark.parametrize(
    ("setting", "value", "code", "says"),
    [
        ("PORT", "x", 2, "port:"),
        ("FORKS", "0", 2, "forks:"),
        ("LOG_LEVEL", "loud", 2, "log_level:"),
        ("DATA_DIR", "/proc/plugfleet", 2, "/proc/plugfleet"),
        ("SECRET_KEY", "short", 2, "secret key"),
        ("DATABASE_URL", "mysql://user:hidden@host/x", 2, "database_url is not a URL"),
        ("DATABASE_URL", "nonsense", 2, "database_url is not a URL"),
        ("DATABASE_URL", "sqlite:////no/such/folder/x.db", 3, "database cannot be opened"),
        ("DATABASE_URL", "postgresql+psycopg://u:hidden@127.0.0.1:1/x", 3, "refused"),
        ("HOST", "no.such.host.invalid", 2, "cannot listen on no.such.host.invalid"),
        ("HOST", "192.0.2.1", 2, "cannot listen on 192.0.2.1"),
        ("CONFIG", "/etc/passwd", 2, "/etc/passwd is not TOML"),
        ("CONFIG", "/etc", 2, "/etc is no settings file"),
    ],
)
def test_settings_that_cannot_be_are_named(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv(f"PLUGFLEET_{setting}", value)
    run = command("serve", code=code)
    assert says in run.err and "hidden" not in run.err
    assert run.out == ""


def test_a_setting_that_nobody_knows_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "controller.toml").write_text("portt = 1\n")
    assert "portt: there is no such setting" in command("serve", code=2).err


def test_a_key_file_that_others_can_read_is_refused(command: Command, tmp_path: Path) -> None:
    keys = tmp_path / "data" / "secret.key"
    keys.parent.mkdir()
    keys.write_text("x")
    keys.chmod(0o644)
    run = command("serve", code=2)
    assert "can be read by others" in run.err and "chmod 600" in run.err


def test_a_settings_file_that_is_named_must_be_there(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("serve",), ("secrets", "rotate"), ("token", "rescue")):
        run = command(*words, "--config", "/no/such", code=2)
        assert "there is no settings file /no/such" in run.err
        monkeypatch.setenv("PLUGFLEET_CONFIG", "/no/such/one")
        assert "there is no settings file /no/such/one" in command(*words, code=2).err
    assert not (tmp_path / "data").exists(), "nothing was begun with the defaults"
