"""Routes of overrides: what one host has otherwise of a plugin's configuration."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status
from pydantic import StringConstraints
from sqlalchemy import select

from controller.bindings import configs, overrides
from controller.bindings.api import Tree
from controller.bindings.models import OverrideRow
from controller.bindings.schemas import OverridePut, OverrideView
from controller.fleet import service as hosts
from controller.fleet.models import Host
from controller.web import etags
from controller.web.deps import Context, Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN, Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/hosts/{name}/overrides", tags=["hosts"])

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


def _view(
    session: Reading, opened: Context, host: Host, row: OverrideRow, tree: Tree = None
) -> OverrideView:
    found = (
        overrides.findings(session, opened.vault, configs.manifests_of(tree), host, row)
        if tree
        else []
    )
    return OverrideView(
        plugin=row.plugin,
        config=row.config,
        config_secrets=sorted(opened.vault.open(row.secrets)),
        used=overrides.is_used(session, host, row.plugin),
        warnings=configs.warnings(found),
        created=row.created,
        updated=row.updated,
    )


@router.get(
    "",
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
    return Page(items=[_view(session, opened, host, row) for row in rows], next=following)


@router.put(
    "",
    summary="Override a plugin's configuration on a host",
    description="Held against the plugin's manifest together with what the host's hostgroups configure. "
    "One of a plugin that is not bound to the host is kept, and does nothing until it is.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def put_override(
    by: Operator,
    opened: Open,
    tree: Tree,
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
    return _view(session, opened, row.host, row, tree)


@router.delete(
    "",
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
