"""agentplugin runs inside a daemon of a few megabytes: what it imports is held here."""

from __future__ import annotations

import ast
import subprocess
import sys

from finding_codes import PACKAGE

# What the executor loads; the rest is for the lint.
ON_HOSTS = ("bindings", "content", "manifest", "measurements", "metrics", "names", "plans")
HEAVY = ("argparse", "ast", "asyncio", "dataclasses", "email", "http", "inspect", "logging", "pathlib",
         "ssl", "subprocess", "tempfile", "typing", "urllib")  # fmt: skip


def test_modules_on_hosts_load_nothing_heavy() -> None:
    names = ", ".join(f"agentplugin.{name}" for name in ON_HOSTS)
    code = (
        f"import sys; before = set(sys.modules); import {names}; print(*set(sys.modules) - before)"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=str(PACKAGE.parent),
        stdout=subprocess.PIPE,
        check=True,
    )
    loaded = run.stdout.decode().split()
    assert "agentplugin.metrics" in loaded
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_package_imports_nothing_of_ours_and_nothing_beyond_the_standard_library() -> None:
    allowed = {"__future__", "abc", "agentplugin", "ast", "collections", "json", "math", "os", "re", "stat",
               "sys", "tempfile", "typing", "warnings"}  # fmt: skip
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and (node.module or "").split(".")[0] in allowed, file.name
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file.name
