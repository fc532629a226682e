"""Hosts and a release, for reports about them."""

from __future__ import annotations

import pytest

from controller.catalog.models import ReleaseRow
from tests.controller.server import Api


@pytest.fixture
def fleet(api: Api) -> Api:
    """A controller with three hosts and release 3."""
    with api.context.database.write() as session:
        session.add(ReleaseRow(number=3, commit="a" * 40, tree="b" * 40))
    for name in ("web1", "web2", "db1"):
        api.send("POST", "hosts", 201, json={"name": name})
    return api
