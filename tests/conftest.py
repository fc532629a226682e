"""What holds for every test: the fleet's fixtures, an id of its own, and the order of the files."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.fleet.fixtures", "tests.awx.fixtures"]

# Their tests wait for hosts and processes most of the time, and some of the files take minutes.
_WAITING = (
    "tests/controller/deployments/",
    "tests/controller/operations/",
    "tests/controller/test_schemathesis.py",
    "tests/deploy/",
    "tests/executor/",
)
_OVER_BY = 0.75  # of the run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests of one node id: pytest-xdist takes them for one, and leaves the others out.

    Files that wait are spread among those that compute: folder by folder the processors would have
    too much to do at first, and too little later.
    """
    if len({item.nodeid for item in items}) < len(items):
        raise pytest.UsageError("two tests have the same node id: only one of them would be run")
    files = list(dict.fromkeys(item.location[0] for item in items))
    waiting = [file for file in files if file.startswith(_WAITING)]
    others = [file for file in files if file not in waiting]
    place = {file: _OVER_BY * n / len(waiting) for n, file in enumerate(waiting)}
    place |= {file: n / len(others) for n, file in enumerate(others)}
    items.sort(key=lambda item: place[item.location[0]])
