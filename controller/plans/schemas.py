"""What requests and answers about plans look like."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controller.bindings.schemas import BindingCreate
from controller.fleet.models import AgentKind, HostState
from controller.fleet.schemas import LabelRule
from controller.web.fields import AnyHostgroup, HostName


class PlanRelease(BaseModel):
    """A release by number and commit."""

    number: int
    commit: str


class ReasonView(BaseModel):
    """Why a host has a plugin: a binding of one of its hostgroups."""

    binding: Annotated[int, Field(description="The binding's id.")]
    hostgroup: str
    by_name: Annotated[bool, Field(description="The host is a member by its name.")]
    by_rule: Annotated[bool, Field(description="The host is a member by the label rule.")]


class OriginView(BaseModel):
    """Where a part of a configuration comes from."""

    place: Annotated[str, Field(description="A key, or an item.", examples=["items[0]"])]
    hostgroup: Annotated[
        str | None, Field(description="Whose binding says it; null is the host's own override.")
    ]
    binding: Annotated[int | None, Field(description="The binding's id; null for an override.")]
    removed: Annotated[bool, Field(description="Whether the host's override takes it away.")]


class PlannedPluginView(BaseModel):
    """Something bound to the host, its configurations merged."""

    plugin: Annotated[str, Field(description="As the agent's `/plugins` lists it.")]
    config: dict[str, Any] | None
    config_secrets: Annotated[list[str], Field(description="Paths of the items not shown.")]
    format: Annotated[str, Field(description="Empty is what the plugin's kind prints by itself.")]
    step: Annotated[int, Field(description="Seconds; 0 without a format.")]
    overridden: Annotated[bool, Field(description="Whether the host has an override of its own.")]
    origins: Annotated[
        list[OriginView], Field(description="Where each key and each item comes from.")
    ]
    reasons: Annotated[
        list[ReasonView],
        Field(description="In the order in which configurations are merged: the later one wins."),
    ]


class PlannedVariableView(BaseModel):
    """An Ansible variable that the host has."""

    name: str
    hostgroup: Annotated[str | None, Field(description="Where it stands; null is the host itself.")]
    secret: bool


class PlanView(BaseModel):
    """What one host should have, and why."""

    host: str
    agent_kind: AgentKind
    digest: Annotated[str, Field(description="Changes whenever the plan does.")]
    reported: Annotated[bool, Field(description="Whether it was last brought to just this plan.")]
    state: HostState
    release: Annotated[PlanRelease | None, Field(description="null while nothing was published.")]
    hostgroups: list[str]
    plugins: list[PlannedPluginView]
    variables: list[PlannedVariableView]
    listed: Annotated[
        list[str],
        Field(description="What the agent's `/plugins` must list; empty with no release."),
    ]
    problems: Annotated[
        list[str], Field(description="What keeps bindings from working together in the release.")
    ]
    unused_overrides: Annotated[
        list[str], Field(description="The host's overrides of plugins that are not bound to it.")
    ]


class BindingChanges(BaseModel):
    """Bindings to come and to go."""

    model_config = ConfigDict(extra="forbid")

    add: Annotated[list[BindingCreate], Field(max_length=1000)] = []
    remove: Annotated[
        list[Annotated[int, Field(ge=1, le=2**31 - 1)]],
        Field(max_length=1000, description="Their ids.", examples=[[]]),
    ] = []


class HostgroupChange(BaseModel):
    """A change of one hostgroup's members."""

    model_config = ConfigDict(extra="forbid")

    name: AnyHostgroup
    add: Annotated[
        list[HostName], Field(max_length=20_000, description="Hosts to add.", examples=[[]])
    ] = []
    remove: Annotated[
        list[HostName], Field(max_length=20_000, description="Hosts to take out.", examples=[[]])
    ] = []
    rule: Annotated[
        LabelRule | None, Field(description="Another label rule; null leaves the one there is.")
    ] = None


class PreviewRequest(BaseModel):
    """Changes that are only thought of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"bindings": {"add": [{"hostgroup": "web", "plugin": "sys/ntp"}]}}]
        },
    )

    bindings: BindingChanges = BindingChanges()
    hostgroups: Annotated[list[HostgroupChange], Field(max_length=200)] = []
    release: Annotated[
        int | None,
        Field(ge=1, le=2**31 - 1, description="Number of an older release to go back to."),
    ] = None


class HostgroupEffect(BaseModel):
    """What the changes come to in one hostgroup."""

    hostgroup: str
    hosts: Annotated[int, Field(description="How many of its hosts get another plan.")]
    joined: Annotated[int, Field(description="How many hosts join it.")]
    left: Annotated[int, Field(description="How many hosts leave it.")]


class HostEffect(BaseModel):
    """What the changes come to on one host, by the keys that its `/plugins` lists."""

    host: str
    added: list[str]
    removed: list[str]


class PreviewView(BaseModel):
    """What changes would come to."""

    hosts: Annotated[int, Field(description="How many hosts get another plan.")]
    plugins_added: Annotated[int, Field(description="Plugins that some host runs then anew.")]
    plugins_removed: Annotated[int, Field(description="Plugins that some host runs no more then.")]
    by_hostgroup: Annotated[
        list[HostgroupEffect], Field(description="Of the hostgroups that these hosts are in.")
    ]
    examples: Annotated[list[HostEffect], Field(description="The first 20 hosts by name.")]
    problems: Annotated[
        list[str], Field(description="Bindings that would not work in that release.")
    ]
    warnings: Annotated[
        list[str], Field(description="Of bindings to add, as making them would tell.")
    ]
    text: Annotated[str, Field(examples=["these 214 hosts, +2 plugins, -1"])]
