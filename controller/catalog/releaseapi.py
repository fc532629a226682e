"""Routes of releases: publishing, rolling back, and fetching one as a git bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from controller.auth.principal import Principal
from controller.catalog import releaserows
from controller.catalog.deps import Publishing
from controller.catalog.models import ReleaseRow
from controller.catalog.publish import Published
from controller.catalog.releaserows import Made
from controller.catalog.schemas import (
    FileFix,
    Finding,
    PossibleFix,
    PublishedView,
    PublishRequest,
    ReleaseSummary,
    ReleaseView,
    RollbackRequest,
)
from controller.web.deps import Open, Operator, Reading, Viewer
from controller.web.idempotency import Idempotent
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/releases", tags=["releases"])

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The release's number.")]
_BUNDLE = "application/x-git-bundle"
_UNCHANGED = {"model": PublishedView, "description": "Nothing new, or a dry run."}


@router.get("", summary="List releases, newest first", responses=answers(401, 403, 422))
def list_releases(
    by: Viewer,
    session: Reading,
    sort: Annotated[
        str,
        Query(max_length=50, description="`number` or `created`; with `-` before it descending."),
    ] = "-number",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[ReleaseSummary]:
    rows, following = fetch_page(
        session,
        select(ReleaseRow),
        sort=sort,
        columns={"number": ReleaseRow.number, "created": ReleaseRow.created},
        key=ReleaseRow.number,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[ReleaseSummary.model_validate(row) for row in rows], next=following)


@router.get(
    "/{number}",
    summary="Show a release",
    description="Its sources' commits, what the lint found, and what it changed.",
    responses=answers(401, 403, 404, 422),
)
def show_release(by: Viewer, opened: Open, publishing: Publishing, number: Number) -> ReleaseView:
    with opened.database.read() as session:
        row = releaserows.find(session, number)
    summary = ReleaseSummary.model_validate(row)
    problems = [Finding(**problem) for problem in publishing.problems(row)]
    return ReleaseView(**dict(summary), problems=problems, changes=row.changes)


@router.get(
    "/{number}/bundle",
    summary="Fetch a release as a git bundle",
    description="For `git fetch`; the release stands in it as `refs/releases/<number>`.",
    response_class=FileResponse,
    responses={
        200: {"description": "The bundle.", "content": {_BUNDLE: {}}},
        **answers(401, 403, 404, 409, 422),
    },
)
def fetch_bundle(
    by: Viewer,
    opened: Open,
    publishing: Publishing,
    number: Number,
    have: Annotated[
        str,
        Query(
            pattern=r"^([0-9a-f]{40})?$",
            description="The commit of a release that the caller has; what is not known brings everything.",
        ),
    ] = "",
) -> FileResponse:
    with opened.database.read() as session:
        release = releaserows.find(session, number)
        known = session.scalar(
            select(ReleaseRow.number).where(ReleaseRow.commit == have, ReleaseRow.number < number)
        )
    folder = tempfile.TemporaryDirectory(prefix="plugfleet-bundle-")
    try:
        file = FilePath(folder.name, f"release-{number}.bundle")
        publishing.write_bundle(number, release.commit, have if known else "", file)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        file, media_type=_BUNDLE, filename=file.name, background=BackgroundTask(folder.cleanup)
    )


@router.post(
    "",
    summary="Publish a release",
    description="Fetches every source, composes and lints the tree, holds all bindings against it, and makes "
    "it the next release. After a rollback the line is held: while a source still is at a commit that "
    "was taken back, this is refused (409) unless `force` is given.",
    status_code=201,
    responses={200: _UNCHANGED, **answers(401, 403, 409, 422)},
    response_model=PublishedView,
)
def publish(
    by: Operator, opened: Open, publishing: Publishing, once: Idempotent, body: PublishRequest
) -> JSONResponse:
    with opened.database.read() as session:
        if kept := once.replay(session, by):
            return kept
    with publishing.turn():
        published, approved = publishing.publish(
            by, dry_run=body.dry_run, force=body.force, fix=body.fix
        )
        answer = _answer(publishing, by, once, published, body.dry_run)
        return publishing.record(approved, answer)


@router.post(
    "/rollback",
    summary="Roll back to an older release",
    description="Publishes its tree again, as the next release, so that every agent's `git pull` follows. "
    "Holds the line, see `POST /releases`.",
    status_code=201,
    responses={200: _UNCHANGED, **answers(401, 403, 404, 409, 422)},
    response_model=PublishedView,
)
def roll_back(
    by: Operator, opened: Open, publishing: Publishing, once: Idempotent, body: RollbackRequest
) -> JSONResponse:
    with opened.database.read() as session:
        if kept := once.replay(session, by):
            return kept
    with publishing.turn():
        published, approved = publishing.rollback(by, body.number, dry_run=body.dry_run)
        answer = _answer(publishing, by, once, published, body.dry_run)
        return publishing.record(approved, answer)


def _answer(
    publishing: Publishing, by: Principal, once: Idempotent, published: Published, dry_run: bool
) -> Callable[[Session, Made | None], JSONResponse]:
    """Makes a release's row, if there is a new one, and the answer to the request."""

    def view(session: Session, made: Made | None) -> PublishedView:
        row = publishing.keep(session, by, made) if made else releaserows.newest(session)
        return PublishedView(
            changed=published.changed,
            dry_run=dry_run,
            release=ReleaseSummary.model_validate(row) if row else None,
            tree=published.tree,
            changes=published.changes,
            problems=[Finding(**problem) for problem in published.problems],
            fixes=[FileFix(**fix) for fix in published.fixes],
            unfixed=[PossibleFix(**fix) for fix in published.unfixed],
        )

    def answer(session: Session, made: Made | None) -> JSONResponse:
        def location(view: PublishedView) -> str:
            return f"/api/v1/releases/{view.release.number}" if made and view.release else ""

        status = 201 if made else 200
        return once.answer(
            session, by, lambda: view(session, made), status=status, location=location
        )

    return answer
