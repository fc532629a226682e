"""What requests and answers about schedules look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.deployments.models import Status
from controller.deployments.schemas import DeploymentRequest
from controller.schedules.models import Missed, Outcome, Overlap, Place
from controller.schedules.rules import LONGEST
from controller.web.fields import Line, Name

_RULE = "DTSTART;TZID=Europe/London:20261122T020000 RRULE:FREQ=DAILY;INTERVAL=1"
_MOST_GRACE = 7 * 24 * 3600
_MOST_DESCRIPTION = 1000

Rrule = Annotated[
    str,
    Field(
        max_length=LONGEST,
        description="When, as AWX has it: DTSTART with a time zone or a Z, and an RRULE with INTERVAL (RFC 5545).",
        examples=[_RULE],
    ),
]
ScheduleName = Annotated[Name, StringConstraints(max_length=80)]
Description = Annotated[Line, Field(max_length=_MOST_DESCRIPTION, description="For people.")]
Enabled = Annotated[bool, Field(description="Whether turns are taken.")]
WhenMissed = Annotated[
    Missed | None,
    Field(
        description="What becomes of turns that fell due while no controller ran: `skip` (the default), or `once` "
        "for the last of them. AWX has its own way, so that it must be null there."
    ),
]
Grace = Annotated[
    int | None,
    Field(
        ge=60,
        le=_MOST_GRACE,
        description="With `once`: seconds that a turn may begin late; an hour if left out.",
    ),
]
WhenOverlapping = Annotated[
    Overlap | None,
    Field(
        description="What becomes of a turn while the deployment of the one before goes on: `skip` (the default), "
        "or `wait` for it. AWX always waits, so that it must not be `skip` there."
    ),
]
RunsIn = Annotated[
    Place,
    Field(description="Who takes the turns: the controller, or AWX by a schedule of its own."),
]
Deploys = Annotated[
    DeploymentRequest,
    Field(description="What to deploy, as POST /deployments takes it; empty is every host."),
]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deploy: Deploys = DeploymentRequest()
    description: Description = ""
    enabled: Enabled = True
    missed: WhenMissed = None
    grace: Grace = None
    overlap: WhenOverlapping = None
    runs_in: RunsIn = Place.CONTROLLER


class ScheduleSpec(_Given):
    """A schedule as it is to be."""

    rrule: Rrule


class ScheduleCreate(ScheduleSpec):
    """A schedule to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "nightly", "rrule": _RULE, "deploy": {"hostgroups": ["web"]}}]
        }
    )

    name: ScheduleName


class SchedulePatch(_Given):
    """What to change of a schedule; what is not named stays."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"enabled": False}, {"runs_in": "awx"}]}
    )

    rrule: Rrule = ""


class PreviewRequest(BaseModel):
    """A rule to try."""

    model_config = ConfigDict(extra="forbid")

    rrule: Rrule
    count: Annotated[int, Field(ge=1, le=100, description="How many times to tell.")] = 10


class PreviewView(BaseModel):
    """When a rule falls due."""

    rrule: Annotated[str, Field(description="The rule as it is kept.")]
    time_zone: str
    times: Annotated[list[datetime], Field(description="The next times, in the rule's time zone.")]


class TurnView(BaseModel):
    """What came of the last turn."""

    due: Annotated[datetime, Field(description="In the schedule's time zone.")]
    at: Annotated[datetime, Field(description="When the controller dealt with it.")]
    outcome: Outcome
    reason: Annotated[str, Field(description="Why nothing was started; or empty.")]


class StartedView(BaseModel):
    """The last deployment that a schedule started."""

    id: int
    status: Status
    reason: str
    ended: datetime | None


class AwxJobView(BaseModel):
    """The newest job that a schedule began in AWX."""

    id: int
    status: Annotated[str, Field(description="As AWX has it, e.g. `running` or `successful`.")]
    finished: datetime | None
    url: Annotated[str, Field(description="Its page in AWX.")]


class AwxView(BaseModel):
    """How a schedule is in AWX."""

    state: Annotated[
        str,
        Field(
            description="`in step`, or what is still to be done and what keeps it from being done."
        ),
    ]
    url: Annotated[str | None, Field(description="Its page in AWX.")]
    job: AwxJobView | None
    corrected: Annotated[
        str, Field(description="What somebody had changed in AWX, and was set right; or empty.")
    ]


class ScheduleSummary(BaseModel):
    """A schedule, as a list shows it."""

    name: str
    description: str
    rrule: str
    enabled: bool
    runs_in: Place
    missed: Missed | None
    grace: int | None
    overlap: Overlap | None
    owner: Annotated[str, Field(description="Name of the token whose rights it has.")]
    created: datetime
    created_by: str
    updated: datetime
    removing: Annotated[bool, Field(description="It goes as soon as it is gone from AWX.")]
    next: Annotated[
        datetime | None,
        Field(description="When its next turn is, in its time zone; null where there is none."),
    ]
    over: Annotated[str, Field(description="Why there will be no turn any more; or empty.")]
    turn: TurnView | None
    deployment: StartedView | None
    awx: Annotated[AwxView | None, Field(description="Null where it has nothing to do with AWX.")]


class ScheduleView(ScheduleSummary):
    """A schedule, with what it deploys and its next times."""

    deploy: dict[str, Any]
    times: Annotated[list[datetime], Field(description="The next five times, in its time zone.")]
