"""A fleet with a release that has manifest plugins."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.controller.bindings.httpcheck import PASSWORD, PORT, TOKENS, URL, manifest
from tests.controller.server import Api
from tests.controller.sources import SourceRepository, publish

MakeSource = Callable[..., SourceRepository]


@pytest.fixture
def source(make_source: MakeSource) -> SourceRepository:
    """Manifest plugins of several items, of one, and for no host of ours; a check, and a step script."""
    found = make_source()
    for folder, text_ in (
        ("httpcheck", manifest(URL, PORT, PASSWORD, TOKENS)),
        ("mysql", manifest({**URL, "required": False}, PASSWORD, several=False)),
    ):
        found.write(f"{folder}/plugin.json", text_, 0o644)
        found.write(f"{folder}/check.sh", "#!/bin/sh\n")
    meter = {"command": "boundary-meter init.lua", "unsupportedPlatforms": [{"osFamily": "Linux"}]}
    found.write("meter/plugin.json", json.dumps(json.loads(manifest(URL)) | meter), 0o644)
    found.write("checks/check_disk", "#!/bin/sh\n")
    found.commit()
    return found


@pytest.fixture
def watched(api: Api, source: SourceRepository) -> Api:
    """w1 in web and db, f1 with an Open-Falcon agent in falcon, and a release."""
    for name in ("web", "db", "falcon", "empty"):
        api.send("POST", "hostgroups", 201, json={"name": name})
    api.send("POST", "hosts", 201, json={"name": "w1", "hostgroups": ["web", "db"]})
    body = {"name": "f1", "agent_kind": "falcon", "hostgroups": ["falcon"]}
    api.send("POST", "hosts", 201, json=body)
    publish(api, source, force=True)
    return api
