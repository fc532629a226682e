"""What holds for every test: the fleet's fixtures, and that each test has an id of its own."""

import pytest

pytest_plugins = ["tests.fleet.fixtures", "tests.awx.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests of one node id: pytest-xdist takes them for one, and leaves the others out."""
    if len({item.nodeid for item in items}) < len(items):
        raise pytest.UsageError("two tests have the same node id: only one of them would be run")
