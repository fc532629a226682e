"""Source repositories, made by real git."""

from __future__ import annotations

from typing import Any

from tests.controller.server import Api
from tests.deploy.deployment import Source

SCRIPT = '#!/bin/sh\necho \'[{"endpoint":"h","metric":"m","value":1,"step":60,'
SCRIPT += '"counterType":"GAUGE","tags":"","timestamp":1795294024}]\'\n'


class SourceRepository(Source):
    """A source whose scripts deliver one value, unless a test says otherwise."""

    def write(self, name: str, content: str | bytes = SCRIPT, mode: int = 0o755) -> None:
        """Put a file into the work tree."""
        super().write(name, content, mode)


def publish(api: Api, source: SourceRepository, **more: Any) -> Any:
    """Make a repository a controller's one source, and publish it; returns the answer."""
    if not api.get("sources")["items"]:
        body = {"name": "plugins", "url": str(source.path), "ref": "main"}
        api.send("POST", "sources", 201, json=body)
    return api.send("POST", "releases", 201, json=more)
