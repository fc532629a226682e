"""What requests and answers about deployments look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from controller.deployments.engines.jobs import addresses
from controller.deployments.models import HostStatus, Status
from controller.web.fields import AnyHostgroup, HostName


class DeploymentRequest(BaseModel):
    """Which hosts to bring to their plan, and how."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"hostgroups": ["web"], "batch_size": 50, "max_lost": 2}]},
    )

    hosts: Annotated[list[HostName], Field(max_length=20_000, description="These hosts.")] = []
    hostgroups: Annotated[
        list[AnyHostgroup],
        Field(max_length=1000, description="Every host of these; with no hosts either: all hosts."),
    ] = []
    all: Annotated[bool, Field(description="Visit hosts too that report their plan already.")] = (
        False
    )
    check: Annotated[
        bool, Field(description="Look and tell what would change; change nothing.")
    ] = False
    batch_size: Annotated[
        int, Field(ge=0, le=100_000, description="Hosts of a wave; 0 puts all into one.")
    ] = 0
    conflict: Annotated[
        Literal["wait", "refuse"],
        Field(description="What to do where another deployment holds one of the hosts."),
    ] = "wait"
    max_lost: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="Waves go on while no more hosts than this failed or were unreachable.",
        ),
    ] = 0


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


Counts = Annotated[
    dict[HostStatus, int],
    Field(description="How many hosts there are of each status.", examples=[{"changed": 40}]),
]


class WaveView(_View):
    """One wave: the hosts that one run visits."""

    number: int
    status: Status
    reason: str
    exit_status: Annotated[int | None, Field(description="Of ansible-playbook.")]
    started: datetime | None
    ended: datetime | None
    hosts: Counts = {}
    jobs: Annotated[list[str], Field(description="Addresses of its jobs, where AWX plays.")] = []

    @field_validator("jobs", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        return addresses(value) if isinstance(value, dict | None) else value


class DeploymentSummary(_View):
    """A deployment, as a list shows it."""

    id: int
    status: Status
    reason: Annotated[str, Field(description="Why it failed, ended early, or still waits.")]
    release: Annotated[int, Field(description="Number of the release that its hosts get.")]
    check: bool
    by: Annotated[str, Field(description="Name of the token that asked for it.")]
    retry_of: int | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    hosts: Counts = {}


class DeploymentView(DeploymentSummary):
    """A deployment with its waves."""

    request: Annotated[dict[str, Any], Field(description="What was asked for.")]
    waves: list[WaveView] = []


class StepView(BaseModel):
    """One step of a visit."""

    step: str
    changed: bool = False
    failed: bool = False
    msg: str = ""
    code: str = ""
    seconds: Annotated[float | None, Field(description="How long it took.")] = None


class DiffView(BaseModel):
    """How one file changed, or would."""

    before_header: str = ""
    after_header: str = ""
    before: str = ""
    after: str = ""
    prepared: str = ""


class HostResultView(_View):
    """What a deployment came to on one host."""

    host: str
    wave: Annotated[int, Field(description="Number of its wave; 0 where it was not to be visited.")]
    status: HostStatus
    message: str
    warnings: list[str]
    steps: list[StepView]
    diff: list[DiffView]
    plan: Annotated[str, Field(description="Digest of the plan that it was to be brought to.")]
    ended: datetime | None


class EventView(BaseModel):
    """One event of a deployment."""

    id: Annotated[int, Field(description="What a reader resumes after.")]
    wave: int
    counter: Annotated[int, Field(description="ansible-runner's number within the wave, or 0.")]
    at: datetime
    kind: Annotated[str, Field(examples=["host.ended", "runner_on_failed"])]
    host: str
    data: dict[str, Any]


class EventsView(BaseModel):
    """Events in their order."""

    items: list[EventView]
    last: Annotated[int, Field(description="`after` of the next request.")]
    ended: Annotated[bool, Field(description="Whether the deployment ended and this is its tail.")]
