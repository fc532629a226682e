"""What requests and answers about a portal look like."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controller.portal.models import Kind
from controller.web.fields import HostgroupName


class Direction(enum.StrEnum):
    """Who follows whom."""

    TO_PORTAL = "to-portal"
    FROM_PORTAL = "from-portal"


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


DryRun = Annotated[bool, Field(description="Only say what would be changed.")]


class SyncRequest(_Input):
    """A sync to carry out."""

    direction: Annotated[
        Direction,
        Field(
            description="`to-portal`: the portal follows our hostgroups, members and bindings. "
            "`from-portal`: we follow the portal's.",
            examples=["to-portal"],
        ),
    ] = Direction.TO_PORTAL
    hostgroups: Annotated[
        list[HostgroupName],
        Field(max_length=10_000, description="Only these; empty is all.", examples=[[]]),
    ] = []
    dry_run: DryRun = False
    prune: Annotated[
        bool,
        Field(
            description="In hostgroups that are on both sides, also take away what no sync brought; "
            "and delete hostgroups that one made and that the other side no longer has."
        ),
    ] = False
    accept_loss: Annotated[
        bool,
        Field(
            description="Follow the portal also where it has lost most of the members, or of the bindings, that "
            "syncs brought here, as a portal does that answers with half of what it holds."
        ),
    ] = False


# Whatever a portal holds: what cannot be taken is left out with its reason, and keeps nothing else.
_Given = Annotated[str, StringConstraints(max_length=1000)]


class PortalHostgroup(_Input):
    """A hostgroup as a portal has it."""

    name: Annotated[_Given, Field(examples=["web"])]
    hosts: Annotated[list[_Given], Field(max_length=200_000, examples=[["web1"]])] = []
    plugins: Annotated[list[_Given], Field(max_length=50_000, examples=[["sys/ntp"]])] = []


class PortalContent(_Input):
    """What a portal holds, as `plugfleet portal import --dump` reads it from its database."""

    hostgroups: Annotated[list[PortalHostgroup], Field(max_length=50_000)]
    addresses: Annotated[
        dict[_Given, _Given],
        Field(description="IP addresses of hosts.", examples=[{"web1": "192.0.2.1"}]),
    ] = {}


class ImportRequest(_Input):
    """A portal to take over."""

    content: Annotated[
        PortalContent | None,
        Field(
            description="What it holds; null reads it from the portal's API (`portal_url`).",
            examples=[None],
        ),
    ] = None
    dry_run: DryRun = False


Result = Literal["planned", "done", "failed", "not done"]


class Step(BaseModel):
    """One thing that differs between the two sides, and what became of it."""

    action: Annotated[Literal["create", "add", "remove", "delete"], Field(examples=["add"])]
    kind: Literal["hostgroup", "host", "member", "binding", "duplicate"]
    hostgroup: Annotated[str, Field(description="Empty for hosts that are made.")]
    names: Annotated[
        list[str], Field(description="Of the hosts or plugins; empty for a hostgroup itself.")
    ] = []
    result: Result = "planned"
    reason: Annotated[str, Field(description="Why it was not done.")] = ""


class Skipped(BaseModel):
    """Something that was left as it is."""

    kind: Kind
    hostgroup: str
    name: str
    reason: str


class PortalReport(BaseModel):
    """What a sync or an import changes, or changed."""

    id: Annotated[int | None, Field(description="null for a dry run, which is not kept.")] = None
    kind: Literal["to-portal", "from-portal", "import"]
    portal: Annotated[str, Field(description="Its URL; empty for what was read from a dump.")]
    by: str
    status: Annotated[
        Literal["planned", "running", "done", "failed", "interrupted"],
        Field(
            description="`failed`: not all was done, each step says what. `interrupted`: the "
            "controller ended meanwhile; the next sync goes on."
        ),
    ]
    reason: Annotated[str, Field(description="What ended it early.")] = ""
    steps: list[Step] = []
    skipped: Annotated[
        list[Skipped], Field(description="What was left as it is; the first thousand.")
    ] = []
    skipped_in_all: int = 0
    notes: list[str] = []
    started: datetime
    ended: datetime | None = None
