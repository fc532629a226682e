"""A controller whose runs pretend, for faults that come while one is under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.settings import Settings
from controller.web.deps import Context
from tests.controller.deployments.conftest import Fleet
from tests.controller.deployments.project import make_project

LEASE = 8.0  # seconds; short, and yet not lost when the machine is busy


@pytest.fixture(scope="session")
def pretending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that visits nobody."""
    return make_project(tmp_path_factory.mktemp("pretending") / "project")


@pytest.fixture
def settings(settings: Settings, pretending: Path) -> Settings:
    return settings.model_copy(update={"project_dir": pretending, "lease": LEASE})


@pytest.fixture
def fleet(context: Context) -> Fleet:
    return Fleet(context)
