"""Settings of what carries out deployments: this machine, AWX, or another machine over SSH."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings

from controller.awx.addresses import GATEWAY

_REMOTE = re.compile(r"(?:[\w.-]+@)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


class ExecutionSettings(BaseSettings):
    """What carries out deployments, and how it is reached; docs/awx.md and docs/scale.md say which to take."""

    execution: Annotated[
        Literal["local", "awx", "remote"],
        Field(
            description="What runs the playbook: this machine, AWX, or another machine over SSH."
        ),
    ] = "local"
    awx_url: Annotated[
        str,
        Field(
            max_length=300,
            description="Address of AWX, e.g. https://awx.example.com; behind a gateway of Ansible Automation "
            "Platform https://aap.example.com/api/controller.",
        ),
    ] = ""
    awx_user: Annotated[
        str,
        Field(
            max_length=150,
            description="Name of a user of AWX, whose password awx_token then is: for AWX newer than 24.6.1, "
            "which has no tokens.",
        ),
    ] = ""
    awx_token: Annotated[
        str,
        Field(
            description="A token of AWX that may execute awx_job_template; or the password of awx_user.",
            repr=False,
        ),
    ] = ""
    awx_ca_file: Annotated[
        Path | None,
        Field(description="PEM file of AWX's authority, where that is not a public one."),
    ] = None
    awx_job_template: Annotated[
        str, Field(max_length=512, description="Name or id of the job template that deploys.")
    ] = ""
    awx_schedule_template: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            description="Name or id of the job template that schedules made in AWX begin; it reports by itself.",
        ),
    ] = "plugfleet deploy"
    awx_slices: Annotated[
        int, Field(ge=1, le=64, description="Jobs that one wave is cut into at most.")
    ] = 4
    awx_slice_size: Annotated[
        int,
        Field(ge=1, description="Hosts from which on a wave is cut into more than one job."),
    ] = 250
    remote_host: Annotated[
        str,
        Field(
            description="Where ansible-runner is reached by SSH: host, user@host or user@host:22."
        ),
    ] = ""
    remote_ssh_args: Annotated[
        str, Field(description="Further arguments of ssh, e.g. -i /etc/plugfleet/runner_key.")
    ] = ""
    remote_runner: Annotated[
        str, Field(min_length=1, description="ansible-runner on that machine; a name or a path.")
    ] = "ansible-runner"

    @field_validator("awx_url")
    @classmethod
    def _awx(cls, value: str) -> str:
        return check_awx_url(value) if value else value

    @field_validator("awx_ca_file")
    @classmethod
    def _absolute_ca(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @field_validator("awx_user")
    @classmethod
    def _name(cls, value: str) -> str:
        if ":" in value or not value.isprintable():
            raise ValueError("is no name of a user: it has a colon or a line end")
        return value

    @field_validator("awx_token")
    @classmethod
    def _one_word(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("awx_user"):
            if not value.isprintable():
                raise ValueError("is no password: it has a line end or another control character")
        elif value and not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ValueError("is no token: it has a space, a line end or a letter that none has")
        return value

    @field_validator("remote_host")
    @classmethod
    def _remote(cls, value: str) -> str:
        if value and (value.startswith("-") or not _REMOTE.fullmatch(value)):
            raise ValueError("write it as user@host or user@host:22")
        return value

    @field_validator("remote_ssh_args")
    @classmethod
    def _arguments(cls, value: str) -> str:
        shlex.split(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {
            "local": (),
            "awx": ("awx_url", "awx_token", "awx_job_template"),
            "remote": ("remote_host",),
        }
        missing = [name for name in needed[self.execution] if not getattr(self, name)]
        if missing:
            raise ValueError(f'execution = "{self.execution}" needs {", ".join(missing)} too')
        return self


def check_awx_url(text: str) -> str:
    """The address of an AWX without what follows of its API.

    Raises:
        ValueError: it is none, or would carry the token over a network in clear.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("write it as https://awx.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("holds more than an address; the token is awx_token")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("must begin with https://: http would show the token to the network")
    address = text.strip().rstrip("/")
    if address.endswith(f"{GATEWAY}/v2"):
        return address.removesuffix("/v2")
    return address.removesuffix("/api/v2").rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
