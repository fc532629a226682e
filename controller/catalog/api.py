"""Routes of sources."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status
from sqlalchemy import select

from controller.catalog import service
from controller.catalog.deps import Publishing
from controller.catalog.models import SourceRow
from controller.catalog.schemas import (
    LintReport,
    LintRequest,
    SourceCreate,
    SourcePatch,
    SourceView,
)
from controller.web import etags
from controller.web.deps import Admin, Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/sources", tags=["sources"])

SourceName = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=100, description="The source's name.")
]


def _view(source: SourceRow) -> SourceView:
    return SourceView(
        name=source.name,
        url=source.url,
        path=source.path,
        ref=source.ref,
        subdir=source.subdir,
        has_credentials=bool(source.credentials),
        created=source.created,
        updated=source.updated,
    )


@router.get("", summary="List sources", responses=answers(401, 403, 422))
def list_sources(
    by: Viewer,
    session: Reading,
    sort: Annotated[
        str,
        Query(
            max_length=50, description="`name`, `path` or `updated`; with `-` before it descending."
        ),
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[SourceView]:
    rows, following = fetch_page(
        session,
        select(SourceRow),
        sort=sort,
        columns={"name": SourceRow.name, "path": SourceRow.path, "updated": SourceRow.updated},
        key=SourceRow.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[_view(row) for row in rows], next=following)


@router.get("/{name}", summary="Show a source", responses=answers(401, 403, 404, 422))
def show_source(by: Viewer, session: Reading, response: Response, name: SourceName) -> SourceView:
    source = service.find(session, name)
    etags.show(response, source.version)
    return _view(source)


@router.post(
    "",
    summary="Add a source",
    description="It is fetched when it is linted or published, not now. Credentials that stand in the url "
    "are taken out of it and stored encrypted.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 409, 422),
)
def create_source(
    by: Admin, opened: Open, session: Writing, response: Response, body: SourceCreate
) -> SourceView:
    values = body.model_dump(exclude={"name"}, exclude_none=True)
    source = service.create(session, by, opened.vault, body.name, values)
    etags.show(response, source.version)
    return _view(source)


@router.patch(
    "/{name}",
    summary="Change a source",
    description="The tree changes with the next release.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def change_source(
    by: Admin,
    opened: Open,
    session: Writing,
    response: Response,
    name: SourceName,
    body: SourcePatch,
    if_match: IfMatch = None,
) -> SourceView:
    given = body.model_dump(exclude_unset=True)
    values = {key: v for key, v in given.items() if v is not None or key == "credentials"}
    source = service.change(session, by, opened.vault, name, values, if_match)
    etags.show(response, source.version)
    return _view(source)


@router.delete(
    "/{name}",
    summary="Remove a source",
    description="Its files leave the tree with the next release.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 412, 422),
)
def delete_source(by: Admin, session: Writing, name: SourceName, if_match: IfMatch = None) -> None:
    service.delete(session, by, name, if_match)


@router.post(
    "/{name}/lint",
    summary="Lint a source",
    description="Fetches it at a ref and says what in it would not deliver data, or would harm an agent. "
    "What harms only some agent versions is an error where such an agent is bound to it. Nothing is published.",
    responses=answers(401, 403, 404, 409, 422),
)
def lint_source(
    by: Operator, publishing: Publishing, name: SourceName, body: LintRequest
) -> LintReport:
    report = publishing.lint(by, name, body.ref or "", body.agents)
    errors = any(problem["severity"] == "error" for problem in report["problems"])
    return LintReport(clean=not errors, **report)
