"""The `plugfleet` command in the tests' own process, speaking to a real controller."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from controller.cli import main
from tests.controller.server import Api


@dataclass(frozen=True)
class Run:
    """What a command came to."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output, which must be JSON and nothing else."""
        return json.loads(self.out)


Command = Callable[..., Run]
# The tree of all commands is the same each time, and building it takes longer than most commands.
_commands_of = cache(typer.main.get_command)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs the command with no controller set: `command("lint", DIR)`; `code=2` is what it must end with."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("PLUGFLEET_URL", "PLUGFLEET_TOKEN", "PLUGFLEET_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(typer.main, "get_command", _commands_of)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets one of its own

    def run(*words: object, code: int = 0, given: str = "") -> Run:
        monkeypatch.setattr(sys, "argv", ["plugfleet", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        found = Run(int(ended.value.code or 0), out, err)
        assert found.code == code, f"{words}: {found}"
        assert "Traceback" not in found.err
        return found

    return run


@pytest.fixture
def plugfleet(api: Api, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command against a controller, as an admin."""
    monkeypatch.setenv("PLUGFLEET_URL", api.url)
    monkeypatch.setenv("PLUGFLEET_TOKEN", api.token)
    return command
