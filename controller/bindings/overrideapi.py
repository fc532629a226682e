"""Routes of overrides: what one host has otherwise of a plugin's configuration."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response, status
from pydantic import StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import contains_eager

from controller.bindings import configs, overrides
from controller.bindings.api import Tree
from controller.bindings.models import OverrideRow
from controller.bindings.schemas import HostOverrideView, OverridePut, OverrideView
from controller.bindings.sealing import Stored
from controller.catalog.tree import GitTree
from controller.fleet import service as hosts
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Hostgroup, Membership
from controller.web import etags
from controller.web.deps import Context, Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN, AnyHostgroup, Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(tags=["hosts"])

_OF_HOST = "/hosts/{name}/overrides"

HostName = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=253, description="The host's name.")
]
Plugin = Annotated[
    Line,
    StringConstraints(min_length=1),
    Query(
        description="The plugin, as the agent's `/plugins` lists it.", examples=["web/httpcheck"]
    ),
]


def _tree_of(tree: Tree, plugin: Plugin) -> GitTree | None:
    """The newest tree; git was asked for the plugin's manifest before the route's own session begins."""
    configs.look_at(tree, plugin)
    return tree


def _shown(opened: Context, row: OverrideRow) -> dict[str, Any]:
    return {
        "plugin": row.plugin,
        "config": row.config,
        "config_secrets": Stored(row.config, opened.vault.open(row.secrets)).paths(),
        "created": row.created,
        "updated": row.updated,
    }


@router.get(
    "/overrides",
    summary="List the overrides of all hosts",
    description="What single hosts have otherwise of their plugins' configurations.",
    responses=answers(401, 403, 422),
)
def list_all_overrides(
    by: Viewer,
    opened: Open,
    session: Reading,
    hostgroup: Annotated[AnyHostgroup | None, Query(description="Only of its hosts.")] = None,
    plugin: Annotated[Line, Query(description="Only of this plugin.")] = "",
    sort: Annotated[str, Query(description="plugin or updated; with `-` before it descending.")] = (
        "plugin"
    ),
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[HostOverrideView]:
    query = select(OverrideRow).join(OverrideRow.host).options(contains_eager(OverrideRow.host))
    query = query.where(seen_by(by))
    if hostgroup and hostgroup != EVERY_HOST:
        members = select(Membership.host_id).join(
            Hostgroup, Hostgroup.id == Membership.hostgroup_id
        )
        query = query.where(OverrideRow.host_id.in_(members.where(Hostgroup.name == hostgroup)))
    if plugin:
        query = query.where(OverrideRow.plugin == overrides.normal(plugin))
    rows, following = fetch_page(
        session,
        query,
        sort=sort,
        columns={"plugin": OverrideRow.plugin, "updated": OverrideRow.updated},
        key=OverrideRow.id,
        limit=limit,
        cursor=cursor,
    )
    used = overrides.used_of(session, [row.id for row in rows])
    items = [
        HostOverrideView(**_shown(opened, row), host=row.host.name, used=row.id in used)
        for row in rows
    ]
    return Page(items=items, next=following)


@router.get(
    _OF_HOST,
    summary="List a host's overrides",
    description="With `plugin` of that one alone, and its ETag.",
    responses=answers(401, 403, 404, 422),
)
def list_overrides(
    by: Viewer,
    opened: Open,
    session: Reading,
    response: Response,
    name: HostName,
    plugin: Annotated[Line, Query(description="Only of this plugin.")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[OverrideView]:
    host = hosts.find(session, by, name)
    query = select(OverrideRow).where(OverrideRow.host_id == host.id)
    if plugin:
        query = query.where(OverrideRow.plugin == overrides.normal(plugin))
    rows, following = fetch_page(
        session,
        query,
        sort="plugin",
        columns={"plugin": OverrideRow.plugin},
        key=OverrideRow.id,
        limit=limit,
        cursor=cursor,
    )
    if plugin and rows:
        etags.show(response, rows[0].version)
    used = overrides.used_of(session, [row.id for row in rows])
    items = [OverrideView(**_shown(opened, row), used=row.id in used) for row in rows]
    return Page(items=items, next=following)


@router.put(
    _OF_HOST,
    summary="Override a plugin's configuration on a host",
    description="Held against the plugin's manifest together with what the host's hostgroups configure. "
    "One of a plugin that is not bound to the host is kept, and does nothing until it is.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def put_override(
    by: Operator,
    opened: Open,
    tree: Annotated[GitTree | None, Depends(_tree_of)],
    session: Writing,
    response: Response,
    name: HostName,
    plugin: Plugin,
    body: OverridePut,
    if_match: IfMatch = None,
) -> OverrideView:
    row = overrides.put(
        session,
        by,
        opened.vault,
        tree,
        name,
        plugin,
        config=body.config,
        secrets=body.config_secrets,
        if_match=if_match,
    )
    etags.show(response, row.version)
    manifests = configs.manifests_of(tree)
    found = overrides.findings(session, opened.vault, manifests, row.host, row) if tree else []
    return OverrideView(
        **_shown(opened, row),
        used=bool(overrides.used_of(session, [row.id])),
        warnings=configs.warnings(found),
    )


@router.delete(
    _OF_HOST,
    summary="Remove an override",
    description="With its next deployment the host has what its hostgroups say.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 412, 422),
)
def delete_override(
    by: Operator,
    opened: Open,
    session: Writing,
    name: HostName,
    plugin: Plugin,
    if_match: IfMatch = None,
) -> None:
    overrides.remove(session, by, opened.vault, name, plugin, if_match)
