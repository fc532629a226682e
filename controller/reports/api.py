"""The route that control nodes report their own runs to."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, status
from fastapi.responses import JSONResponse

from controller.reports import service
from controller.reports.schemas import Report, ReportTaken
from controller.web.deps import Open, Operator, Writing
from controller.web.idempotency import Idempotent
from controller.web.problems import answers

router = APIRouter(prefix="/reports", tags=["reports"])


@router.post(
    "",
    summary="Report what a control node's own run came to",
    description="What `ansible-playbook deploy-plugins.yml` with the controller's inventory sends when it "
    "ends. It is recorded as a deployment that has ended, and the hosts' states follow.",
    status_code=status.HTTP_201_CREATED,
    response_model=ReportTaken,
    responses=answers(401, 403, 409, 422),
)
def take_report(
    by: Operator, session: Writing, opened: Open, once: Idempotent, body: Report
) -> JSONResponse:
    def work() -> ReportTaken:
        deployment = service.take(session, by, opened.vault, body)
        known = set(deployment.request["hosts"])
        return ReportTaken(
            deployment=deployment.id,
            hosts=len(known),
            unknown=[host.host for host in body.hosts if host.host not in known],
        )

    return once.answer(session, by, work, status=201, location=_location)


def _location(taken: Any) -> str:
    return f"/api/v1/deployments/{taken.deployment}"
