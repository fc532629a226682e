"""Routes of bindings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response, status
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from controller.auth.vault import Vault
from controller.bindings import configs, service
from controller.bindings.models import BindingRow
from controller.bindings.schemas import BindingCreate, BindingPatch, BindingView
from controller.bindings.sealing import Stored
from controller.catalog.deps import newest_tree
from controller.catalog.tree import GitTree
from controller.fleet.models import Hostgroup
from controller.web import etags
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import AnyHostgroup, Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/bindings", tags=["bindings"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1, description="The binding's number.")]
Tree = Annotated[GitTree | None, Depends(newest_tree)]


def _tree_of_new(tree: Tree, body: BindingCreate) -> GitTree | None:
    """The newest tree; git was asked for the plugin's manifest before the route's own session begins."""
    configs.look_at(tree, body.plugin)
    return tree


def _tree_of_known(tree: Tree, opened: Open, id: Id, body: BindingPatch) -> GitTree | None:
    """As `_tree_of_new`, of a binding that is there."""
    with opened.database.read() as session:
        plugin = session.scalar(select(BindingRow.plugin).where(BindingRow.id == id))
    configs.look_at(tree, body.plugin or plugin or "")
    return tree


def _view(binding: BindingRow, vault: Vault, told_of: GitTree | None = None) -> BindingView:
    """A binding as answers show it; with a tree, its manifest's warnings are told."""
    return BindingView(
        id=binding.id,
        hostgroup=binding.hostgroup.name,
        plugin=binding.plugin,
        config=binding.config,
        config_secrets=Stored(binding.config, vault.open(binding.secrets)).paths(),
        format=binding.format,
        step=binding.step,
        warnings=service.warnings(vault, binding, told_of) if told_of else [],
        created=binding.created,
        updated=binding.updated,
    )


@router.get("", summary="List bindings", responses=answers(401, 403, 422))
def list_bindings(
    by: Viewer,
    opened: Open,
    session: Reading,
    hostgroup: Annotated[AnyHostgroup | None, Query(description="Only of this hostgroup.")] = None,
    plugin: Annotated[Line, Query(description="Only of this plugin, as it is bound.")] = "",
    sort: Annotated[
        str, Query(description="id, plugin or updated; with `-` before it descending.")
    ] = "id",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[BindingView]:
    query = select(BindingRow).join(BindingRow.hostgroup).options(joinedload(BindingRow.hostgroup))
    if hostgroup:
        query = query.where(Hostgroup.name == hostgroup)
    if by.hostgroups is not None:
        query = query.where(Hostgroup.name.in_(by.hostgroups))
    if plugin:
        query = query.where(BindingRow.plugin == plugin)
    rows, following = fetch_page(
        session,
        query,
        sort=sort,
        columns={
            "id": BindingRow.id,
            "plugin": BindingRow.plugin,
            "updated": BindingRow.updated,
        },
        key=BindingRow.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[_view(row, opened.vault) for row in rows], next=following)


@router.get("/{id}", summary="Show a binding", responses=answers(401, 403, 404, 422))
def show_binding(
    by: Viewer, opened: Open, session: Reading, response: Response, id: Id
) -> BindingView:
    binding = service.find(session, by, id)
    etags.show(response, binding.version)
    return _view(binding, opened.vault)


@router.post(
    "",
    summary="Bind a plugin to a hostgroup",
    description="Held against the newest release and the plugin's manifest; hosts run it after their next "
    "deployment. What several hostgroups configure of a plugin is merged on their hosts.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 409, 422),
)
def create_binding(
    by: Operator,
    opened: Open,
    tree: Annotated[GitTree | None, Depends(_tree_of_new)],
    session: Writing,
    response: Response,
    body: BindingCreate,
) -> BindingView:
    binding = service.create(
        session,
        by,
        opened.vault,
        tree,
        hostgroup=body.hostgroup,
        plugin=body.plugin,
        config=body.config,
        secrets=body.config_secrets,
        format=body.format,
        step=body.step,
    )
    etags.show(response, binding.version)
    return _view(binding, opened.vault, tree)


@router.patch(
    "/{id}",
    summary="Change a binding",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def change_binding(
    by: Operator,
    opened: Open,
    tree: Annotated[GitTree | None, Depends(_tree_of_known)],
    session: Writing,
    response: Response,
    id: Id,
    body: BindingPatch,
    if_match: IfMatch = None,
) -> BindingView:
    values = body.model_dump(exclude_unset=True)
    binding = service.change(session, by, opened.vault, tree, id, values, if_match)
    etags.show(response, binding.version)
    return _view(binding, opened.vault, tree)


@router.delete(
    "/{id}",
    summary="Remove a binding",
    description="Its hosts stop running the plugin with their next deployment.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 412, 422),
)
def delete_binding(
    by: Operator, opened: Open, session: Writing, id: Id, if_match: IfMatch = None
) -> None:
    service.delete(session, by, opened.vault, id, if_match)
