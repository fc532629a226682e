"""Routes of how plugins fare: one plugin's hosts, and one host's plugins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from controller.fleet import service as fleet
from controller.fleet.api import Name
from controller.plugins import health
from controller.plugins.models import HostPlugin
from controller.plugins.schemas import HostPluginView, PluginOnHost, PluginPath
from controller.web.deps import Reading, Viewer
from controller.web.fields import Line
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(tags=["plugins"])

_SORTS = {
    column.key: column
    for column in (HostPlugin.state, HostPlugin.plugin, HostPlugin.since, HostPlugin.seen)
}


@router.get(
    "/plugins/hosts",
    summary="List a plugin's hosts with its state on each",
    description="What the last visit to each host saw. A plugin directory has an entry for each of its scripts. "
    "Hosts that were not visited since it was bound have none; it need not be in a release any more.",
    responses=answers(401, 403, 422),
)
def list_hosts_of_plugin(
    by: Viewer,
    session: Reading,
    path: PluginPath,
    state: Annotated[
        list[Annotated[Line, Query(max_length=32)]],
        Query(default_factory=list, description="Only in this state; may be given again."),
    ],
    sort: Annotated[
        str,
        Query(
            max_length=50,
            description=f"One of {', '.join(_SORTS)}; with `-` before it descending.",
        ),
    ] = "state",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[PluginOnHost]:
    rows, following = fetch_page(
        session,
        health.on_hosts(by, path.strip("/") or ".", state),
        sort=sort,
        columns=_SORTS,
        key=HostPlugin.id,
        limit=limit,
        cursor=cursor,
    )
    views = [
        PluginOnHost(host=row.host.name, **dict(HostPluginView.model_validate(row))) for row in rows
    ]
    return Page(items=views, next=following)


@router.get(
    "/hosts/{name}/plugins",
    summary="List a host's plugins with their states",
    description="What the last visit saw of each plugin that is bound to it; empty before the first one.",
    responses=answers(401, 403, 404, 422),
)
def list_plugins_of_host(
    by: Viewer,
    session: Reading,
    name: Name,
    sort: Annotated[
        str,
        Query(
            max_length=50,
            description=f"One of {', '.join(_SORTS)}; with `-` before it descending.",
        ),
    ] = "plugin",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[HostPluginView]:
    host = fleet.find(session, by, name)
    rows, following = fetch_page(
        session,
        select(HostPlugin).where(HostPlugin.host_id == host.id),
        sort=sort,
        columns=_SORTS,
        key=HostPlugin.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[HostPluginView.model_validate(row) for row in rows], next=following)
