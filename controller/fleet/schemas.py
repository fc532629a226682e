"""What requests and answers about hosts and hostgroups look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from controller.fleet.models import AgentKind, HostState
from controller.fleet.rules import parse
from controller.web.fields import HostgroupName, HostName, Labels, Line, Text, Variables

# A name, an IPv4 or an IPv6 address. It becomes an argument of ssh, so never an option.
_ADDRESS = r"^([A-Za-z0-9][A-Za-z0-9_.\-]*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.\-]+)?)?$"
MOST_HOSTS = 20_000
"""Hosts of one request."""
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


def _rule(value: str) -> str:
    return parse(value).text


def _label_changes(value: dict[str, str | None]) -> dict[str, str | None]:
    _LABELS.validate_python({key: label or "" for key, label in value.items()})
    return value


def _secret(value: str) -> str:
    if len(value) > 20_000 or "\x00" in value:
        raise ValueError("must be at most 20,000 characters, without NUL")
    value.encode()  # half of a Unicode pair is a UnicodeError, which is a ValueError
    return value


Address = Annotated[
    str,
    StringConstraints(pattern=_ADDRESS, max_length=253),
    Field(
        description="How SSH reaches it: a name or an IP address; empty is its name.",
        examples=["192.0.2.17"],
    ),
]
LabelRule = Annotated[
    Line,
    AfterValidator(_rule),
    Field(
        description="Label rule; hosts that it fits are members. Comma is `and`; `k=v`, `k!=v`, `k`, `!k`, "
        "`k in (a b)`, `k notin (a b)`. Empty fits nothing.",
        examples=["idc=bj,role!=db"],
    ),
]
Secret = Annotated[str, AfterValidator(_secret)]
_VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)
]
Secrets = Annotated[
    dict[_VariableName, Secret | None],
    Field(
        max_length=100,
        description="Variables whose values are stored encrypted and never shown. Those not named here stay; "
        "null takes one away.",
        examples=[{"ansible_password": "s3cret"}],
    ),
]
Joined = Annotated[
    list[HostgroupName],
    Field(
        max_length=1000,
        description="Hostgroups to add it to, by name. It is never taken out of others by this.",
        examples=[["web"]],
    ),
]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HostPut(_Input):
    """A host as it is to be; secrets that are not named stay."""

    address: Address = ""
    agent_kind: AgentKind = AgentKind.EXECUTOR
    variables: Variables = {}
    secrets: Secrets = {}
    labels: Labels = {}
    hostgroups: Joined = []


class HostCreate(HostPut):
    """A host to make."""

    name: HostName


class HostPatch(_Input):
    """What to change of a host: what is not named stays."""

    address: Address = ""
    agent_kind: AgentKind = AgentKind.EXECUTOR
    variables: Annotated[
        Variables, Field(description="Variables to set; null takes one away, others stay.")
    ] = {}
    secrets: Secrets = {}
    labels: Annotated[
        dict[str, str | None],
        AfterValidator(_label_changes),
        Field(
            description="Labels to set; null takes one away, others stay.",
            examples=[{"role": "db", "idc": None}],
        ),
    ] = {}
    hostgroups: Joined = []


class HostImport(HostPatch):
    """A host of an import: made if there is none of that name, else changed as by PATCH."""

    name: HostName


class AgentView(BaseModel):
    """What a host's agent said of itself with its last heartbeat; nothing of it is proven."""

    model_config = ConfigDict(from_attributes=True)

    version: str
    head: Annotated[
        str, Field(description="Its PluginVersion: the commit that it runs, or its error.")
    ]
    ip: Annotated[str, Field(description="The address that it says it has.")]
    peer: Annotated[str, Field(description="The address that its heartbeats come from.")]
    claimed_by: Annotated[
        str,
        Field(
            description="Another address that sent heartbeats in this host's name; empty if none. "
            "Nothing of those is taken for the host's."
        ),
    ]
    claimed_at: datetime | None
    withheld: Annotated[
        str,
        Field(
            description="What of its bindings it is not told because it would die of it, and why; "
            "empty if nothing."
        ),
    ]
    timestamp: Annotated[
        int, Field(validation_alias="stamp", description="What it is told as its list's Timestamp.")
    ]


class HostView(BaseModel):
    """A host: what is configured of it, and what is known of it."""

    name: str
    address: str
    agent_kind: AgentKind
    variables: dict[str, Any]
    secrets: Annotated[list[str], Field(description="Names of its secret variables.")]
    labels: dict[str, str]
    hostgroups: Annotated[
        list[str], Field(description="Hostgroups that it is in, by name or by rule, besides `all`.")
    ]
    state: HostState
    state_since: datetime
    last_error: str
    last_heartbeat: datetime | None
    agent: Annotated[
        AgentView | None,
        Field(description="null while this controller hears no agents, or never heard this one."),
    ]
    reported_release: int | None
    wanted_release: int | None
    created: datetime
    updated: datetime


class HostgroupPut(_Input):
    """A hostgroup as it is to be; its members by name and secrets that are not named stay."""

    description: Text = ""
    rule: LabelRule = ""
    variables: Variables = {}
    secrets: Secrets = {}


class HostgroupCreate(HostgroupPut):
    """A hostgroup to make."""

    name: HostgroupName


class HostgroupPatch(_Input):
    """What to change of a hostgroup: what is not named stays."""

    description: Text = ""
    rule: LabelRule = ""
    variables: Annotated[
        Variables, Field(description="Variables to set; null takes one away, others stay.")
    ] = {}
    secrets: Secrets = {}


class HostgroupView(BaseModel):
    """A hostgroup."""

    name: str
    description: str
    rule: str
    variables: dict[str, Any]
    secrets: Annotated[list[str], Field(description="Names of its secret variables.")]
    hosts: Annotated[int, Field(description="How many hosts are in it.")]
    created: datetime
    updated: datetime


class MembersChange(_Input):
    """Hosts to add to a hostgroup and to take out of it; all others stay as they are."""

    add: Annotated[list[HostName], Field(max_length=MOST_HOSTS, examples=[["web1", "web2"]])] = []
    remove: Annotated[list[HostName], Field(max_length=MOST_HOSTS, examples=[["web3"]])] = []


class MembersChanged(BaseModel):
    """What became of a change of members."""

    added: Annotated[int, Field(description="Hosts that were not members by name before.")]
    removed: Annotated[int, Field(description="Hosts that were members by name before.")]
    stay_by_rule: Annotated[
        list[str], Field(description="Removed hosts that the hostgroup's rule keeps in it.")
    ]
    hosts: Annotated[int, Field(description="How many hosts are in it now.")]


class MemberView(BaseModel):
    """A host of a hostgroup, and why it is one; both are false in `all`, where every host is."""

    host: str
    by_name: bool
    by_rule: bool
    state: HostState


class ImportProblem(BaseModel):
    """Something in an import that keeps all of it from being done."""

    line: Annotated[int | None, Field(description="Line of the text, from 1; null if unknown.")]
    row: Annotated[int | None, Field(description="Entry of a JSON list, from 1.")]
    host: Annotated[str, Field(description="The host's name; empty where it is not about one.")]
    message: Annotated[str, Field(description="What is wrong.")]


class ImportReport(BaseModel):
    """What an import did, or would do."""

    dry_run: bool
    created: Annotated[int, Field(description="Hosts that were not there.")]
    updated: Annotated[int, Field(description="Hosts that were there, and not quite so.")]
    unchanged: Annotated[int, Field(description="Hosts that were just so already.")]
    hostgroups_created: list[str]
    hostgroups_updated: Annotated[
        list[str], Field(description="Hostgroups whose variables were changed.")
    ]
    errors: Annotated[
        list[ImportProblem],
        Field(description="Why it would be refused; only a dry run answers with any."),
    ]
