"""How AWX is found and logged in to: where it has its API and its pages, by a token or by a user's password."""

from __future__ import annotations

import pytest

from controller.awx import addresses
from tests.awx.stage import Stage
from tests.controller.awx.conftest import Play

pytestmark = pytest.mark.awx_stand_in
_AWX, _PLATFORM = "https://awx.example.com", "https://aap.example.com/api/controller"


@pytest.mark.parametrize(
    ("url", "api", "job", "schedule"),
    [
        (
            _AWX,
            f"{_AWX}/api/v2/",
            f"{_AWX}/#/jobs/playbook/7",
            f"{_AWX}/#/templates/job_template/3/schedules/5",
        ),
        (
            _PLATFORM,
            f"{_PLATFORM}/v2/",
            "https://aap.example.com/execution/jobs/playbook/7/output",
            "https://aap.example.com/execution/templates/job-template/3/schedules/5/details",
        ),
    ],
)
def test_api_and_pages_are_where_awx_or_a_gateway_has_them(
    url: str, api: str, job: str, schedule: str
) -> None:
    assert addresses.api(url) == api
    assert addresses.job_page(url, 7) == job
    assert addresses.schedule_page(url, 3, 5) == schedule


def test_awx_without_tokens_takes_a_users_password(stage: Stage, play: Play) -> None:
    stage.stand_in.awx.rights.has_tokens = False
    refused = play("a").end()
    assert "newer than 24.6.1 has no tokens: set awx_user" in refused.outcomes["a"].message
    password = stage.stand_in.password
    played = play("a", awx_user="admin", awx_token=password).end()
    assert played.statuses == {"a": "changed"}
    assert password not in repr(played)


def test_awx_behind_a_gateway_is_found_where_that_has_it(stage: Stage, play: Play) -> None:
    stage.stand_in.awx.behind_gateway = True
    refused = play("a").end()
    assert "awx_url must end with /api/controller" in refused.outcomes["a"].message
    played = play("a", awx_url=f"{stage.awx.url}/api/controller/v2/").end()
    assert played.statuses == {"a": "changed"}
    [page] = {e.data["url"] for e in played.events if e.kind == "wave.job"}
    assert page == f"{stage.awx.url}/execution/jobs/playbook/{played.saved[-1].jobs[0].id}/output"
