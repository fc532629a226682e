"""Routes of hostgroups and their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.fleet import hostgroups, members, memberships
from controller.fleet.models import Host, Hostgroup, HostState
from controller.fleet.schemas import (
    HostgroupCreate,
    HostgroupPatch,
    HostgroupPut,
    HostgroupView,
    MembersChange,
    MembersChanged,
    MemberView,
)
from controller.web import etags
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN, Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/hostgroups", tags=["hostgroups"])

Name = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=100, description="Its name.", examples=["web"])
]


def _view(hostgroup: Hostgroup, vault: Vault, hosts: int) -> HostgroupView:
    return HostgroupView(
        name=hostgroup.name,
        description=hostgroup.description,
        rule=hostgroup.rule,
        variables=hostgroup.variables,
        secrets=sorted(vault.open(hostgroup.secrets)),
        hosts=hosts,
        created=hostgroup.created,
        updated=hostgroup.updated,
    )


def _answer(
    response: Response, session: Session, vault: Vault, hostgroup: Hostgroup
) -> HostgroupView:
    session.flush()
    etags.show(response, hostgroup.version)
    return _view(hostgroup, vault, memberships.size(session, hostgroup))


@router.get(
    "",
    summary="List hostgroups",
    description="`all`, which every host is in, stands among them.",
    responses=answers(401, 403, 422),
)
def list_hostgroups(
    by: Viewer,
    opened: Open,
    session: Reading,
    q: Annotated[
        Line, Query(max_length=253, description="Part of the name or the description.")
    ] = "",
    sort: Annotated[
        str, Query(description="name, created or updated; with `-` before it descending.")
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[HostgroupView]:
    rows, following = fetch_page(
        session,
        hostgroups.listing(by, q),
        sort=sort,
        columns={
            "name": Hostgroup.name,
            "created": Hostgroup.created,
            "updated": Hostgroup.updated,
        },
        key=Hostgroup.id,
        limit=limit,
        cursor=cursor,
    )
    sizes = memberships.sizes(session, rows)
    return Page(items=[_view(row, opened.vault, sizes[row.id]) for row in rows], next=following)


@router.post(
    "",
    summary="Make a hostgroup",
    description="Hosts that its rule fits are in it at once. Its name must not be a host's: Ansible's "
    "inventory cannot hold both.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 409, 422),
)
def create_hostgroup(
    by: Operator, opened: Open, session: Writing, response: Response, body: HostgroupCreate
) -> HostgroupView:
    hostgroup = hostgroups.create(session, by, opened.vault, body)
    response.headers["Location"] = f"/api/v1/hostgroups/{hostgroup.name}"
    return _answer(response, session, opened.vault, hostgroup)


@router.get("/{name}", summary="Show a hostgroup", responses=answers(401, 403, 404, 422))
def show_hostgroup(
    by: Viewer, opened: Open, session: Reading, response: Response, name: Name
) -> HostgroupView:
    return _answer(response, session, opened.vault, hostgroups.find(session, by, name))


@router.put(
    "/{name}",
    summary="Describe a hostgroup anew",
    description="What is not named gets its default; members by name and secrets that are not named stay.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def replace_hostgroup(
    by: Operator,
    opened: Open,
    session: Writing,
    response: Response,
    name: Name,
    body: HostgroupPut,
    if_match: IfMatch = None,
) -> HostgroupView:
    hostgroup = hostgroups.hold(session, by, name, if_match)
    hostgroups.replace(session, by, opened.vault, hostgroup, body)
    return _answer(response, session, opened.vault, hostgroup)


@router.patch(
    "/{name}",
    summary="Change a hostgroup",
    description="What is not named stays.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def change_hostgroup(
    by: Operator,
    opened: Open,
    session: Writing,
    response: Response,
    name: Name,
    body: HostgroupPatch,
    if_match: IfMatch = None,
) -> HostgroupView:
    hostgroup = hostgroups.hold(session, by, name, if_match)
    hostgroups.change(session, by, opened.vault, hostgroup, body)
    return _answer(response, session, opened.vault, hostgroup)


@router.delete(
    "/{name}",
    summary="Delete a hostgroup",
    description="Its hosts stay. One that has bindings is refused, unless they may go with it.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 409, 412, 422),
)
def delete_hostgroup(
    by: Operator,
    opened: Open,
    session: Writing,
    name: Name,
    force: Annotated[bool, Query(description="Delete its bindings with it.")] = False,
    if_match: IfMatch = None,
) -> None:
    hostgroup = hostgroups.hold(session, by, name, if_match)
    hostgroups.delete(session, by, opened.vault, hostgroup, force=force)


@router.get(
    "/{name}/members",
    summary="List the hosts of a hostgroup, and why each is in it",
    responses=answers(401, 403, 404, 422),
)
def list_members(
    by: Viewer,
    session: Reading,
    name: Name,
    sort: Annotated[
        str, Query(description="name or state; with `-` before it descending.")
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[MemberView]:
    hostgroup = hostgroups.find(session, by, name)
    rows, following = fetch_page(
        session,
        members.listing(hostgroup),
        sort=sort,
        columns={"name": Host.name, "state": Host.state},
        key=Host.id,
        limit=limit,
        cursor=cursor,
    )
    reasons = memberships.reasons(session, hostgroup.id, [host.id for host in rows])
    items = [
        MemberView(
            host=host.name,
            by_name=reasons[host.id].by_name,
            by_rule=reasons[host.id].by_rule,
            state=HostState(host.state),
        )
        for host in rows
    ]
    return Page(items=items, next=following)


@router.post(
    "/{name}/members",
    summary="Add hosts to a hostgroup, or take them out",
    description="By name. Hosts that are not named stay as they are: adding one never removes another. "
    "If one of them is not known, nothing is changed.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def change_members(
    by: Operator,
    session: Writing,
    name: Name,
    body: MembersChange,
    if_match: IfMatch = None,
) -> MembersChanged:
    hostgroup = hostgroups.hold(session, by, name, if_match)
    changed = members.change(session, by, hostgroup, body.add, body.remove)
    return MembersChanged(
        added=len(changed.added),
        removed=len(changed.removed),
        stay_by_rule=changed.stay_by_rule,
        hosts=memberships.size(session, hostgroup),
    )
