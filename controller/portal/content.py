"""What a portal holds, brought into the form of our own hostgroups, hosts and bindings.

What cannot be taken is left out with its reason, and nothing else because of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from agentplugin.bindings import BindingError, parse_binding
from agentplugin.problems import shown
from controller.bindings.schemas import Plugin
from controller.portal.client import UNREADABLE, Portal
from controller.portal.models import Kind
from controller.portal.owned import Thing
from controller.portal.schemas import PortalContent, PortalHostgroup, Skipped
from controller.web.fields import HostgroupName, HostName
from controller.web.problems import said

_HOSTGROUP: TypeAdapter[str] = TypeAdapter(HostgroupName)
_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_PLUGIN: TypeAdapter[str] = TypeAdapter(Plugin)


@dataclass
class Taken:
    """A hostgroup, with each host and plugin once, in our form."""

    hosts: dict[str, None] = field(default_factory=dict)
    plugins: dict[str, None] = field(default_factory=dict)


@dataclass
class LeftOut:
    """What was left as it is, and why."""

    skipped: list[Skipped] = field(default_factory=list)

    def skip(
        self,
        kind: Kind,
        hostgroup: str,
        name: str,
        reason: str,
    ) -> None:
        """Keep one thing."""
        self.skipped.append(Skipped(kind=kind, hostgroup=hostgroup, name=name, reason=reason))


@dataclass
class Content(LeftOut):
    """What can be taken of a portal.

    Attributes:
        groups: by name.
        addresses: of hosts, where they are of use.
    """

    groups: dict[str, Taken] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


class Held(NamedTuple):
    """What a portal holds; `groups` counts all its hostgroups, also those that were not asked for."""

    content: PortalContent
    groups: int


def members_of(things: Iterable[Thing]) -> dict[str, set[str]]:
    """The hosts among things, by hostgroup, in lower case."""
    found: dict[str, set[str]] = {}
    for thing in things:
        if thing.kind is Kind.MEMBER:
            found.setdefault(thing.hostgroup, set()).add(thing.name.casefold())
    return found


def read(
    portal: Portal, only: Container[str], expected: Mapping[str, Collection[str]] | None = None
) -> Held:
    """What a portal's API tells.

    Args:
        only: names of hostgroups; empty is all.
        expected: of `members_of`, what was there. Where some are missing it is asked again: falcon-plus
            asks its database for each member, and leaves out, with status 200, those whose query failed.

    Raises:
        PortalError: it cannot be read.
    """
    groups: list[PortalHostgroup] = []
    addresses: dict[str, str] = {}
    there = portal.hostgroups()
    for group in there:
        if only and group.name not in only:
            continue
        members = portal.members(group)
        missing = {*(expected or {}).get(group.name, ())}
        if missing - {member.name.casefold() for member in members}:
            members = sorted({*members, *portal.members(group)})
        addresses |= {member.name: member.address for member in members if member.address}
        groups.append(
            PortalHostgroup.model_construct(
                name=group.name,
                hosts=[member.name for member in members],
                plugins=[bound.text for bound in portal.bindings(group)],
            )
        )
    content = PortalContent.model_construct(hostgroups=groups, addresses=addresses)
    return Held(content, len(there))


def take(given: PortalContent) -> Content:
    """The content in our form."""
    content = Content()
    refused: dict[str, str] = {}  # hosts may be in many hostgroups
    for group in given.hostgroups:
        if reason := wrong(_HOSTGROUP, group.name):
            content.skip(Kind.HOSTGROUP, shown(group.name), "", reason)
            continue
        taken = content.groups.setdefault(group.name, Taken())
        for name in group.hosts:
            if name in taken.hosts:
                continue
            if name not in refused:
                refused[name] = wrong(_HOST, name)
            if refused[name]:
                content.skip(Kind.MEMBER, group.name, shown(name), refused[name])
            else:
                taken.hosts[name] = None
        for text in group.plugins:
            plugin, reason = in_our_form(text)
            if plugin in taken.plugins:
                content.skip(Kind.BINDING, group.name, shown(text), "it is bound there twice")
            elif reason:
                content.skip(Kind.BINDING, group.name, shown(text), reason)
            else:
                taken.plugins[plugin] = None
    content.addresses = {
        name: address for name, address in given.addresses.items() if _is_of_use(address)
    }
    return content


def in_our_form(text: str) -> tuple[str, str]:
    """A binding in its normal form; or the text itself, and why it cannot be one of ours."""
    if UNREADABLE in text:
        return text, "it holds characters that could not be read"
    if reason := wrong(_PLUGIN, text):
        return text, reason
    try:
        return parse_binding(text).text, ""
    except BindingError as error:
        return text, f"{error} [{error.code}]"


def wrong(adapter: TypeAdapter[Any], value: str) -> str:
    """What is wrong with a value, or nothing."""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return said(error.errors()[0])
    return ""


def _is_of_use(text: str) -> bool:
    """Whether SSH could reach a host at an address that its agent told."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_loopback
        or address.is_unspecified
        or address.is_link_local
        or address.is_multicast
    )
