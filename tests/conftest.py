"""What holds for every test: the fleet's fixtures, and that each test has an id of its own."""

import pytest
from _pytest.nodeid import coerce_node_id

pytest_plugins = ["tests.fleet.fixtures", "tests.awx.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of schemathesis' tests the node id that its name asks for.

    They all have the same one, and pytest-xdist takes tests of one id for one: 66 of 67 were left out.
    """
    for item in items:
        if not item.nodeid.endswith(item.name):
            path = item.nodeid.rpartition("::")[0]
            item._id = coerce_node_id(f"{path}::{item.name}")  # there is no public way
    if len({item.nodeid for item in items}) < len(items):
        raise pytest.UsageError("two tests have the same node id: only one of them would be run")
