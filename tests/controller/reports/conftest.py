"""Hosts and a release, for reports about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.catalog.models import ReleaseRow
from tests.controller.reports.node import Node
from tests.controller.server import Api


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
