"""What requests and answers about agents, unknown hosts and adoption rules look like."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from controller.fleet.schemas import Address, Joined
from controller.web.fields import Labels


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=True)) if value else ""


Pattern = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.\-*?\[\]!]*$", max_length=253),
    Field(
        description="Shell pattern that the name must fit, case counting; empty fits every name.",
        examples=["web-*.bj.example.com"],
    ),
]
NetworkText = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_network),
    Field(
        description="Network that the heartbeats must come from; empty is any.",
        examples=["192.0.2.0/24"],
    ),
]


class RulePut(BaseModel):
    """An adoption rule as it is to be; a pattern, a network, or both."""

    model_config = ConfigDict(extra="forbid")

    pattern: Pattern = ""
    network: NetworkText = ""
    hostgroups: Joined = []
    use_address: Annotated[
        bool,
        Field(description="SSH reaches it at the address that its heartbeats come from."),
    ] = False

    @model_validator(mode="after")
    def _says_something(self) -> RulePut:
        if not self.pattern and not self.network:
            raise ValueError("needs a pattern or a network: without, it would adopt whoever comes")
        return self


class RuleView(BaseModel):
    """An adoption rule."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    pattern: str
    network: str
    hostgroups: list[str]
    use_address: bool
    created: datetime
    updated: datetime


class UnknownHostView(BaseModel):
    """A host that sends heartbeats and that nobody made; all of it is what it says itself."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    peer: Annotated[str, Field(description="The address that its heartbeats come from.")]
    ip: Annotated[str, Field(description="The address that its agent says it has.")]
    version: Annotated[str, Field(description="Its agent's version.")]
    head: Annotated[str, Field(description="Its agent's PluginVersion.")]
    problem: Annotated[str, Field(description="Why a rule that fits did not adopt it.")]
    first_seen: datetime
    last_seen: datetime


class Adoption(BaseModel):
    """How an unknown host becomes a host."""

    model_config = ConfigDict(extra="forbid")

    hostgroups: Joined = []
    address: Address = ""
    labels: Labels = {}


class ClaimView(BaseModel):
    """A host in whose name another address sends heartbeats."""

    host: str
    peer: Annotated[str, Field(description="Where its own heartbeats come from.")]
    claimed_by: Annotated[str, Field(description="Where the others come from.")]
    claimed_at: datetime | None
