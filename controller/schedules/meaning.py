"""What a schedule means in AWX: the job of its deploy template that does the same as a deployment of ours."""

from __future__ import annotations

from typing import Any

from controller.awx.template import MOST_LIMIT
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Invalid
from controller.fleet.access import EVERY_HOST
from controller.schedules.models import Missed, Overlap


def as_awx(request: DeploymentRequest) -> dict[str, Any]:
    """The fields of a schedule of AWX's that deploys what is asked for.

    Its survey takes batches and the hosts that may be lost (roles/awx_setup/files/surveys/deploy.json); hosts and
    hostgroups are the limit, under the names that they have in the controller's inventory.
    """
    named = [*request.hostgroups, *request.hosts]
    every = EVERY_HOST in named or not named
    answers: dict[str, Any] = {}
    if request.batch_size:
        answers["plugin_serial"] = str(request.batch_size)
    if request.max_lost:
        answers["plugin_max_lost"] = request.max_lost
    return {
        # Said aloud: the template may have a limit of its own.
        "limit": EVERY_HOST if every else ",".join(named),
        "job_type": "check" if request.check else None,
        "diff_mode": True if request.check else None,
        "extra_data": answers,
    }


def need_meaning(
    request: DeploymentRequest, missed: Missed | None, overlap: Overlap | None
) -> None:
    """Refuse what AWX would not do as it is asked for.

    Raises:
        Invalid: says what, and why.
    """
    said = {}
    if request.conflict == "refuse":
        said["deploy.conflict"] = (
            "a job of AWX knows no locks of other deployments: it waits for each host; take `wait`"
        )
    if missed is not None:
        said["missed"] = (
            "AWX begins one turn that it missed, however late, and cannot be told otherwise; take null"
        )
    if overlap is Overlap.SKIP:
        said["overlap"] = "AWX lets a job wait until the one before has ended; take `wait` or null"
    if len(as_awx(request)["limit"]) > MOST_LIMIT:
        said["deploy.hosts"] = (
            f"the limit would be longer than the {MOST_LIMIT} characters that a command line takes; name a "
            "hostgroup"
        )
    if said:
        raise Invalid(
            "this cannot be a schedule of AWX's: "
            + "; ".join(f"{name}: {why}" for name, why in said.items()),
            hint='change that, or let it run in the controller ("runs_in": "controller")',
            fields=[{"field": f"body.{name}", "message": why} for name, why in said.items()],
        )
