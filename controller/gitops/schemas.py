"""What the document looks like, and the plan of its changes.

A thing that the document names is described whole: a field that is left out is empty. Two are not
the document's to clear, as they come from elsewhere: secrets, and members by name where `members` is
left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.bindings.schemas import Config, Format, Plugin, Step
from controller.catalog.schemas import SourcePath, SourceRef, SourceSubdir, SourceUrl
from controller.fleet.schemas import LabelRule
from controller.schedules.schemas import ScheduleName, ScheduleSpec
from controller.web.fields import HostgroupName, HostName, Line, Name, Text, Variables

_MOST = 10_000  # hostgroups, sources, or bindings of a hostgroup
_NAMES_ONLY = "Names of secrets, for readers: they are set elsewhere and stay as they are."


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceSpec(_Described):
    """A source as it is to be; its credentials stay."""

    url: SourceUrl
    path: SourcePath = ""
    ref: SourceRef = "HEAD"
    subdir: SourceSubdir = ""


class BindingSpec(_Described):
    """A binding as it is to be."""

    plugin: Plugin
    config: Config | None = None
    secrets: Annotated[list[Line], Field(max_length=100, description=_NAMES_ONLY)] = []
    format: Format = ""
    step: Step = 0


class OverrideSpec(_Described):
    """What one host is to have otherwise of a plugin's configuration."""

    config: Config = {}
    secrets: Annotated[list[Line], Field(max_length=100, description=_NAMES_ONLY)] = []


class HostgroupSpec(_Described):
    """A hostgroup as it is to be."""

    description: Text = ""
    rule: LabelRule = ""
    variables: Variables = {}
    secrets: Annotated[list[Line], Field(max_length=100, description=_NAMES_ONLY)] = []
    members: Annotated[
        list[HostName] | None,
        Field(max_length=20_000, description="Hosts that are members by name; null leaves them."),
    ] = None
    bindings: Annotated[
        list[Plugin | BindingSpec],
        Field(max_length=_MOST, examples=[["sys/ntp", {"plugin": "httpcheck", "config": {}}]]),
    ] = []


class Configuration(_Described):
    """Sources, hostgroups, bindings, overrides and schedules; a section that is left out (null) is left alone."""

    sources: Annotated[dict[Name, SourceSpec] | None, Field(max_length=_MOST)] = None
    hostgroups: Annotated[
        dict[HostgroupName | Literal["all"], HostgroupSpec] | None,
        Field(max_length=_MOST, examples=[{"web": {"rule": "role=web", "bindings": ["sys/ntp"]}}]),
    ] = None
    overrides: Annotated[
        dict[HostName, dict[Plugin, OverrideSpec]] | None,
        Field(
            max_length=_MOST,
            description="What single hosts have otherwise, by plugin.",
            examples=[{"web1": {"httpcheck": {"config": {"pollInterval": 5000}}}}],
        ),
    ] = None
    schedules: Annotated[
        dict[ScheduleName, ScheduleSpec] | None,
        Field(
            max_length=_MOST,
            description="Deployments that begin by themselves. One that is made or changed has the rights of "
            "whoever applies the document.",
            examples=[
                {
                    "nightly": {
                        "rrule": "DTSTART:20300101T020000Z RRULE:FREQ=DAILY;INTERVAL=1",
                        "deploy": {"hostgroups": ["web"]},
                    }
                }
            ],
        ),
    ] = None


class FieldChange(BaseModel):
    """One field that differs."""

    field: str
    before: Any
    after: Any


class Change(BaseModel):
    """One thing that differs from the document."""

    action: Literal["create", "change", "delete"]
    kind: Literal["source", "hostgroup", "members", "binding", "override", "schedule"]
    name: Annotated[str, Field(examples=["web", "web: sys/ntp"])]
    fields: list[FieldChange] = []


class ConfigurationPlan(BaseModel):
    """What applying a document changes, or changed."""

    changes: list[Change]
    not_named: Annotated[
        list[str], Field(description="What the document does not name; `prune` would delete it.")
    ]
    notes: Annotated[list[str], Field(description="What a person has to see to.")]
    applied: Annotated[bool, Field(description="Whether the changes were made.")]
