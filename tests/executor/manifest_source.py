"""Manifest plugins as their authors would commit them."""

from __future__ import annotations

import json
from typing import Any

from tests.executor.harness import Host

MANIFEST: dict[str, Any] = {
    "description": "test",
    "command": "python3 main.py",
    "metrics": ["TEST_VALUE", "TEST_OTHER"],
    "paramSchema": [
        {"title": "Host", "name": "host", "type": "string", "default": "localhost"},
        {"title": "Secret", "name": "secret", "type": "password"},
    ],
}

LOOPS = "import time\nwhile True:\n    print('TEST_VALUE 1')\n    time.sleep(0.2)\n"


def install(host: Host, code: str, name: str = "check", **fields: Any) -> None:
    """A plugin `name` in the host's tree: `fields` over MANIFEST, and `code` as its main.py."""
    folder = host.root / "plugin" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.json").write_text(json.dumps(dict(MANIFEST, **fields)))
    (folder / "main.py").write_text(code)


def copy_of(host: Host, name: str = "check") -> Any:
    """Its working copy's path."""
    return host.root / "state" / "manifest" / name


def detail(host: Host, name: str = "check") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.get(f"/plugins/detail?plugin={name}"))["data"][name]
    return found
