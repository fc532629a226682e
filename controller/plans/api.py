"""Routes of plans: what a host should have and why, and what a change would come to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy import select

from controller.bindings import sealing
from controller.catalog import releaserows
from controller.catalog.deps import Publishing
from controller.errors import NotFound
from controller.fleet.access import seen_by
from controller.fleet.models import AgentKind, Host
from controller.plans import service
from controller.plans.keys import in_release
from controller.plans.preview import Trees, preview
from controller.plans.schemas import (
    OriginView,
    PlannedPluginView,
    PlannedVariableView,
    PlanRelease,
    PlanView,
    PreviewRequest,
    PreviewView,
    ReasonView,
)
from controller.web.deps import Open, Viewer
from controller.web.fields import NAME_PATTERN
from controller.web.problems import answers

router = APIRouter(prefix="/plans", tags=["plans"])

HostName = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=253, description="The host's name.")
]


@router.get(
    "/{host}",
    summary="Show a host's plan",
    description="Each plugin with its reasons: the binding, its hostgroup, and whether the host is a member "
    "by name or by label rule (neither: the hostgroup is `all`); and where each part of its configuration "
    "comes from.",
    responses=answers(401, 403, 404, 409, 422),
)
def show_plan(by: Viewer, opened: Open, publishing: Publishing, host: HostName) -> PlanView:
    with opened.database.read() as session:
        row = session.scalar(select(Host).where(Host.name == host, seen_by(by)))
        if row is None:
            raise NotFound(f"there is no host {host!r}")
        plan = service.plan_of(session, opened.vault, row)
    tree = publishing.tree(plan.release[1]) if plan.release else None
    listed, problems = in_release(plan, tree)
    return PlanView(
        host=plan.host,
        agent_kind=AgentKind(plan.agent_kind),
        digest=plan.digest,
        reported=plan.reported,
        state=plan.state,
        release=PlanRelease(number=plan.release[0], commit=plan.release[1])
        if plan.release
        else None,
        hostgroups=list(plan.hostgroups),
        plugins=[_plugin(plugin) for plugin in plan.plugins],
        variables=[
            PlannedVariableView(name=v.name, hostgroup=v.hostgroup, secret=v.secret)
            for v in plan.variables
        ],
        listed=listed,
        problems=problems,
        unused_overrides=list(plan.unused),
    )


def _plugin(plugin: service.PlannedPlugin) -> PlannedPluginView:
    form = plugin.merged.form
    return PlannedPluginView(
        plugin=form.key,
        config=sealing.store(form.config).config,
        config_secrets=sealing.names(form.config),
        format=form.format,
        step=form.step,
        overridden=plugin.merged.overridden,
        origins=[
            OriginView(
                place=origin.place,
                hostgroup=origin.label.hostgroup if origin.label else None,
                binding=origin.label.binding if origin.label else None,
                removed=origin.removed,
            )
            for origin in plugin.merged.origins
        ],
        reasons=[
            ReasonView(
                binding=reason.binding,
                hostgroup=reason.hostgroup,
                by_name=reason.by_name,
                by_rule=reason.by_rule,
            )
            for reason in plugin.reasons
        ],
    )


@router.post(
    "/preview",
    summary="Preview a change",
    description="Says which hosts would get another plan by changes of bindings, of hostgroups' members or "
    "rules, or by going back to another release. Nothing is changed.",
    responses=answers(401, 403, 404, 409, 422),
)
def preview_change(
    by: Viewer, opened: Open, publishing: Publishing, body: PreviewRequest
) -> PreviewView:
    with opened.database.read() as session:
        newest = releaserows.newest(session)
        release = None if body.release is None else releaserows.find(session, body.release)
    before = publishing.tree(newest.commit) if newest else None
    trees = Trees(before, publishing.tree(release.commit) if release else before)
    with opened.database.read() as session:
        return preview(session, by, opened.vault, trees, release, body)
