"""Hosts and a release, for reports about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.catalog.models import ReleaseRow
from controller.schedules.models import Schedule
from tests.controller.reports.node import Node
from tests.controller.server import Api

_NIGHTLY = "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"


@pytest.fixture
def fleet(api: Api) -> Api:
    """A controller with three hosts and release 3."""
    with api.context.database.write() as session:
        session.add(ReleaseRow(number=3, commit="a" * 40, tree="b" * 40))
    for name in ("web1", "web2", "db1"):
        api.send("POST", "hosts", 201, json={"name": name})
    return api


@pytest.fixture
def node(api: Api, tmp_path: Path) -> Iterator[Node]:
    """A controller with two hosts, a release and bindings, none of it deployed."""
    made = Node(api, tmp_path)
    yield made
    made.close()


def in_awx(api: Api) -> dict[str, Any]:
    """A schedule of the controller's that AWX has as its own number 7; what AWX tells its jobs of it."""
    deploy = {"hosts": ["web1"]}
    spec = {"name": "nightly", "rrule": _NIGHTLY, "deploy": deploy, "enabled": False}
    api.send("POST", "schedules", 201, json=spec)
    with api.context.database.write() as session:
        row = session.query(Schedule).one()
        row.awx_id, row.awx_url, row.awx_template = 7, "http://127.0.0.1:1", 3
    return {"id": 7, "name": "plugfleet schedule nightly"}
