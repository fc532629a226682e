"""What requests and answers about bindings look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from agentplugin import formats
from controller.web.fields import AnyHostgroup, holds_template, plain_json


def _no_template(value: Any) -> Any:
    """Refuse what Ansible would evaluate on the control node when it hands bindings to the role."""
    if holds_template(value):
        raise ValueError("holds a template ({{, {%, {# or #jinja2:), which Ansible would evaluate")
    return value


Plugin = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000),
    AfterValidator(_no_template),
    Field(
        description="A plugin directory, a script, `script(arg1,arg2)`, or a manifest plugin.",
        examples=["sys/ntp"],
    ),
]
Config = Annotated[
    dict[str, Any],
    AfterValidator(plain_json),
    AfterValidator(_no_template),
    Field(
        description="A manifest plugin's configuration items. What its manifest calls a password is stored "
        'encrypted; it is shown as `{"$secret": "3f9a1c2b/password"}`, its name, which keeps it when it is sent back.',
        examples=[{"items": [{"url": "http://127.0.0.1/"}]}],
    ),
]
Format = Annotated[
    Literal["", "boundary", "nagios", "telegraf-exec", "telegraf-execd", "prometheus"],
    Field(
        description="What the plugin prints, where that is not what its kind prints by itself. A program that "
        'is bound by itself takes its arguments from `config`: `{"args": [...]}`.',
        examples=["nagios"],
    ),
]
Step = Annotated[
    int,
    Field(
        ge=0,
        le=formats.MAX_STEP,
        description=f"Seconds between two starts of what has a format; 0 is {formats.DEFAULT_STEP}.",
    ),
]
_SECRETS = (
    "Configuration items whose values are stored encrypted and never shown, by name or path "
    "(`password`, `items/0/password`)."
)


class BindingCreate(BaseModel):
    """A binding to make."""

    model_config = ConfigDict(extra="forbid")

    hostgroup: AnyHostgroup
    plugin: Plugin
    config: Config | None = None
    config_secrets: Annotated[Config, Field(description=_SECRETS)] = {}
    format: Format = ""
    step: Step = 0


class BindingPatch(BaseModel):
    """What to change of a binding: what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    plugin: Plugin | None = None
    config: Config | None = None
    config_secrets: Annotated[
        Config, Field(description=f"{_SECRETS} Those not named stay; null takes one away.")
    ] = {}
    format: Format | None = None
    step: Step | None = None


class BindingView(BaseModel):
    """What a hostgroup's hosts run."""

    id: int
    hostgroup: str
    plugin: str
    config: dict[str, Any] | None
    config_secrets: Annotated[list[str], Field(description="Paths of the items not shown.")]
    format: Annotated[str, Field(description="Empty is what the plugin's kind prints by itself.")]
    step: Annotated[int, Field(description="Seconds; 0 without a format.")]
    warnings: Annotated[
        list[str],
        Field(
            description="What of the configuration the manifest does not know, and why no host would start the "
            "plugin by its manifest; told after a change."
        ),
    ] = []
    created: datetime
    updated: datetime


class OverridePut(BaseModel):
    """What one host has otherwise of a plugin's configuration."""

    model_config = ConfigDict(extra="forbid")

    config: Annotated[
        Config,
        Field(
            description="Laid over what the host's hostgroups configure, as a merge patch (RFC 7396): a key "
            "replaces, null takes away, a list replaces as a whole.",
            examples=[{"pollInterval": 5000}],
        ),
    ] = {}
    config_secrets: Annotated[
        Config, Field(description=f"{_SECRETS} Those not named stay; null takes one away.")
    ] = {}


class OverrideView(BaseModel):
    """What one host has otherwise of a plugin's configuration."""

    plugin: Annotated[str, Field(description="As the agent's `/plugins` lists it.")]
    config: dict[str, Any]
    config_secrets: Annotated[list[str], Field(description="Paths of the items not shown.")]
    used: Annotated[bool, Field(description="Whether a hostgroup of the host binds the plugin.")]
    warnings: Annotated[
        list[str],
        Field(
            description="What of the configuration the manifest does not know; told after a change."
        ),
    ] = []
    created: datetime
    updated: datetime


class HostOverrideView(OverrideView):
    """An override, and whose it is."""

    host: str
