"""Routes of deployments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, status
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import event
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.deployments import events, service
from controller.deployments.flow import Dispatcher
from controller.deployments.models import Deployment, HostResult, HostStatus, Status
from controller.deployments.schemas import (
    DeploymentRequest,
    DeploymentSummary,
    DeploymentView,
    EventsView,
    EventView,
    HostResultView,
    WaveView,
)
from controller.deployments.stream import Streams
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import Line
from controller.web.idempotency import Idempotent
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(prefix="/deployments", tags=["deployments"])

_LARGEST = 2**31 - 1
DeploymentId = Annotated[int, Path(ge=1, le=_LARGEST, description="Number of the deployment.")]
After = Annotated[
    int, Query(ge=0, le=2**62, description="Only events after the one with this id; 0 is all.")
]


@router.post(
    "",
    summary="Bring hosts to their plan",
    description="Decides which hosts need a visit, and queues a deployment that visits them; one with "
    "nothing to do has ended already in the answer.",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeploymentView,
    responses=answers(401, 403, 409, 422),
)
def start_deployment(
    by: Operator,
    session: Writing,
    opened: Open,
    request: Request,
    once: Idempotent,
    body: DeploymentRequest,
) -> JSONResponse:
    tell_dispatcher(request, session)

    def work() -> DeploymentView:
        return _view(session, by, service.start(session, by, opened.vault, body))

    return once.answer(session, by, work, status=202, location=_location)


@router.get("", summary="List deployments", responses=answers(401, 403, 422))
def list_deployments(
    by: Viewer,
    session: Reading,
    wanted: Annotated[
        Status | None, Query(alias="status", description="Only those of this status.")
    ] = None,
    actor: Annotated[
        Line, Query(alias="by", max_length=200, description="Only those that this token asked for.")
    ] = "",
    sort: Annotated[str, Query(max_length=50, description="`id` or `-id`.")] = "-id",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[DeploymentSummary]:
    query = service.seen(by)
    if wanted:
        query = query.where(Deployment.status == wanted.value)
    if actor:
        query = query.where(Deployment.by == actor)
    rows, following = fetch_page(
        session,
        query,
        sort=sort,
        columns={"id": Deployment.id},
        key=Deployment.id,
        limit=limit,
        cursor=cursor,
    )
    counted = service.totals(session, by, [row.id for row in rows])
    items = []
    for row in rows:
        item = DeploymentSummary.model_validate(row, from_attributes=True)
        items.append(item.model_copy(update={"hosts": counted.get(row.id, {})}))
    return Page(items=items, next=following)


@router.get("/{id}", summary="Show a deployment", responses=answers(401, 403, 404, 422))
def show_deployment(by: Viewer, session: Reading, id: DeploymentId) -> DeploymentView:
    return _view(session, by, service.find(session, by, id))


@router.get(
    "/{id}/hosts",
    summary="List what a deployment came to on each host",
    responses=answers(401, 403, 404, 422),
)
def list_host_results(
    by: Viewer,
    session: Reading,
    id: DeploymentId,
    wanted: Annotated[
        HostStatus | None, Query(alias="status", description="Only hosts of this status.")
    ] = None,
    wave: Annotated[
        int | None, Query(ge=0, le=_LARGEST, description="Only hosts of this wave.")
    ] = None,
    sort: Annotated[str, Query(max_length=50, description="`host`, `wave` or `status`.")] = "host",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[HostResultView]:
    service.find(session, by, id)
    query = service.host_results(by, id)
    if wanted:
        query = query.where(HostResult.status == wanted.value)
    if wave is not None:
        query = query.where(HostResult.wave == wave)
    rows, following = fetch_page(
        session,
        query,
        sort=sort,
        columns={
            "host": HostResult.host,
            "wave": HostResult.wave,
            "status": HostResult.status,
        },
        key=HostResult.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[HostResultView.model_validate(row) for row in rows], next=following)


@router.post(
    "/{id}/cancel",
    summary="Cancel a deployment",
    description="Hosts that were not begun are left alone; the run and all of its processes end.",
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers(401, 403, 404, 409, 422),
)
def cancel_deployment(
    by: Operator, session: Writing, request: Request, id: DeploymentId
) -> DeploymentView:
    tell_dispatcher(request, session)
    return _view(session, by, service.cancel(session, by, id))


@router.post(
    "/{id}/retry",
    summary="Try again on the hosts that a deployment left behind",
    description="A new deployment of those that failed, were unreachable, canceled or interrupted.",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeploymentView,
    responses=answers(401, 403, 404, 409, 422),
)
def retry_deployment(
    by: Operator,
    session: Writing,
    opened: Open,
    request: Request,
    once: Idempotent,
    id: DeploymentId,
) -> JSONResponse:
    tell_dispatcher(request, session)

    def work() -> DeploymentView:
        return _view(session, by, service.retry(session, by, opened.vault, id))

    return once.answer(session, by, work, status=202, location=_location)


@router.get(
    "/{id}/events",
    summary="Read a deployment's events",
    responses=answers(401, 403, 404, 422),
)
def list_events(
    by: Viewer, session: Reading, id: DeploymentId, after: After = 0, limit: Limit = 500
) -> EventsView:
    deployment = service.find(session, by, id)
    rows = events.read(session, id, after, limit, by=by)
    items = [
        EventView(
            **{**row._mapping, "data": json.loads(row.data)}
        )  # the rows' columns are its fields
        for row in rows
    ]
    return EventsView(
        items=items,
        last=items[-1].id if items else after,
        ended=Status(deployment.status).ended and len(items) < limit,
    )


@router.get(
    "/{id}/events/stream",
    summary="Follow a deployment's events",
    description="Server-Sent Events, from the first on or after `Last-Event-ID` (or `after`), live; the "
    "last is `end`, with the status that it ended with.",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events as they come",
            "content": {"text/event-stream": {}},
        },
        **answers(401, 403, 404, 422),
    },
)
def follow_events(
    by: Viewer,
    opened: Open,
    request: Request,
    id: DeploymentId,
    after: After = 0,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=2**62, description="Id of the last event that the reader has."),
    ] = None,
) -> StreamingResponse:
    with opened.database.read() as session:
        service.find(session, by, id)
    streams: Streams = request.app.state.streams
    body: AsyncIterator[bytes] = streams.follow(
        by, id, after if last_event_id is None else last_event_id
    )
    # Proxies such as nginx would keep events back until their buffer is full.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


def tell_dispatcher(request: Request, session: Session) -> None:
    """Let the dispatcher look at once when this transaction is there."""
    dispatcher: Dispatcher = request.app.state.dispatcher
    event.listen(session, "after_commit", lambda _: dispatcher.wake(), once=True)


def _location(view: Any) -> str:
    return f"/api/v1/deployments/{view.id}"


def _total(waves: dict[int, dict[HostStatus, int]]) -> dict[HostStatus, int]:
    total: dict[HostStatus, int] = {}
    for part in waves.values():
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total


def _view(session: Session, by: Principal, deployment: Deployment) -> DeploymentView:
    session.flush()
    session.refresh(deployment)
    counted = service.counts(session, by, [deployment.id]).get(deployment.id, {})
    waves = [
        WaveView.model_validate(wave).model_copy(update={"hosts": counted.get(wave.number, {})})
        for wave in deployment.waves
    ]
    summary = DeploymentSummary.model_validate(deployment, from_attributes=True)
    return DeploymentView(
        **summary.model_dump(exclude={"hosts"}),
        hosts=_total(counted),
        request=service.request_of(session, by, deployment),
        waves=waves,
    )
