"""Routes of plugins: what a release offers, one plugin's page, and how its hosts fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query, Request, Response

from controller.auth.principal import Principal
from controller.catalog.deps import Publishing
from controller.catalog.models import ReleaseRow
from controller.catalog.schemas import Finding, ReleaseSource
from controller.catalog.tree import GitTree
from controller.errors import NotFound
from controller.plugins import health, pages, service
from controller.plugins.offered import Offered, Offers, storable
from controller.plugins.schemas import (
    DashboardView,
    MetricView,
    PluginBinding,
    PluginForm,
    PluginPage,
    PluginPath,
    PluginView,
    ScriptView,
)
from controller.web.deps import Open, Viewer
from controller.web.etags import etag, matches
from controller.web.fields import Line
from controller.web.headers import IfNoneMatch
from controller.web.paging import Cursor, Limit, Page, slice_page
from controller.web.problems import answers

router = APIRouter(tags=["plugins"])

ReleaseNumber = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Of this release; else of the newest.")
]
_SORTS = {
    "path": lambda plugin: plugin.path,
    "name": lambda plugin: plugin.name,
    "kind": lambda plugin: plugin.kind,
    "version": lambda plugin: plugin.version,
}
# What a browser may make of a picture that anybody who can push to a source has chosen: nothing else.
_PICTURE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=300",
}


def _offers(request: Request) -> Offers:
    found: Offers = request.app.state.offers
    return found


class _Offer(NamedTuple):
    """A release with what it offers; read before a route's own session begins."""

    row: ReleaseRow
    tree: GitTree
    plugins: Mapping[str, Offered]

    def find(self, path: str) -> Offered:
        """One of its plugins."""
        plugin = self.plugins.get(path.strip("/") or ".")
        if plugin is None:
            raise NotFound(
                f"release {self.row.number} has no plugin {path!r}",
                hint="a plugin is a folder with plugin.json, or one with step scripts: see GET /plugins",
            )
        return plugin


def _offer(
    by: Viewer,
    opened: Open,
    publishing: Publishing,
    offers: Annotated[Offers, Depends(_offers)],
    release: ReleaseNumber = None,
) -> _Offer | None:
    with opened.database.read() as session:
        row = service.chosen(session, release)
    if row is None:
        return None
    tree = publishing.tree(row.commit)
    return _Offer(row, tree, offers.of(row.commit, tree, opened.catalog.repository, row.sources))


def _published(offer: Annotated[_Offer | None, Depends(_offer)]) -> _Offer:
    if offer is None:
        raise NotFound("nothing was published yet")
    return offer


Offering = Annotated[_Offer, Depends(_published)]


@router.get(
    "/plugins",
    summary="List plugins",
    description="What the newest release, or another one, offers: folders with a plugin.json and folders with "
    "step scripts. Hostgroups and hosts are those that have it bound now, as far as the token sees them.",
    responses=answers(401, 403, 404, 409, 422),
)
def list_plugins(
    by: Viewer,
    opened: Open,
    offer: Annotated[_Offer | None, Depends(_offer)],
    q: Annotated[
        Line, Query(max_length=200, description="Part of path, title, description or a tag.")
    ] = "",
    kind: Annotated[
        Literal["manifest", "scripts"] | None, Query(description="Only of this kind.")
    ] = None,
    tag: Annotated[
        Line, Query(max_length=200, description="Only with this tag; case does not matter.")
    ] = "",
    sort: Annotated[
        str,
        Query(
            max_length=50,
            description=f"One of {', '.join(_SORTS)}; with `-` before it descending.",
        ),
    ] = "path",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[PluginView]:
    wanted = [
        plugin
        for plugin in (offer.plugins.values() if offer else ())
        if kind in (None, plugin.kind)
        and (not q or plugin.fits(q))
        and (not tag or tag.lower() in [known.lower() for known in plugin.tags])
    ]
    rows, following = slice_page(
        wanted,
        sort=sort,
        columns=_SORTS,
        key=lambda plugin: plugin.path,
        limit=limit,
        cursor=cursor,
    )
    if offer is None or not rows:
        return Page(items=[], next=None)
    with opened.database.read() as session:
        uses = service.uses(session, offer.tree, offer.plugins.keys())
        sets = {row.path: _groups(uses.get(row.path, [])) for row in rows}
        hosts = service.hosts_of(session, by, sets.values())
    views = [_view(by, row, uses.get(row.path, []), hosts[sets[row.path]]) for row in rows]
    return Page(items=views, next=following)


@router.get(
    "/plugins/page",
    summary="Show a plugin",
    description="All that is known of it: manifest, parameters, metrics, dashboards, README, what the lint says, "
    "who runs it, and how it fares.",
    responses=answers(401, 403, 404, 409, 422),
)
def show_plugin(
    by: Viewer, opened: Open, publishing: Publishing, offer: Offering, path: PluginPath
) -> PluginPage:
    plugin = offer.find(path)
    content = pages.read(offer.tree, plugin)
    problems = pages.findings(plugin, publishing.problems(offer.row))
    with opened.database.read() as session:
        uses = service.uses(session, offer.tree, offer.plugins.keys()).get(plugin.path, [])
        every, single = _groups(uses), [frozenset([use.hostgroup]) for use in uses]
        hosts = service.hosts_of(session, by, [every, *single])
        states = health.counts(session, by, plugin.path)
    manifest = content.manifest
    return PluginPage(
        **dict(_view(by, plugin, uses, hosts[every])),
        release=offer.row.number,
        command=storable(manifest.effective_command) if manifest else "",
        post_extract=storable(manifest.post_extract) if manifest else "",
        unsupported_platforms=storable(manifest.unsupported_platforms) if manifest else [],
        has_icon=content.has_icon,
        form=content.form,
        metrics=[MetricView(**metric) for metric in content.metrics],
        dashboards=[DashboardView.model_validate(board) for board in content.dashboards],
        readme=content.readme,
        findings=[Finding(**problem) for problem in problems],
        bindings=[
            PluginBinding(
                binding=use.binding,
                plugin=use.plugin,
                hostgroup=use.hostgroup,
                hosts=hosts[frozenset([use.hostgroup])],
            )
            for use in uses
            if by.sees_hostgroup(use.hostgroup)
        ],
        health=states,
    )


@router.get(
    "/plugins/form",
    summary="Describe a plugin's configuration",
    description="What a dialog for a binding's configuration is drawn from, and a JSON Schema of it.",
    responses=answers(401, 403, 404, 409, 422),
)
def show_form(by: Viewer, offer: Offering, path: PluginPath) -> PluginForm:
    plugin = offer.find(path)
    form = pages.form_of(pages.read_manifest(offer.tree, plugin))
    if form is None:
        raise NotFound(
            f"{plugin.path!r} takes no configuration: it has no plugin.json that can be read"
        )
    return PluginForm.model_validate(form)


@router.get(
    "/plugins/icon",
    summary="Fetch a plugin's icon",
    description="A PNG of at most 256 KiB; a manifest that names anything else has none.",
    response_class=Response,
    responses={
        200: {"description": "The icon.", "content": {"image/png": {}}},
        304: {"description": "It is what the caller has (If-None-Match)."},
        **answers(401, 403, 404, 409, 422),
    },
)
def fetch_icon(
    by: Viewer, offer: Offering, path: PluginPath, if_none_match: IfNoneMatch = None
) -> Response:
    plugin = offer.find(path)
    found = pages.icon(offer.tree, plugin, pages.read_manifest(offer.tree, plugin))
    if found is None:
        raise NotFound(f"plugin {plugin.path!r} has no icon that is a PNG of at most 256 KiB")
    headers = {**_PICTURE, "ETag": etag(found.digest)}
    if matches(if_none_match, found.digest):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type="image/png", headers=headers)


def _groups(uses: Sequence[service.Use]) -> frozenset[str]:
    return frozenset(use.hostgroup for use in uses)


def _view(by: Principal, plugin: Offered, uses: Sequence[service.Use], hosts: int) -> PluginView:
    return PluginView(
        path=plugin.path,
        name=plugin.name,
        kind="manifest" if plugin.kind == "manifest" else "scripts",
        title=plugin.title,
        description=plugin.description,
        version=plugin.version,
        tags=list(plugin.tags),
        scripts=[ScriptView.model_validate(script) for script in plugin.scripts],
        source=ReleaseSource(**plugin.source) if plugin.source else None,
        hostgroups=sum(map(by.sees_hostgroup, _groups(uses))),
        hosts=hosts,
    )
