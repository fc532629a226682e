"""What exit codes and messages a script can rely on, whatever goes wrong."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.auth.models import Scope
from tests.controller.cli.conftest import Command
from tests.controller.server import Api


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class _SomethingElse(http.server.BaseHTTPRequestHandler):
    """Answers as a server that is no controller."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        status = {"html": 200, "redirect": 302, "gateway": 502, "json": 200}[kind]
        self.send_response(status)
        if kind == "redirect":
            self.send_header("Location", "https://login.example.com/")
        self.end_headers()
        self.wfile.write(b'{"items": []' if kind == "json" else b"<html>welcome</html>")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def something_else() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SomethingElse) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_controller_that_is_not_there_is_3(command: Command, closed_port: str) -> None:
    run = command("--url", closed_port, "token", "list", "--json", code=3)
    assert f"{closed_port} cannot be reached" in run.err and "PLUGFLEET_URL" in run.err
    assert run.out == ""


@pytest.mark.parametrize("kind", ["html", "redirect", "gateway", "json"])
def test_something_that_is_no_controller_is_3(
    command: Command, something_else: str, kind: str
) -> None:
    run = command("--url", f"{something_else}/{kind}", "token", "list", code=3)
    assert "is no plugfleet controller" in run.err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_token_is_4_and_says_where_to_put_one(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLUGFLEET_TOKEN")
    assert "PLUGFLEET_TOKEN" in plugfleet("token", "list", code=4).err
    monkeypatch.setenv("PLUGFLEET_TOKEN", "pf_" + "x" * 43)
    assert "not valid" in plugfleet("token", "list", code=4).err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_too_weak_a_token_is_4_and_says_what_is_needed(
    api: Api, plugfleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_TOKEN", api.token_of(Scope.VIEWER))
    assert "needs admin" in plugfleet("token", "list", code=4).err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--url", "controller:8700", "status"), "is not one"),
        (("--url", "http://[", "status"), "is not one"),
        (("host", "add", "web1", "--label", "role"), "write it as NAME=VALUE"),
        (("host", "add", "web1", "--var", "=x"), "write it as NAME=VALUE"),
        (("host", "add", "web1", "--label", "a=1", "--label", "a=2"), "given twice"),
        (("host", "change", "web1"), "nothing to change"),
        (("host", "show", ""), "is no name"),
        (("host", "show", ".."), "is no name"),
        (("host", "import", "/no/such.csv"), "cannot read /no/such.csv"),
        (("host", "import", "hosts.txt"), "say --format"),
        (("host", "list", "--state", "tired"), "tired"),
        (("apply", "/no/such.yml"), "cannot read /no/such.yml"),
        (("deploy", "--hosts", ","), "names no host"),
        (("deploy", "show", "x"), "integer"),
        (("bind", "add", "web", "p", "--config", "/no/such"), "cannot read /no/such"),
        (("lint", "/no/such/dir"), "cannot read /no/such/dir"),
        (("nonsense",), "nonsense"),
        (("host", "add", "web1", "--secret", "ansible_password"), "no value for the secret"),
    ],
)  # fmt: skip
def test_wrong_use_is_2_before_anything_is_sent(
    command: Command, closed_port: str, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PLUGFLEET_URL", closed_port)
    run = command(*words, code=2)
    assert says in run.err and run.out == ""


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ('token = "pf_x"', 0o644, "can be read by others"),
        ("token = pf_x", 0o600, "is not TOML"),
        ('tokken = "x"', 0o600, "'tokken'"),
        ("token = 7", 0o600, "'token'"),
        ('url = "\xff"', 0o600, "cannot read"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(
    command: Command, tmp_path: Path, text: str, mode: int, says: str
) -> None:
    file = tmp_path / "config" / "plugfleet" / "cli.toml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    file.chmod(mode)
    run = command("status", code=2)
    assert str(file) in run.err and says in run.err


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_file_says_where_the_controller_is(
    api: Api, plugfleet: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLUGFLEET_URL")
    monkeypatch.delenv("PLUGFLEET_TOKEN")
    file = tmp_path / "config" / "plugfleet" / "cli.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'url = "{api.url}/"\ntoken = "{api.token}"\n')
    file.chmod(0o600)
    assert plugfleet("token", "current", "--json").json()["name"] == "admin"
