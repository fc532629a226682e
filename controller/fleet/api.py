"""Routes of hosts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status
from pydantic import StringConstraints
from sqlalchemy import select

from controller.agents.models import AgentRow
from controller.auth.vault import Vault
from controller.errors import Invalid
from controller.fleet import memberships, service
from controller.fleet.models import AgentKind, Host, HostState
from controller.fleet.schemas import AgentView, HostCreate, HostPatch, HostPut, HostView
from controller.web import etags
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN, AnyHostgroup, Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/hosts", tags=["hosts"])

Name = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=253, description="Its name.", examples=["web1"])
]
_LabelFilter = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,99}=[A-Za-z0-9_.\-/:@+]{0,200}$"),
]
_SORTS = {
    column.key: column
    for column in (
        Host.name,
        Host.address,
        Host.state,
        Host.state_since,
        Host.last_heartbeat,
        Host.reported_release,
        Host.created,
        Host.updated,
    )
}


def views(session: Reading, vault: Vault, hosts: Collection[Host]) -> list[HostView]:
    """Hosts as answers show them."""
    ids = [host.id for host in hosts]
    hostgroups = memberships.names_of(session, ids)
    heard = select(AgentRow).where(AgentRow.host_id.in_(ids), AgentRow.peer != "")
    agents = {agent.host_id: agent for agent in session.scalars(heard)}
    return [
        HostView(
            name=host.name,
            address=host.address,
            agent_kind=AgentKind(host.agent_kind),
            variables=host.variables,
            secrets=sorted(vault.open(host.secrets)),
            labels=host.labels,
            hostgroups=hostgroups[host.id],
            state=HostState(host.state),
            state_since=host.state_since,
            last_error=host.last_error,
            last_heartbeat=host.last_heartbeat,
            agent=AgentView.model_validate(agents[host.id]) if host.id in agents else None,
            reported_release=host.reported_release,
            wanted_release=host.wanted_release,
            created=host.created,
            updated=host.updated,
        )
        for host in hosts
    ]


def _answer(response: Response, session: Writing, vault: Vault, host: Host) -> HostView:
    session.flush()
    etags.show(response, host.version)
    return views(session, vault, [host])[0]


@router.get(
    "",
    summary="List hosts",
    description="All filters together; a limited token's list holds the hosts of its hostgroups.",
    responses=answers(401, 403, 422),
)
def list_hosts(
    by: Viewer,
    opened: Open,
    session: Reading,
    state: Annotated[
        list[HostState],
        Query(default_factory=list, description="Only hosts in this state; may be given again."),
    ],
    label: Annotated[
        list[_LabelFilter],
        Query(
            default_factory=list,
            max_length=20,
            description="Only hosts with this label, `idc=bj`; all where given again.",
            examples=[["idc=bj"]],
        ),
    ],
    q: Annotated[Line, Query(max_length=253, description="Part of the name or address.")] = "",
    hostgroup: Annotated[
        AnyHostgroup | None, Query(description="Only hosts that are in this hostgroup.")
    ] = None,
    agent_kind: Annotated[
        AgentKind | None, Query(description="Only hosts with this kind of agent.")
    ] = None,
    release: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only hosts that reported this release.")
    ] = None,
    sort: Annotated[
        str,
        Query(description=f"One of {', '.join(_SORTS)}; with `-` before it descending."),
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[HostView]:
    query = service.listing(
        session,
        by,
        q=q,
        states=state,
        hostgroup=hostgroup or "",
        labels=_labels(label),
        agent_kind=agent_kind,
        release=release,
    )
    rows, following = fetch_page(
        session, query, sort=sort, columns=_SORTS, key=Host.id, limit=limit, cursor=cursor
    )
    return Page(items=views(session, opened.vault, rows), next=following)


def _labels(given: Collection[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, _, value = text.partition("=")
        if labels.setdefault(key, value) != value:
            raise Invalid(
                f"no host has two values of label {key!r}",
                fields=[{"field": "query.label", "message": f"{key} is given twice"}],
            )
    return labels


@router.post(
    "",
    summary="Make a host",
    description="Its name must not be a hostgroup's: Ansible's inventory cannot hold both.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 409, 422),
)
def create_host(
    by: Operator, opened: Open, session: Writing, response: Response, body: HostCreate
) -> HostView:
    host = service.create(session, by, opened.vault, body)
    response.headers["Location"] = f"/api/v1/hosts/{host.name}"
    return _answer(response, session, opened.vault, host)


@router.get("/{name}", summary="Show a host", responses=answers(401, 403, 404, 422))
def show_host(
    by: Viewer, opened: Open, session: Reading, response: Response, name: Name
) -> HostView:
    host = service.find(session, by, name)
    etags.show(response, host.version)
    return views(session, opened.vault, [host])[0]


@router.put(
    "/{name}",
    summary="Describe a host anew",
    description="What is not named gets its default; secrets and hostgroups that are not named stay.",
    responses=answers(401, 403, 404, 412, 422),
)
def replace_host(
    by: Operator,
    opened: Open,
    session: Writing,
    response: Response,
    name: Name,
    body: HostPut,
    if_match: IfMatch = None,
) -> HostView:
    host = service.hold(session, by, name, if_match)
    service.replace(session, by, opened.vault, host, body)
    return _answer(response, session, opened.vault, host)


@router.patch(
    "/{name}",
    summary="Change a host",
    description="What is not named stays.",
    responses=answers(401, 403, 404, 412, 422),
)
def change_host(
    by: Operator,
    opened: Open,
    session: Writing,
    response: Response,
    name: Name,
    body: HostPatch,
    if_match: IfMatch = None,
) -> HostView:
    host = service.hold(session, by, name, if_match)
    service.change(session, by, opened.vault, host, body)
    return _answer(response, session, opened.vault, host)


@router.delete(
    "/{name}",
    summary="Delete a host",
    description="Nothing is changed on it. What deployments did on it stays on record.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 409, 412, 422),
)
def delete_host(
    by: Operator, opened: Open, session: Writing, name: Name, if_match: IfMatch = None
) -> None:
    host = service.hold(session, by, name, if_match)
    service.delete(session, by, opened.vault, host)
