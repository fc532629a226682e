"""The executor's program file, built once for a deployment."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from executor.build import build
from roles.plugin_sync.control.plan import Program


def executor_program() -> Program:
    """Build the executor; the same sources always give the same bytes."""
    with tempfile.TemporaryDirectory(prefix="plugfleet-executor-") as scratch:
        path = Path(scratch, "executor.pyz")
        build(str(path))
        content = path.read_bytes()
    return Program(content, hashlib.sha256(content).hexdigest())
