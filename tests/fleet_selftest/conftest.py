"""The fleet's own tests need its fixtures, however pytest was started."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Loads the fleet's plugin unless the project's configuration did."""
    if not config.pluginmanager.has_plugin("tests.fleet.fixtures"):
        config.pluginmanager.import_plugin("tests.fleet.fixtures")
