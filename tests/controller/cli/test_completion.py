"""Completion of names: from the controller at once, or silence."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.controller.cli.conftest import Command


def complete(command: Command, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    """What bash is told for a line that is being typed."""
    monkeypatch.setenv("_PLUGFLEET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    found = command().out
    monkeypatch.delenv("_PLUGFLEET_COMPLETE")
    return found


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_names_come_from_the_controller(
    plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("web1", "web2", "db1"):
        plugfleet("host", "add", name)
    plugfleet("group", "add", "front")
    assert complete(plugfleet, monkeypatch, "plugfleet host show we").split() == ["web1", "web2"]
    assert complete(plugfleet, monkeypatch, "plugfleet deploy --group f").split() == ["front"]
    assert "import" in complete(plugfleet, monkeypatch, "plugfleet host im")


def test_a_controller_that_does_not_answer_is_not_waited_for(
    command: Command, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    for url in (silent_server, "http://127.0.0.1:1", "nonsense"):
        monkeypatch.setenv("PLUGFLEET_URL", url)
        began = time.monotonic()
        assert complete(command, monkeypatch, "plugfleet host show we").strip() == ""
        assert time.monotonic() - began < 2
