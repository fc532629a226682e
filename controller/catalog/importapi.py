"""The route that imports many sources at once."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from controller.catalog.deps import Publishing
from controller.catalog.importing import Outcome, need_none_refused, store
from controller.catalog.importschemas import SourceImport, SourceImportReport
from controller.catalog.sourceimport import Importer
from controller.web.deps import Admin, Open
from controller.web.idempotency import Idempotent
from controller.web.problems import answers

router = APIRouter(prefix="/sources", tags=["sources"])


@router.post(
    "/import",
    summary="Import sources from a list or a repository of submodules",
    description="Adds sources that are not there and changes those that are: all of them, or none where one is "
    "refused. Without a name, the source that is mounted at the path is the one that is meant. Sources that are "
    "not named stay, so the same can be imported again and again.\n\n"
    "`repository`: each submodule becomes a source at the last name of its folder, its ref the commit that is "
    "pinned. Importing again makes moved pins changes. Relative URLs are resolved as git does; the repository's "
    "credentials are given to submodules of the same server only.",
    response_model=SourceImportReport,
    responses=answers(401, 403, 409, 422),
)
def import_sources(
    by: Admin, opened: Open, publishing: Publishing, once: Idempotent, body: SourceImport
) -> JSONResponse:
    with opened.database.read() as session:
        if kept := once.replay(session, by):
            return kept
    importer = Importer(publishing)
    wanted = importer.wanted(by, body)
    if body.dry_run:
        planned = _report(importer.plan(by, wanted), dry_run=True)
        return JSONResponse(planned.model_dump(mode="json"))

    with opened.database.write() as session:

        def work() -> SourceImportReport:
            outcome = store(session, by, opened.vault, wanted)
            if not body.skip_refused:
                need_none_refused(outcome)
            return _report(outcome, dry_run=False)

        return once.answer(session, by, work, status=200)


def _report(outcome: Outcome, *, dry_run: bool) -> SourceImportReport:
    return SourceImportReport(
        dry_run=dry_run,
        created=outcome.count("new"),
        changed=outcome.count("changed"),
        unchanged=outcome.count("same"),
        refused=outcome.count("refused"),
        sources=outcome.lines,
    )
