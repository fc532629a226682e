"""What answers about plugins look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from controller.catalog.schemas import Finding, ReleaseSource
from controller.web.fields import Line

PluginPath = Annotated[
    Line,
    Query(min_length=1, max_length=300, description="Its path.", examples=["sys/ntp", "httpcheck"]),
]


class ScriptView(BaseModel):
    """A step script of a plugin directory."""

    model_config = ConfigDict(from_attributes=True)

    name: Annotated[str, Field(examples=["600_ntp.py"])]
    step: Annotated[int, Field(description="Seconds between two runs.")]


class PluginView(BaseModel):
    """A plugin that a release offers: a folder that can be bound."""

    path: Annotated[str, Field(description="What a binding names.", examples=["sys/ntp"])]
    name: Annotated[str, Field(description="The last part of the path.")]
    kind: Annotated[
        Literal["manifest", "scripts"],
        Field(description="`manifest`: has a plugin.json. `scripts`: a directory of step scripts."),
    ]
    title: Annotated[str, Field(description="The manifest's `name`; empty where it has none.")]
    description: str
    version: str
    tags: list[str]
    scripts: list[ScriptView]
    source: Annotated[
        ReleaseSource | None, Field(description="Where it came from; null if that is not known.")
    ]
    hostgroups: Annotated[
        int, Field(description="Hostgroups that it, or a script of it, is bound to.")
    ]
    hosts: Annotated[int, Field(description="Hosts in these.")]


class PluginBinding(BaseModel):
    """A binding of a plugin, or of a script in it."""

    binding: Annotated[int, Field(description="The binding's id.")]
    plugin: Annotated[str, Field(description="What it names.")]
    hostgroup: str
    hosts: Annotated[int, Field(description="Hosts in the hostgroup.")]


class MetricView(BaseModel):
    """A metric that a manifest declares."""

    name: str
    display_name: str
    description: str
    unit: Annotated[
        str | None,
        Field(
            description="`percent`, `number`, `bytecount` or `duration`; null: metrics.json lacks it."
        ),
    ]
    aggregate: Annotated[str | None, Field(description="`avg`, `min`, `max` or `sum`.")]


class GraphView(BaseModel):
    """One metric's graph in a dashboard, in cells from its upper left corner."""

    metric: str
    column: int
    row: int
    width: int
    height: int
    half: Annotated[
        str, Field(description="`top` or `bottom` of cells that two graphs share, or empty.")
    ]


class DashboardView(BaseModel):
    """A dashboard of a manifest, as its layout says."""

    name: str
    columns: int
    rows: int
    padding: Annotated[int, Field(description="Pixels between graphs.")]
    background: str
    light: bool
    graphs: list[GraphView]


class PluginPage(PluginView):
    """One plugin with all that is known of it."""

    release: Annotated[int, Field(description="The release that this was read from.")]
    command: Annotated[str, Field(description="What a manifest plugin's process is.")]
    post_extract: Annotated[
        str, Field(description="Command that prepares it once on each host; empty is none.")
    ]
    unsupported_platforms: list[str]
    has_icon: Annotated[bool, Field(description="`GET /plugins/icon` has one.")]
    form: Annotated[
        dict[str, Any] | None,
        Field(description="As `GET /plugins/form`; null for a plugin directory."),
    ]
    metrics: list[MetricView]
    dashboards: list[DashboardView]
    readme: Annotated[str, Field(description="Its README as it was written: text, not markup.")]
    findings: Annotated[list[Finding], Field(description="What the lint says of it.")]
    bindings: list[PluginBinding]
    health: Annotated[
        dict[str, int],
        Field(
            description="How many entries of `GET /plugins/hosts` are in each state.",
            examples=[{"ok": 211, "no-data": 3}],
        ),
    ]


class PluginForm(BaseModel):
    """What a dialog for a manifest plugin's configuration is drawn from."""

    model_config = ConfigDict(extra="allow")

    title: str
    description: str
    multiple: Annotated[
        bool, Field(description='The configuration is `{"items": [...]}`, each with these fields.')
    ]
    item_title: Annotated[list[str], Field(description="Fields whose values name an item.")]
    item_name: Annotated[str, Field(description="What an item is called.")]
    fields: Annotated[
        list[dict[str, Any]],
        Field(
            description="In order: key, title, description, type, required, default, choices, element, secret."
        ),
    ]
    json_schema: Annotated[
        dict[str, Any], Field(description="JSON Schema (2020-12) of the configuration.")
    ]


class HostPluginView(BaseModel):
    """What a host's agent says of one plugin."""

    model_config = ConfigDict(from_attributes=True)

    plugin: Annotated[
        str, Field(description="Its key in `/plugins`.", examples=["sys/ntp/600_ntp.py"])
    ]
    state: Annotated[
        str,
        Field(
            description="Of an executor `ok`, `waiting`, `running`, `no-data`, `failed`, `timeout`, "
            "`not-executable`, `missing`, `installing`, `parked`, `postextract-not-allowed`, "
            "`postextract-failed`, `unsupported-runtime` or `unsupported-platform`; of an Open-Falcon agent "
            "`listed` or `stderr` (it wrote errors since the release came); of both `not-listed`.",
            examples=["no-data"],
        ),
    ]
    reason: Annotated[str, Field(description="Why, in one line; may be empty.")]
    since: Annotated[datetime, Field(description="When it was first seen in this state.")]
    seen: Annotated[datetime, Field(description="When it was last looked at.")]


class PluginOnHost(HostPluginView):
    """What one host's agent says of a plugin."""

    host: str
