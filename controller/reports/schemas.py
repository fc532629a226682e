"""What a report of a control node's run looks like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from controller.web.fields import HostName

_MOST_HOSTS = 20_000
# What programs on a host said is kept, not judged: the service takes out what cannot be stored.
Said = Annotated[str, Field(max_length=1_000_000)]


class StepReport(BaseModel):
    """One step of a visit."""

    model_config = ConfigDict(extra="ignore")

    step: Annotated[str, Field(max_length=100)]
    changed: bool = False
    failed: bool = False
    msg: Said = ""
    code: Annotated[str, Field(max_length=100)] = ""
    seconds: Annotated[float | None, Field(ge=0, le=1e9, allow_inf_nan=False)] = None


class DiffReport(BaseModel):
    """How one file changed, or would."""

    model_config = ConfigDict(extra="ignore")

    before_header: Said = ""
    after_header: Said = ""
    before: Said = ""
    after: Said = ""


class HostReport(BaseModel):
    """What the run came to on one host."""

    model_config = ConfigDict(extra="forbid")

    host: HostName
    status: Literal["ok", "changed", "failed", "unreachable"]
    message: Said = ""
    plan: Annotated[
        str,
        Field(
            pattern=r"^([0-9a-f]{64})?$",
            description="Digest of the plan that it was brought to: `plugfleet_plan` of the inventory.",
        ),
    ] = ""
    warnings: Annotated[list[Said], Field(max_length=1000)] = []
    steps: Annotated[list[StepReport], Field(max_length=100)] = []
    diff: Annotated[list[DiffReport], Field(max_length=1000)] = []
    plugins: Annotated[
        list[tuple[Said, Said, Said]] | None,
        Field(
            max_length=1000,
            description="What its agent said of each bound plugin: key, state, reason. null: it was not asked.",
        ),
    ] = None


class BegunBy(BaseModel):
    """The schedule of AWX's that began a job."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[int, Field(ge=1, le=2**31 - 1, description="The job's `awx_schedule_id`.")]
    name: Annotated[str, Field(max_length=512, description="The job's `awx_schedule_name`.")]


class Report(BaseModel):
    """What a run of `ansible-playbook` with the controller's inventory came to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "release": 12,
                    "hosts": [{"host": "web1", "status": "changed", "plan": "0" * 64}],
                }
            ]
        },
    )

    release: Annotated[
        int, Field(ge=1, le=2**31 - 1, description="Number of the release that the hosts got.")
    ]
    check: Annotated[bool, Field(description="The run only looked.")] = False
    started: Annotated[AwareDatetime | None, Field(description="When the run began.")] = None
    awx_schedule: Annotated[
        BegunBy | None,
        Field(
            description="Which of AWX's schedules began the run. Where the controller has it there, the deployment "
            "is that schedule's; any other says nothing."
        ),
    ] = None
    hosts: Annotated[list[HostReport], Field(min_length=1, max_length=_MOST_HOSTS)]

    @field_validator("hosts")
    @classmethod
    def _each_once(cls, hosts: list[HostReport]) -> list[HostReport]:
        if len({host.host for host in hosts}) < len(hosts):
            raise ValueError("names a host twice")
        return hosts


class ReportTaken(BaseModel):
    """That a report was recorded."""

    deployment: Annotated[int, Field(description="The deployment that it was recorded as.")]
    hosts: Annotated[int, Field(description="How many of its hosts were recorded.")]
    unknown: Annotated[
        list[str], Field(description="Hosts that the controller does not know; left out.")
    ]
