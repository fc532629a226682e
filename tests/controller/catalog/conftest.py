"""A catalog to publish in."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.catalog.publish import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """An empty catalog."""
    return Catalog(tmp_path / "catalog")
