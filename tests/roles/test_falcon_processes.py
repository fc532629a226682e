"""Whose processes are taken for the agent and for git's, before one is waited for or ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from roles.agent_config.host import restart, starting
from roles.agent_update.host import gits, loopback, process, update
from roles.plugin_sync.host import command, leftovers
from roles.plugin_sync.host.outcome import Outcome, StepFailed


@pytest.mark.parametrize(
    ("listening", "asked", "chosen"),
    [
        (["127.0.0.2", "127.0.0.1"], "127.0.0.1", "127.0.0.1"),
        (["127.0.0.2"], "127.0.0.1", None),
        (["127.0.0.2", "0.0.0.0"], "127.0.0.1", "0.0.0.0"),
        (["0.0.0.0", "127.0.0.1"], "127.0.0.1", "127.0.0.1"),
        (["127.0.0.1"], "", "127.0.0.1"),
        (["127.0.0.1"], "localhost", "127.0.0.1"),
    ],
)
def test_the_agent_is_who_listens_on_its_address_not_on_its_port_alone(
    listening: list[str], asked: str, chosen: str | None
) -> None:
    with ExitStack() as opened:
        sockets, port = listen(opened, listening)
        inode = str(os.fstat(sockets[chosen].fileno()).st_ino) if chosen else None
        assert process._inodes(asked, port) == ({inode} if inode else set())
        assert process.listener(f"{asked}:{port}") == (os.getpid() if chosen else None)


def listen(opened: ExitStack, addresses: list[str]) -> tuple[dict[str, socket.socket], int]:
    """Sockets that listen on these addresses, all at one port, and that port."""
    while True:
        with ExitStack() as own, suppress(OSError):  # one has it on another address already
            sockets, port = {}, 0
            for address in addresses:
                listener = sockets[address] = own.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.bind((address, port))
                listener.listen()
                port = listener.getsockname()[1]
            opened.enter_context(own.pop_all())
            return sockets, port


def test_addresses_are_written_as_the_kernel_does() -> None:
    assert sys.byteorder == "little", "the texts below are of such a machine"
    assert process._addresses("127.0.0.1") == [
        "0100007F", "0000000000000000FFFF00000100007F", "00000000", "0" * 32,
    ]  # fmt: skip
    assert process._addresses("::1") == ["0" * 24 + "01000000", "0" * 32]
    assert process._addresses("x" * 300) == []


AGENT: dict[str, Any] = {
    "listen": "127.0.0.1:1988", "home": "/opt/agent", "started_by": "control", "unit": "",
    "restart": "", "cfg": "/no/cfg.json",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answer", "is_it"),
    [
        ("falcon-agent", None, True),
        ("my-agent", '{"msg": "success", "data": {}}', True),
        ("my-agent", '{"msg":"success","data":null}', True),
        ("nginx", None, False),
        ("nginx", "ok", False),
        ("nginx", '["success"]', False),
        ("falcon-agent2", '{"msg": "no"}', False),
    ],
)
def test_only_what_is_an_agent_is_ended(
    monkeypatch: pytest.MonkeyPatch, name: str, answer: str | None, is_it: bool
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(process, "listener", lambda _: 4711)
    monkeypatch.setattr(process, "name_of", lambda _: name)
    monkeypatch.setattr(loopback, "get", lambda *_: answer)
    monkeypatch.setattr(starting, "_end", ended.append)
    monkeypatch.setattr(command, "start_with", lambda *_, **__: (0, ""))
    if is_it:
        assert str(starting.start(AGENT, "", "/no/log")[0]) == "./control start in /opt/agent"
        assert ended == [4711]
    else:
        with pytest.raises(StepFailed, match=rf"process 4711 \({name}\) has 127.0.0.1:1988"):
            starting.start(AGENT, "", "/no/log")
        assert ended == []
    # A command of the person's decides for itself what it ends.
    assert str(starting.way({**AGENT, "restart": "x"})) == "agent_config_restart_command 'x'"


@pytest.mark.parametrize(
    ("ran", "way", "config", "warns"),
    [
        (False, "control", {"hostname": ""}, True),
        (False, "open-falcon", {}, True),
        (False, "control", {"hostname": "web1"}, False),
        (False, "systemd", {}, False),
        (True, "control", {}, False),
    ],
)
def test_an_agent_that_is_started_with_no_name_of_its_host_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ran: bool,
    way: str,
    config: dict[str, str],
    warns: bool,
) -> None:
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    pids = iter([1] if ran else [None])
    monkeypatch.setattr(process, "listener", lambda _: next(pids, os.getpid()))
    monkeypatch.setattr(loopback, "get", lambda *_: "ok")
    monkeypatch.setattr(starting, "start", lambda *_: (starting.Way(way, "/opt/agent"), ""))
    outcome = Outcome()
    agent = {**AGENT, "cfg": str(tmp_path / "cfg.json")}
    restart.restart({"agent": agent, "user": "", "root": str(tmp_path)}, outcome)
    assert ["FALCON_ENDPOINT" in line for line in outcome.warnings] == [True] * warns


@pytest.fixture
def at_work(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """A process of the asked name, at work in the folder."""
    program = tmp_path / "bin" / request.param
    program.parent.mkdir()
    program.symlink_to(shutil.which("cat") or "")
    folder = tmp_path / "plugin"
    folder.mkdir()
    pipe = subprocess.PIPE
    with subprocess.Popen([program], cwd=folder, stdin=pipe, stdout=pipe) as running:
        assert running.stdin is not None and running.stdout is not None
        # It has its name only when it runs.
        running.stdin.write(b"\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"\n"
        yield running.pid


GITS = ["git", "git-remote-http", "git-upload-pack"]
OTHERS = ["gitea", "gitaly", "gitlab-runner", "gitstatusd", "gitk"]


@pytest.mark.parametrize(
    ("at_work", "counts"),
    [(name, True) for name in GITS] + [(name, False) for name in OTHERS],
    indirect=["at_work"],
)
def test_a_program_whose_name_begins_like_gits_is_not_waited_for(
    at_work: int, counts: bool, tmp_path: Path
) -> None:
    found = list(gits._at_work(str(tmp_path / "plugin")))
    assert (at_work in found) == counts


@pytest.mark.parametrize("at_work", ["git"], indirect=True)
@pytest.mark.parametrize(
    ("seconds", "owner", "counts"), [(1, 0, True), (11, 0, False), (1, 1, False)]
)
def test_a_git_that_may_not_be_seen_counts_while_it_is_young_and_may_write_there(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    at_work: int,
    seconds: float,
    owner: int,
    counts: bool,
) -> None:
    def unseen(path: str) -> str:
        raise PermissionError if path == f"/proc/{at_work}/cwd" else FileNotFoundError

    real = os.stat
    owners = {f"/proc/{at_work}": 1000 + owner, str(tmp_path): 1000}
    with monkeypatch.context() as here:
        here.setattr(os, "readlink", unseen)
        here.setattr(process, "age", lambda _: seconds)
        here.setattr(
            os, "stat", lambda path: _Owned(owners[path]) if path in owners else real(path)
        )
        found = list(gits._at_work(str(tmp_path)))
    assert (None in found) == counts


class _Owned:
    def __init__(self, uid: int) -> None:
        self.st_uid = uid


def test_an_answer_that_drips_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            link, _ = server.accept()
            with link:
                try:
                    while True:
                        link.sendall(b"x")
                        time.sleep(0.02)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        assert loopback.get(f"127.0.0.1:{server.getsockname()[1]}", "/health", 0.2) is None
        assert time.monotonic() - began < 5
        thread.join()


def test_what_fails_as_another_user_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "become", lambda _: lambda: None)
    command.as_user("agent", lambda: (tmp_path / "made").mkdir())
    assert (tmp_path / "made").is_dir()
    with pytest.raises(FileNotFoundError) as failed:
        command.as_user("agent", lambda: os.unlink(tmp_path / "gone"))
    assert failed.value.filename == str(tmp_path / "gone")
    with pytest.raises(OSError, match="as agent ended early"):
        command.as_user("agent", lambda: sys.exit(3))


def test_garbage_that_cannot_be_removed_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "no", path)

    (tmp_path / "objects").mkdir()
    (tmp_path / "objects/tmp_obj_1").touch()
    (tmp_path / "HEAD.lock").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    leftovers.remove_git_garbage(str(tmp_path))
    with pytest.raises(PermissionError):
        leftovers.remove_git_locks(str(tmp_path))


def test_a_log_that_has_just_gone_fails_no_update(tmp_path: Path) -> None:
    (tmp_path / "60_a.sh.stderr.log").write_text("oh")
    (tmp_path / "60_b.sh.stderr.log").symlink_to("gone")
    outcome = Outcome()
    update._mention_stderr(str(tmp_path), 0.5, outcome)
    assert outcome.warnings == ["wrote to stderr: 60_a.sh"]
