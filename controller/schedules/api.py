"""Routes of schedules."""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse
from sqlalchemy import event
from sqlalchemy.orm import Session

from controller.database.base import now
from controller.deployments.api import tell_dispatcher
from controller.deployments.schemas import DeploymentSummary
from controller.schedules import service, views
from controller.schedules.models import Schedule
from controller.schedules.schemas import (
    PreviewRequest,
    PreviewView,
    ScheduleCreate,
    SchedulePatch,
    ScheduleSummary,
    ScheduleView,
)
from controller.web import etags
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import NAME_PATTERN
from controller.web.headers import IfMatch
from controller.web.idempotency import Idempotent
from controller.web.paging import Cursor, Limit, Page, slice_page
from controller.web.problems import answers

router = APIRouter(prefix="/schedules", tags=["schedules"])

Name = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=80, description="Its name.", examples=["nightly"])
]


@router.get("", summary="List schedules", responses=answers(401, 403, 422))
def list_schedules(
    by: Viewer,
    session: Reading,
    sort: Annotated[
        str, Query(max_length=50, description="`name` or `next`; with `-` before it descending.")
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[ScheduleSummary]:
    found = views.summaries(session, service.listing(session, by), now())
    items, following = slice_page(
        found,
        sort=sort,
        columns={
            "name": lambda one: one.name,
            # What has none is behind all others.
            "next": lambda one: one.next.astimezone(UTC).isoformat() if one.next else "~",
        },
        key=lambda one: one.name,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=items, next=following)


@router.post(
    "",
    summary="Make a schedule",
    description="A deployment that begins by itself. It has the rights of the token that made or changed it last, as "
    "they are when its turn comes.",
    status_code=status.HTTP_201_CREATED,
    response_model=ScheduleView,
    responses=answers(401, 403, 409, 422),
)
def create_schedule(
    by: Operator,
    session: Writing,
    opened: Open,
    request: Request,
    once: Idempotent,
    body: ScheduleCreate,
) -> JSONResponse:
    _tell_keeper(request, session)

    def work() -> ScheduleView:
        return views.view(session, service.create(session, by, opened.settings, body), now())

    return once.answer(session, by, work, status=201, location=_location)


@router.post(
    "/preview",
    summary="Tell when a rule falls due",
    description="Or what is wrong with it. Nothing is kept.",
    responses=answers(401, 403, 422),
)
def preview_rule(by: Viewer, body: PreviewRequest) -> PreviewView:
    rule = service.rule_of(body.rrule, now())
    times = [time.astimezone(rule.zone) for time in islice(rule.times(now()), body.count)]
    return PreviewView(rrule=rule.text, time_zone=rule.zone.key, times=times)


@router.get("/{name}", summary="Show a schedule", responses=answers(401, 403, 404, 422))
def show_schedule(by: Viewer, session: Reading, response: Response, name: Name) -> ScheduleView:
    return _answer(response, session, service.find(session, by, name))


@router.patch(
    "/{name}",
    summary="Change a schedule",
    description="What is not named stays; `deploy` is taken as a whole. The caller's rights are the schedule's from "
    "then on.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def change_schedule(
    by: Operator,
    session: Writing,
    opened: Open,
    request: Request,
    response: Response,
    name: Name,
    body: SchedulePatch,
    if_match: IfMatch = None,
) -> ScheduleView:
    _tell_keeper(request, session)
    row = service.hold(session, by, name, if_match)
    return _answer(response, session, service.change(session, by, opened.settings, row, body))


@router.delete(
    "/{name}",
    summary="Remove a schedule",
    description="One that AWX has takes no turn here any more, and is `removing` until it is gone there (202).",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses={
        202: {"model": ScheduleView, "description": "It goes as soon as it is gone from AWX"},
        **answers(401, 403, 404, 412, 422),
    },
)
def remove_schedule(
    by: Operator,
    session: Writing,
    request: Request,
    name: Name,
    forget: Annotated[
        bool,
        Query(
            description="Remove it at once, also while AWX does not answer: what that has is removed when it does, "
            "where awx_url still names it."
        ),
    ] = False,
    if_match: IfMatch = None,
) -> Response:
    _tell_keeper(request, session)
    row = service.find_to_change(session, by, name, if_match)
    if service.remove(session, by, row, forget=forget):
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    session.flush()
    view = views.view(session, row, now())
    return JSONResponse(view.model_dump(mode="json"), status.HTTP_202_ACCEPTED)


@router.post(
    "/{name}/run",
    summary="Start what a schedule deploys now",
    description="With the caller's rights. Its turns stay as they are; one that comes meanwhile is an overlap.",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeploymentSummary,
    responses=answers(401, 403, 404, 409, 422),
)
def run_schedule(
    by: Operator, session: Writing, opened: Open, request: Request, once: Idempotent, name: Name
) -> JSONResponse:
    tell_dispatcher(request, session)

    def work() -> DeploymentSummary:
        row = service.hold(session, by, name)
        deployment = service.run(session, by, opened.vault, row)
        session.flush()
        return DeploymentSummary.model_validate(deployment, from_attributes=True)

    return once.answer(
        session, by, work, status=202, location=lambda view: f"/api/v1/deployments/{view.id}"
    )


def _tell_keeper(request: Request, session: Session) -> None:
    """Let AWX be brought in step when this transaction is there."""
    event.listen(session, "after_commit", lambda _: request.app.state.schedules.wake(), once=True)


def _location(view: Any) -> str:
    return f"/api/v1/schedules/{view.name}"


def _answer(response: Response, session: Session, row: Schedule) -> ScheduleView:
    session.flush()
    etags.show(response, row.version)
    return views.view(session, row, now())
