"""A look at AWX whenever a test says so, and what a schedule has come to there."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.schedules.keeper import Keeper
from controller.schedules.models import Schedule
from controller.schedules.views import awx_state
from controller.settings import Settings
from tests.awx.fixtures import Awx
from tests.awx.stage import Stage
from tests.controller.schedules.conftest import Book, at

SURVEY = Path(__file__).resolve().parents[4] / "roles/awx_setup/files/surveys/deploy.json"
NOON = "2029-12-31 12:00"


class Kept:
    """Schedules, and the AWX that is to have them."""

    def __init__(self, book: Book, stage: Stage, settings: Settings) -> None:
        self.book = book
        self.stage = stage
        self.settings = settings
        self.moment = at(NOON)

    def keep(self, settings: Settings | None = None) -> Schedule | None:
        """Look at AWX; returns the row of `nightly`, or None where it is gone."""
        self.moment += timedelta(seconds=30)
        Keeper(settings or self.settings, self.book.database).keep(self.moment)
        with self.book.database.read() as session:
            return session.query(Schedule).filter_by(name="nightly").one_or_none()

    def state(self) -> str:
        """How AWX is in step, once it was looked at."""
        row = self.keep()
        assert row is not None
        return awx_state(row)

    @property
    def there(self) -> list[dict[str, Any]]:
        """AWX's schedules."""
        path = f"job_templates/{self.stage.template}/schedules/"
        found: list[dict[str, Any]] = self.stage.awx.get(path)["results"]
        return found

    def only(self) -> dict[str, Any]:
        """AWX's one schedule."""
        [one] = self.there
        return one

    def send(self, method: str, number: int, status: int, **values: Any) -> None:
        """What somebody does to a schedule in AWX."""
        self.stage.awx.send(method, f"schedules/{number}/", status, json=values)


@pytest.fixture
def stage(awx: Awx) -> Stage:
    """An AWX with the job template that awx-setup makes for deployments."""
    stage = Stage(awx, ["web1", "db1"])
    path = f"job_templates/{stage.template}/survey_spec/"
    awx.send("POST", path, 200, json=json.loads(SURVEY.read_text()))
    stage.change(survey_enabled=True, ask_variables_on_launch=False, ask_forks_on_launch=False)
    return stage


@pytest.fixture
def settings(settings: Settings, stage: Stage) -> Settings:
    token = stage.awx.limited_token({f"job_templates/{stage.template}": "Execute"})
    given = {
        "awx_url": stage.awx.url,
        "awx_token": token,
        "awx_schedule_template": stage.name,
    }
    return settings.model_copy(update=given)


@pytest.fixture
def kept(book: Book, stage: Stage, settings: Settings) -> Kept:
    return Kept(book, stage, settings)
