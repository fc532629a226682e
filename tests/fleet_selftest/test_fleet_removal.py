"""Nothing is left behind, whoever dies when; and nothing else is touched."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet import GitServer, LoopbackFleet, NamespaceFleet, cgroups, ledger, procs, removal

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from pathlib import Path
from tests import fleet
made = getattr(fleet, sys.argv[1])(2, Path(sys.argv[2]))
for host in made:
    host.ssh("setsid sleep 3000 >/dev/null 2>&1 </dev/null &")
Path(sys.argv[2]).with_name("ready").touch()
time.sleep(3000)
"""


def traces_of(name: str) -> list[str]:
    """All that a fleet called `name` still has on this machine."""
    found = [f"process {p.pid}" for p in procs.marked(removal.MARKER, name)]
    found += [str(path) for path in removal.NETNS.glob(f"*{name}*")]
    for hierarchy in cgroups.hierarchies():
        found += [str(path) for path in hierarchy.here.glob(f"*{name}*")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line]
    found += [str(path) for path in ledger.registry().glob(f"*{name}*")]
    return found


@contextmanager
def owning(kind: str, folder: Path) -> Iterator[str]:
    """The id of a fleet, with daemons on its hosts, whose owner is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, kind, str(folder)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert procs.wait_until((folder.parent / "ready").exists, 120)
        yield records_of(process.pid)[0]
    finally:
        process.kill()
        process.wait()


def records_of(pid: int) -> list[str]:
    """The ids of the fleets that process `pid` owns."""
    owners = {place.name: ledger.owner_of(place) for place in ledger.registry().iterdir()}
    return [name.lstrip(".") for name, owner in owners.items() if owner and owner["pid"] == pid]


KINDS = [
    "LoopbackFleet",
    pytest.param("NamespaceFleet", marks=pytest.mark.fleet_root),
    pytest.param("SystemdFleet", marks=pytest.mark.fleet_root),
]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_9_the_next_start_removes_everything(kind: str, tmp_path: Path) -> None:
    before = sleeping()
    with owning(kind, tmp_path / "dead") as name:
        assert procs.wait_until(lambda: len(set(sleeping()) - set(before)) == 2, 10)
        sleepers = set(sleeping()) - set(before)
    assert traces_of(name)
    with LoopbackFleet(1, tmp_path / "next"):
        # Or a fleet that another test begins at this moment removes it.
        assert procs.wait_until(lambda: traces_of(name) == [], 30), traces_of(name)
    assert not (tmp_path / "dead").exists()
    assert [process for process in sleepers if procs.alive(process)] == []


def sleeping() -> list[procs.Process]:
    """The daemons that `OWNER` started."""
    found = []
    for status in procs.everyone():
        line = Path(f"/proc/{status.process.pid}/cmdline")
        try:
            if line.read_bytes() == b"sleep\x003000\x00":
                found.append(status.process)
        except OSError:
            continue
    return found


def test_a_living_owners_fleet_is_not_swept(tmp_path: Path) -> None:
    with owning("LoopbackFleet", tmp_path / "living") as name:
        assert name not in ledger.sweep()
        argv = ["ssh", "-F", str(tmp_path / "living/ssh_config"), "h1", "echo well"]
        said = subprocess.run(argv, capture_output=True, timeout=20, check=False)
        assert said.stdout == b"well\n"
    assert name in ledger.sweep()


@pytest.mark.fleet_root
@pytest.mark.parametrize("wait", [0.0, 0.03, 0.08, 0.15, 0.25])
def test_an_owner_killed_while_it_starts_a_fleet_leaves_nothing(
    tmp_path: Path, wait: float
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, "NamespaceFleet", str(tmp_path / "dead")],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert procs.wait_until(lambda: bool(records_of(owner.pid)), 20, pause=0.002)
        time.sleep(wait)
        names = records_of(owner.pid)
    finally:
        owner.kill()
        owner.wait()
    ledger.sweep()
    assert [trace for name in names for trace in traces_of(name)] == []
    assert not (tmp_path / "dead").exists()


@pytest.mark.fleet_root
def test_closing_a_fleet_leaves_nothing(tmp_path: Path) -> None:
    with NamespaceFleet(2, tmp_path / "fleet") as fleet:
        name = fleet.ledger.id
        fleet["n1"].fill_disk("/var/lib/full", 65_536)
        fleet["n2"].ssh(
            "mkdir -p /a/b && chmod 0 /a; setsid sleep 300 >/dev/null 2>&1 </dev/null &"
        )
        assert len(traces_of(name)) > 4
    assert traces_of(name) == []
    assert not (tmp_path / "fleet").exists()


def test_a_folder_that_was_given_to_another_is_not_deleted(tmp_path: Path) -> None:
    record = ledger.Ledger("test", tmp_path / "folder")
    folder = record.folder(tmp_path / "folder")
    (folder / removal.SIGN).write_text("somebody else")
    (folder / "precious").touch()
    record.close()
    assert (folder / "precious").exists()


def test_an_owner_whose_pid_was_given_away_counts_as_dead(tmp_path: Path) -> None:
    record = ledger.Ledger("test", tmp_path / "folder")
    folder = record.folder(tmp_path / "folder")
    owner = json.loads((record.place / "owner.json").read_text())
    assert ledger.owner_lives(owner)
    (record.place / "owner.json").write_text(json.dumps({**owner, "start": owner["start"] + 1}))
    assert record.id in ledger.sweep()
    assert not folder.exists()


def test_a_recorded_pid_that_was_given_away_is_not_killed(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        found = procs.identify(bystander.pid)
        assert found is not None
        record = ledger.Ledger("test", tmp_path / "folder")
        record.made("process", [found.pid, found.start - 1])
        record.close()
        assert bystander.poll() is None
        assert not procs.send(found._replace(start=found.start - 1), signal.SIGKILL)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_record_that_a_kill_9_cut_short_is_read_up_to_the_cut(tmp_path: Path) -> None:
    record = ledger.Ledger("test", tmp_path / "folder")
    record.folder(tmp_path / "folder")
    with (record.place / "made.jsonl").open("a") as file:
        file.write('["cgroup", "/sys/fs/cg')
    record.close()
    assert not (tmp_path / "folder").exists()


def test_a_record_whose_owner_was_killed_while_it_wrote_its_name_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = ledger.registry() / f".{secrets.token_hex(6)}"
    draft.mkdir()
    (draft / "owner.json").touch()
    ledger.sweep()
    assert draft.exists()  # its owner may be about to write
    monkeypatch.setattr(ledger, "DRAFT_SECONDS", 0.0)
    ledger.sweep()
    assert not draft.exists()


def test_what_cannot_be_removed_is_said_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = ledger.Ledger("test", tmp_path / "folder")
    with monkeypatch.context() as patch:
        patch.setattr(
            ledger, "owner_lives", lambda owner: owner["folder"] != str(tmp_path / "folder")
        )
        patch.setattr(removal, "remove", lambda things, place: ["process 1 (it does not die)"])
        assert ledger.sweep() == []
        said = capsys.readouterr().err
    assert f"{record.id}: could not remove process 1 (it does not die)" in said
    record.close()
    assert not record.place.exists()


def test_a_git_server_is_removed_with_its_owner(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "a.git")], check=True)
    with GitServer({"a": tmp_path / "a.git"}, tmp_path / "server") as server:
        name = server.ledger.id
        assert traces_of(name)
    assert traces_of(name) == []
    assert not (tmp_path / "server").exists()
    assert (tmp_path / "a.git/HEAD").exists()
