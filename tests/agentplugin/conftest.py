"""Plugin trees on disk for the tests of agentplugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SH = "#!/bin/sh\necho '[]'\n"


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tree: text or bytes with mode 0755, (content, mode), or "-> target" for a link."""

    def write(files: Mapping[str, object], top: str = "tree") -> Path:
        root = tmp_path / top
        root.mkdir(exist_ok=True)
        for path, given in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            content, mode = given if isinstance(given, tuple) else (given, 0o755)
            if isinstance(content, str) and content.startswith("-> "):
                os.symlink(content[3:], target)
                continue
            assert isinstance(content, (str, bytes))
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            target.chmod(mode)
        return root

    return write
