"""The route that Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from controller.operations.fleetmetrics import page
from controller.web.deps import Reading, Viewer
from controller.web.problems import answers

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Read the controller's metrics for Prometheus",
    description="Hosts by state, heartbeat lag, deployments by status, the queue, run and request "
    "times, and this process's CPU and memory. Give Prometheus a viewer token of its own.",
    response_class=Response,
    responses=answers(401, 403)
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics"}},
)
def metrics(by: Viewer, session: Reading) -> Response:
    by.need_whole_fleet("the page of metrics")
    return Response(page(session), media_type=CONTENT_TYPE_LATEST)
