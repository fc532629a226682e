"""Routes of the configuration as one document."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from controller.catalog.deps import Publishing
from controller.gitops.export import export
from controller.gitops.flow import Applier, version
from controller.gitops.schemas import Configuration, ConfigurationPlan
from controller.web.deps import Open, Operator, Reading, Viewer
from controller.web.etags import etag
from controller.web.headers import IfMatch
from controller.web.problems import answers

router = APIRouter(prefix="/configuration", tags=["configuration"])


@router.get(
    "",
    summary="Write sources, hostgroups, bindings and schedules out as one document",
    description="Applying it again changes nothing. Secrets are in it by name only.",
    responses=answers(401, 403),
)
def export_configuration(by: Viewer, opened: Open, session: Reading) -> Configuration:
    return export(session, by, opened.vault)


@router.post(
    "/apply",
    summary="Make sources, hostgroups, bindings and schedules what a document says",
    description="All or nothing. What the document names is described whole: a field that is left out is "
    "empty, but for secrets, credentials and (where `members` is left out) members. Sources need an "
    "admin's token. The ETag of a dry run's plan, sent as If-Match, lets exactly that plan be applied.",
    responses=answers(401, 403, 404, 409, 412, 422),
)
def apply_configuration(
    by: Operator,
    opened: Open,
    publishing: Publishing,
    request: Request,
    response: Response,
    body: Configuration,
    prune: Annotated[
        bool, Query(description="Delete what the document's sections do not name.")
    ] = False,
    dry_run: Annotated[bool, Query(description="Only say what would be changed.")] = False,
    if_match: IfMatch = None,
) -> ConfigurationPlan:
    applier = Applier(opened.settings, opened.database, opened.vault, publishing.newest_tree)
    if dry_run:
        outcome = applier.plan(by, body, prune=prune)
    else:
        outcome = applier.apply(by, body, prune=prune, if_match=if_match)
        if any(change.kind == "schedule" for change in outcome.changes):
            request.app.state.schedules.wake()  # those that AWX has are brought in step
    response.headers["ETag"] = etag(version(outcome))
    return ConfigurationPlan(
        changes=outcome.changes,
        not_named=outcome.not_named,
        notes=outcome.notes,
        applied=not dry_run,
    )
