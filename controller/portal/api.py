"""Routes of keeping an Open-Falcon portal in step."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from controller.auth.principal import Principal
from controller.catalog.deps import Publishing
from controller.portal import runs
from controller.portal.flow import Syncer, version
from controller.portal.schemas import ImportRequest, PortalReport, SyncRequest
from controller.web.deps import Context, Open, Operator, Reading, Viewer
from controller.web.etags import etag
from controller.web.headers import IfMatch
from controller.web.idempotency import Idempotent
from controller.web.problems import answers

router = APIRouter(prefix="/portal", tags=["portal"])


def _syncer(opened: Context, publishing: Publishing) -> Syncer:
    return Syncer(opened.settings, opened.database, opened.vault, publishing.newest_tree)


@router.post(
    "/sync",
    summary="Bring an Open-Falcon portal and us in step",
    description="One side follows the other, by adding and taking away what differs: no membership or list is "
    "ever replaced. Taken away is only what an earlier sync brought, unless `prune` is given. The ETag of a dry "
    "run's plan, sent as If-Match, lets exactly that plan be carried out. `status` is `failed` where the portal "
    "did not take all of it; each step says what came of it, and the next sync goes on.",
    responses=answers(401, 403, 409, 412, 422, 502),
    response_model=PortalReport,
)
def sync_portal(
    by: Operator,
    opened: Open,
    publishing: Publishing,
    once: Idempotent,
    body: SyncRequest,
    if_match: IfMatch = None,
) -> JSONResponse:
    with opened.database.read() as session:
        if kept := once.replay(session, by):
            return kept
    report = _syncer(opened, publishing).sync(by, body, if_match)
    return _answer(opened, by, once, report)


@router.post(
    "/import",
    summary="Take over an Open-Falcon portal",
    description="Makes hostgroups, hosts and bindings of what a portal's API tells, or of what is given: all in "
    "one transaction. What there is already stays as it is, and nothing is taken away. What cannot be taken is "
    "named with its reason; bindings that the newest release does not have are made and named.",
    responses=answers(401, 403, 409, 412, 413, 422, 502),
    response_model=PortalReport,
)
def import_portal(
    by: Operator,
    opened: Open,
    publishing: Publishing,
    once: Idempotent,
    body: ImportRequest,
    if_match: IfMatch = None,
) -> JSONResponse:
    with opened.database.read() as session:
        if kept := once.replay(session, by):
            return kept
    report = _syncer(opened, publishing).take_over(by, body, if_match)
    return _answer(opened, by, once, report)


@router.get(
    "/report",
    summary="Show what the newest sync or import did",
    responses=answers(401, 403, 404),
)
def show_report(by: Viewer, session: Reading) -> PortalReport:
    by.need_whole_fleet("the report of the portal")
    return runs.latest(session)


def _answer(opened: Context, by: Principal, once: Idempotent, report: PortalReport) -> JSONResponse:
    with opened.database.write() as session:
        response = once.answer(session, by, lambda: report, status=200)
    response.headers["ETag"] = etag(version(report))
    return response
