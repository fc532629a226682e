"""What the plugins' tests share: a real run of a script, by its first line as an agent does it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from plugin_certificates import Authority

from agentplugin.metrics import parse_batch

TREE = Path(__file__).resolve().parents[2] / "plugins"
HOST = "test-host"
# A machine whose name server does not answer learns that a name is none in a second, too.
QUICK_NAMES = {"RES_OPTIONS": "timeout:1 attempts:1", "LOCALDOMAIN": ""}


class Ran:
    """What came of one run; seconds is its wall time."""

    def __init__(self, code: int, stdout: bytes, stderr: str, seconds: float) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        self.seconds = seconds

    def rows(self) -> list[dict[str, Any]]:
        """The metrics, after a proof that a real agent and transfer would take every one."""
        assert self.stderr == ""
        assert self.code == 0
        batch = parse_batch(self.stdout, now=time.time())
        assert [problem.as_dict() for problem in batch.problems] == []
        rows: list[dict[str, Any]] = json.loads(self.stdout)
        assert len(batch.metrics) == len(rows) > 0
        for row in rows:
            assert row["endpoint"] == HOST
            assert abs(row["timestamp"] - time.time()) < 120
        series = [(row["metric"], row["tags"]) for row in rows]
        assert len(set(series)) == len(series), "two values for one series"
        return rows

    def values(self) -> dict[str, float]:
        """The values by metric, or by metric/tags where there are tags."""
        return {
            row["metric"] + ("/" + row["tags"] if row["tags"] else ""): row["value"]
            for row in self.rows()
        }

    def reason(self) -> str:
        """The one line that says why there is no data, after a proof that there is no data."""
        assert self.stdout == b""
        assert self.code == 1
        assert self.stderr.endswith("\n")
        (line,) = self.stderr.splitlines()
        assert "unexpected" not in line
        return line


class RunPlugin(Protocol):
    def __call__(self, path: str, *args: str, name: str = "", **env: str) -> Ran: ...


@pytest.fixture
def shims(tmp_path: Path) -> Path:
    """A folder that comes first on the PATH of a run: for commands that only pretend."""
    folder = tmp_path / "shims"
    folder.mkdir()
    # The interpreter under test, whatever version manager stands behind the machine's python3.
    (folder / "python3").symlink_to(sys.executable)
    return folder


@pytest.fixture
def run_plugin(tmp_path: Path, shims: Path) -> RunPlugin:
    """Runs a plugin of the tree, or a copy called `name`; keywords go to the environment."""

    def run(path: str, *args: str, name: str = "", **env: str) -> Ran:
        script = TREE / path
        if name:
            copy = tmp_path / name
            copy.write_bytes(script.read_bytes())
            copy.chmod(0o755)
            script = copy
        path_of_run = f"{shims}:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path_of_run, "FALCON_ENDPOINT": HOST, **QUICK_NAMES}
        started = time.monotonic()
        done = subprocess.run(
            [str(script), *args],
            cwd=tmp_path,
            env={**environment, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - started
        return Ran(done.returncode, done.stdout, done.stderr.decode(), seconds)

    return run


class Shim(Protocol):
    def __call__(self, name: str, body: str) -> Path: ...


@pytest.fixture
def shim(shims: Path) -> Shim:
    """Puts a command of the given sh body on the PATH of later runs."""

    def make(name: str, body: str) -> Path:
        path = shims / name
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def fake_proc(tmp_path: Path) -> Path:
    """A /proc of the test's own, for HOST_PROC; holds nothing yet."""
    folder = tmp_path / "proc"
    folder.mkdir()
    return folder


def put(root: Path, files: dict[str, str]) -> None:
    """Writes files below a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def write() -> Any:
    return put


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that no host knows."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener on loopback that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def refusing() -> int:
    """A port on loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
