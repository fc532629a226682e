"""What keeps a run on another machine: it ends with the controller that it works for, and clears up after others."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.deployments.engines import keeper as keepers
from controller.deployments.engines.remote import _BOOT, _MODULES, _source
from controller.deployments.processes import VARIABLE, marked
from tests.controller.deployments.conftest import eventually

_MARK = "r0-keepertest"
# As ansible-runner would: it reads what it is sent, and starts a process that leaves its group.
_RUNNER = """\
#!/bin/sh
head -c 3 > /dev/null
setsid sleep 60 &
echo '{"host": "a"}' >> "$PLUGFLEET_JOURNAL"
exec sleep 60
"""


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    file = tmp_path / "runner"
    file.write_text(_RUNNER)
    file.chmod(0o700)
    return file


@pytest.fixture
def keeper(runner: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A keeper as it is started by ssh, which may go on for a second."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    now = time.monotonic()
    given = {
        "modules": [(name, _source(name)) for name in _MODULES],
        "mark": _MARK,
        "runner": str(runner),
        "releases": 0,
        "stream": 3,
        "now": now,
        "until": now + 1,
        "patience": 0.1,
    }
    assert process.stdin
    process.stdin.write(json.dumps(given).encode() + b"\nabc")
    yield process
    process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe
        pipe.close()


def _at_work() -> list[int]:
    return marked(_MARK, idle=True)


def _folders() -> list[Path]:
    return list(Path("/dev/shm").glob(f"plugfleet-remote-*-{_MARK}"))


def test_silence_ends_the_run_and_leaves_nothing(keeper: subprocess.Popen[bytes]) -> None:
    eventually(10, lambda: len(_at_work()) >= 3)
    began = time.monotonic()
    assert keeper.wait(10) == 1
    assert time.monotonic() - began < 5
    assert (_at_work(), _folders()) == ([], [])
    assert keeper.stderr
    told = [json.loads(line) for line in keeper.stderr.read().splitlines()]
    assert {"journal": '{"host": "a"}'} in told, "what the run began is known"


def test_a_word_keeps_it_going_and_the_end_of_words_ends_it(
    keeper: subprocess.Popen[bytes],
) -> None:
    assert keeper.stdin
    keeper.stdin.write(b"%r\n" % (time.monotonic() + 60))
    time.sleep(1.5)
    assert keeper.poll() is None and _at_work()
    keeper.stdin.close()
    assert keeper.wait(10) == 1
    assert (_at_work(), _folders()) == ([], [])


def test_what_a_killed_keeper_left_is_removed_by_the_next(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = tmp_path / f"plugfleet-remote-{gone.pid}-7-{_MARK}"
    before = tmp_path / f"plugfleet-remote-{os.getpid()}-7-{_MARK}"  # its pid is another's now
    living = tmp_path / f"plugfleet-remote-{os.getpid()}-{keepers._birth(os.getpid())}-other"
    for folder in (left, before, living):
        folder.mkdir()
        (folder / "secret").write_text("x")
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, VARIABLE: _MARK})
    keepers._sweep(tmp_path)
    assert orphan.wait(10) == -9
    assert not left.exists() and not before.exists() and living.exists()


def test_a_stream_that_takes_long_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keepers.Keeper({**_given(3), "until": 5})
    keeper._until = 0.0  # long ago
    monkeypatch.setattr(keepers.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"abc")))
    keeper._obey(io.BytesIO())
    assert keeper._until > time.monotonic() + 4


@pytest.mark.parametrize(("arrives", "handed_on"), [(1.0, b"abc"), (0.5, b"")])
def test_releases_are_unpacked_before_the_worker_gets_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: float, handed_on: bytes
) -> None:
    (tmp_path / "deploy.git").mkdir()
    (tmp_path / "deploy.git/pack").write_bytes(os.urandom(100_000))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tmp_path / "deploy.git", "catalog/deploy.git")
    sent = packed.getvalue() + b"abc"
    monkeypatch.setattr(keepers, "_bases", lambda: [tmp_path])
    keeper = keepers.Keeper({**_given(3), "releases": len(sent) - 3})
    keeper._make()
    stream = io.BytesIO(sent[: int(len(sent) * arrives)])
    monkeypatch.setattr(keepers.sys, "stdin", SimpleNamespace(buffer=stream))
    worker = io.BytesIO()
    keeper._obey(worker)
    assert worker.getvalue() == handed_on
    assert keeper._alone.is_set()
    unpacked = keeper._folder / "releases/catalog/deploy.git/pack"
    whole = (tmp_path / "deploy.git/pack").read_bytes()
    assert (unpacked.read_bytes() == whole) is bool(handed_on)


def _given(needed: int) -> dict[str, object]:
    return {"mark": _MARK, "runner": "runner", "releases": 0, "stream": needed,
            "now": 0, "until": 0}  # fmt: skip


def test_a_run_for_which_memory_is_too_small_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, other = tmp_path / "memory", tmp_path / "other"
    memory.mkdir()
    other.mkdir()
    free = {memory: 1000, other: 10**9}
    monkeypatch.setattr(keepers, "_bases", lambda: [memory, other])
    monkeypatch.setattr(
        keepers.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[Path(path)])
    )
    keeper = keepers.Keeper(_given(1000))
    keeper._make()
    assert (list(memory.iterdir()), keeper._folder.parent) == ([], other)
    assert keeper._journal.parent == keeper._folder


def test_no_room_at_all_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keepers, "_bases", lambda: [tmp_path])
    monkeypatch.setattr(keepers.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(keepers, "carry", lambda mark: None)
    monkeypatch.setattr(keepers.os, "umask", lambda mask: mask)
    monkeypatch.setattr(keepers.signal, "signal", lambda *given: None)
    assert keepers.Keeper(_given(1000)).keep() == 1
    said = f"there is no room for a run in {tmp_path}: 1000 bytes are free, 6000 may be needed"
    assert json.loads(capsys.readouterr().err) == {"said": said}
    assert list(tmp_path.iterdir()) == []
