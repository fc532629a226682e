"""`python -m tests.fleet`, the packages it asks for, and what pytest says without root rights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet import FleetError, LoopbackFleet, __main__, debian, fixtures

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """A fleet by the command, and the inventory that it named."""
    argv = [sys.executable, "-m", "tests.fleet", "up", "--dir", str(folder), *words]
    process = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_names_the_inventory_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process, inventory = start(tmp_path / "fleet", "--hosts", "2", "--group", "web=h1,h2")
    assert inventory.read_text().endswith("[web]\nh1\nh2\n")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0 and "2 loopback hosts up in" in said
    assert not (tmp_path / "fleet").exists()


def test_down_ends_a_fleet_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process, _ = start(tmp_path / "fleet", "--hosts", "1")
    assert __main__.main(["down", "--dir", str(tmp_path / "fleet")]) == 0
    process.communicate(timeout=20)
    assert not (tmp_path / "fleet").exists()
    assert __main__.main(["down", "--dir", str(tmp_path / "fleet")]) == 1
    assert "no fleet is there" in capsys.readouterr().err


def test_down_removes_what_a_killed_owner_left(tmp_path: Path) -> None:
    process, _ = start(tmp_path / "fleet", "--hosts", "1")
    process.kill()
    process.communicate(timeout=20)
    assert (tmp_path / "fleet").exists()
    assert __main__.main(["down", "--dir", str(tmp_path / "fleet")]) == 0
    assert not (tmp_path / "fleet").exists()


def test_down_does_not_end_a_running_test_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LoopbackFleet(1, tmp_path / "fleet") as fleet:
        assert __main__.main(["down", "--dir", str(tmp_path / "fleet")]) == 1
        assert f"belongs to process {os.getpid()}" in capsys.readouterr().err
        assert fleet.hosts[0].ssh("true").returncode == 0


def test_a_fleet_that_cannot_be_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["up", "--hosts", "0", "--dir", str(tmp_path / "fleet")]) == 1
    assert capsys.readouterr().err == "tests.fleet: a fleet of 0 hosts is none: ask for 1 or more\n"


def test_a_group_with_an_unknown_host_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    process, _ = start(tmp_path / "fleet", "--hosts", "1", "--group", "web=h7")
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (
        1,
        "tests.fleet: web: no host of this fleet is called h7\n",
    )
    assert not (tmp_path / "fleet").exists()


def test_every_package_that_a_fleet_needs_is_listed_for_ci() -> None:
    listed = (ROOT / ".ci/debian-packages.txt").read_text().split()
    needed = {package for packages in debian.NEEDS.values() for package in packages}
    assert needed <= set(listed)
    assert listed == sorted(set(listed))


def test_missing_packages_are_named_with_the_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = {"openssh-server": "no-such-sshd", "git": "git", "anvil": "/no/such/file"}
    monkeypatch.setitem(debian.NEEDS, "loopback", needs)
    expected = (
        "a loopback fleet needs Debian packages. "
        "Run: apt-get install -y --no-install-recommends anvil openssh-server"
    )
    with pytest.raises(FleetError, match=expected):
        LoopbackFleet(1, tmp_path / "fleet")
    with pytest.raises(pytest.fail.Exception, match=expected):
        fixtures.started(LoopbackFleet, 1, tmp_path / "fleet")


@pytest.mark.parametrize("kind", debian.ROOT_ONLY)
def test_without_root_rights_a_fleet_of_namespaces_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FleetError, match="run this as root"):
        debian.require(kind)


def test_without_capabilities_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "missing", lambda kind: [])
    monkeypatch.setattr(debian, "_may_administer", lambda: False)
    with pytest.raises(FleetError, match="needs CAP_SYS_ADMIN"):
        debian.require("namespace")


def test_without_root_rights_pytest_deselects_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_kinds.py").write_text(
        "import pytest\n"
        "def test_free(): pass\n"
        "def test_light(namespace_fleet): pass\n"
        "def test_booted(systemd_fleet): pass\n"
        "@pytest.mark.fleet_root\n"
        "def test_marked(): pass\n"
    )
    (tmp_path / "as_user.py").write_text("import os\nos.geteuid = lambda: 1000\n")
    plugins = ["-p", "as_user", "-p", "tests.fleet.fixtures", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 3 deselected" in done.stdout
    assert done.stdout.count("they need root rights (run the same command as root)") == 2
