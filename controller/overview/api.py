"""The route of the overview."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from controller.deployments.models import Status
from controller.fleet.models import HostState
from controller.overview.service import overview
from controller.web.deps import Reading, Viewer
from controller.web.problems import answers

router = APIRouter(prefix="/overview", tags=["overview"])


class NewestRelease(BaseModel):
    """The newest release."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    commit: str
    by: str
    created: datetime


class OverviewView(BaseModel):
    """The fleet in a few numbers."""

    model_config = ConfigDict(from_attributes=True)

    hosts: Annotated[
        dict[HostState, int],
        Field(description="Hosts by state.", examples=[{"converged": 940, "failed": 2}]),
    ]
    behind: Annotated[int, Field(description="Hosts that do not report the newest release.")]
    release: Annotated[
        NewestRelease | None, Field(description="The newest release; null before the first.")
    ]
    deployments: Annotated[
        dict[Status, int], Field(description="Deployments that have not ended, by status.")
    ]


@router.get(
    "",
    summary="Show the fleet at a glance",
    description="A limited token's numbers are those of its hostgroups' hosts.",
    responses=answers(401, 403),
)
def show_overview(by: Viewer, session: Reading) -> OverviewView:
    return OverviewView.model_validate(overview(session, by))
