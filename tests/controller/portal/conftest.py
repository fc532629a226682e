"""A portal beside a controller that is set to keep in step with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.controller.portal import falconplus
from tests.controller.portal.falconplus import FalconPlus
from tests.controller.server import Api

Sync = Callable[..., Any]


@pytest.fixture
def portal(api: Api) -> Iterator[FalconPlus]:
    """A portal that the controller of `api` is set to."""
    with falconplus.serving() as served:
        settings = api.context.settings
        settings.portal_url, settings.portal_token = served.url, falconplus.TOKEN
        yield served


@pytest.fixture
def sync(api: Api, portal: FalconPlus) -> Sync:
    """Carries out a sync: `sync("to-portal", dry_run=True)`; its report."""

    def run(direction: str = "to-portal", status: int = 200, **wanted: Any) -> Any:
        return api.send("POST", "portal/sync", status, json={"direction": direction, **wanted})

    return run


def told(report: Any) -> list[tuple[str, ...]]:
    """The steps of a report, short."""
    return [
        (step["action"], step["kind"], step["hostgroup"], *step["names"])
        for step in report["steps"]
    ]
