"""What requests and answers about bindings look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

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
        description="A manifest plugin's configuration items.",
        examples=[{"items": [{"url": "http://127.0.0.1/"}]}],
    ),
]
_SECRETS = (
    "Configuration items whose values are stored encrypted and never shown, such as passwords."
)


class BindingCreate(BaseModel):
    """A binding to make."""

    model_config = ConfigDict(extra="forbid")

    hostgroup: AnyHostgroup
    plugin: Plugin
    config: Config | None = None
    config_secrets: Annotated[Config, Field(description=_SECRETS)] = {}


class BindingPatch(BaseModel):
    """What to change of a binding: what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    plugin: Plugin | None = None
    config: Config | None = None
    config_secrets: Annotated[
        Config, Field(description=f"{_SECRETS} Those not named stay; null takes one away.")
    ] = {}


class BindingView(BaseModel):
    """What a hostgroup's hosts run."""

    id: int
    hostgroup: str
    plugin: str
    config: dict[str, Any] | None
    config_secrets: Annotated[list[str], Field(description="Names of the items not shown.")]
    created: datetime
    updated: datetime
