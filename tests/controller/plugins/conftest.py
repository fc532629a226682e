"""A small catalogue: step scripts, and a manifest plugin with all that one can have."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.controller.sources import SourceRepository

# 1 by 1 pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MANIFEST: dict[str, Any] = {
    "name": "HTTP check",
    "description": "Asks servers whether they answer",
    "version": "0.9.0_2",
    "tags": "http,Web",
    "icon": "icon.png",
    "command": "python3 check.py",
    "metrics": ["HTTP_TIME", "HTTP_OK"],
    "paramArray": {"itemTitle": ["url"], "schemaTitle": "Server"},
    "paramSchema": [
        {"title": "URL", "name": "url", "type": "string", "required": True},
        {"title": "Password", "name": "password", "type": "password"},
    ],
    "dashboards": [{"name": "HTTP", "layout": "d-w=1&d-h=1&d-g-HTTP_TIME=0-0-1-1"}],
    "unsupportedPlatforms": [{"osFamily": "Windows"}],
}
METRICS = {
    "result": [
        {
            "name": "HTTP_TIME",
            "description": "How long it took",
            "displayName": "Time",
            "unit": "duration",
            "defaultAggregate": "AVG",
        }
    ]
}


def write_http_check(source: SourceRepository, folder: str, **changes: Any) -> None:
    """Put the manifest plugin into a folder of a source, or "" for its top."""
    top = f"{folder}/" if folder else ""
    source.write(f"{top}plugin.json", json.dumps(MANIFEST | changes), 0o644)
    source.write(f"{top}metrics.json", json.dumps(METRICS), 0o644)
    source.write(f"{top}icon.png", PNG, 0o644)
    source.write(f"{top}check.py", "print('HTTP_OK 1')\n", 0o644)
    source.write(f"{top}README.md", "# HTTP <b>check</b>\n", 0o644)


@pytest.fixture
def png() -> bytes:
    """The icon."""
    return PNG
