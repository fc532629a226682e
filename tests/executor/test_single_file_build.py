"""One file, the same bytes each time, light, and it imports nothing but the standard library."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from executor import config, diagnosis, routes
from executor.build import build
from tests.executor.harness import PYTHON, REPOSITORY, Host

HEAVY = {
    "argparse", "asyncio", "dataclasses", "email", "hashlib", "http", "inspect", "logging",
    "pathlib", "random", "shutil", "ssl", "subprocess", "tempfile", "threading", "typing",
    "urllib", "uuid",
}  # fmt: skip


def test_the_archive_is_the_same_whatever_the_clock_and_the_umask(tmp_path: Path) -> None:
    sums = set()
    for number, umask in enumerate((0o022, 0o077)):
        old = os.umask(umask)
        try:
            target = tmp_path / f"{number}.pyz"
            build(str(target))
        finally:
            os.umask(old)
        sums.add(hashlib.sha256(target.read_bytes()).hexdigest())
        assert target.stat().st_mode & 0o777 == 0o755
    assert len(sums) == 1


def test_it_runs_by_itself_from_anywhere(pyz: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(pyz), "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "plugfleet-executor 0.1.0\n"


def test_the_daemon_loads_no_heavy_module_and_nothing_of_the_controller(pyz: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(pyz)!r}); import executor.cli, executor.daemon, json;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([PYTHON, "-IS", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & HEAVY == set()
    assert loaded & {"controller", "yaml", "ansible"} == set()


def test_idle_memory_stays_below_16_mb(host: Host) -> None:
    host.start()
    host.get("/health")
    # A debug build or another allocator would need more; the bar is for the interpreters of hosts.
    assert host.rss_kb() < 16 * 1024, sys.version


def test_every_endpoint_and_option_is_in_the_reference() -> None:
    text = (REPOSITORY / "docs" / "executor.md").read_text()
    source = Path(routes.__file__).read_text()
    for path in [
        line.split('"')[1] for line in source.splitlines() if line.strip().startswith('"/')
    ]:
        assert f"`{path}`" in text or f"GET {path}" in text, path
    for section, key, _kind, _default in config._FIELDS:
        assert f"`{section}.{key}`" in text if section else f"`{key}`" in text, (section, key)
    states = [value for name, value in vars(diagnosis).items() if name.isupper() and name[0] != "_"]
    for state in states:
        assert f"`{state}`" in text, state
