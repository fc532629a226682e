"""A postExtract by itself: what it may not keep, and what holds it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import landlock, postextract

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python code as a postExtract, in a process of its own: (exit code, output)."""
    folder, home = tmp_path / "copy", tmp_path / "home"
    folder.mkdir()

    def run_it(code: str, most: int = 1 << 20, seconds: float = 10.0) -> tuple[int, str]:
        (folder / "code.py").write_text(textwrap.dedent(code))
        output = tmp_path / "output"
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                os.setpgid(0, 0)
                fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(fd, 1)
                os.dup2(fd, 2)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                limits = postextract.Limits(seconds, most)
                argv = [sys.executable, "-IS", "code.py"]
                status = postextract.run(argv, str(folder), str(home), dict(os.environ), limits)
                sys.stderr.flush()
            finally:
                os._exit(status)
        _pid, waited = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(waited), output.read_text()

    return run_it


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postextract, "_DISK_LOOK_SECONDS", 0.1)


def test_files_that_it_removed_and_holds_open_count(run: Run) -> None:
    code, said = run(
        """
        import os, time
        held = []
        for _ in range(4):
            held.append(open("t", "wb"))
            held[-1].write(b"x" * 900_000)
            held[-1].flush()
            os.unlink("t")
        time.sleep(8)
        """
    )
    assert (code, said) == (
        postextract.LIMIT_CODE, "postExtract wrote more than 1048576 bytes and was killed\n",
    )  # fmt: skip


def test_it_ends_before_the_disk_is_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [10 << 30, 200 << 20]
    monkeypatch.setattr(postextract, "_free", lambda _folder: room.pop(0) if room[1:] else room[0])
    code, said = run("import time\ntime.sleep(8)\n")
    assert code == postextract.LIMIT_CODE and "less than 268435456 bytes left" in said


def test_an_almost_full_disk_may_be_filled_by_half(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postextract, "_free", lambda _folder: 100 << 20)
    assert run("import time\ntime.sleep(0.4)\n") == (0, "")


def test_its_orphans_are_collected_and_what_nobody_collects_counts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postextract, "MAX_PROCESSES", 20)
    orphans = """
        import os, time
        for _ in range(30):
            if not os.fork():
                if os.fork():
                    os._exit(0)
                os._exit(0)
            os.wait()
            time.sleep(0.01)
        time.sleep(0.3)
        """
    assert run(orphans) == (0, "")
    code, said = run(orphans.replace("            os.wait()\n", ""))
    assert code == postextract.LIMIT_CODE and "more than 20 processes" in said


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0, ["no Landlock", "only the unit's sandbox"]),
        (2, ["ABI 2 refuses writing, making and removing", "truncating files and changing modes"]),
        (3, ["ABI 3 refuses writing, truncating, making", "; changing modes there"]),
    ],
)
def test_what_holds_it_is_said_by_the_kernels_version(version: int, words: list[str]) -> None:
    said = landlock.protection(version)
    assert all(word in said for word in words), said
