"""Routes of unknown hosts, adoption rules, and the claims on a host's name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from controller.agents import claims, rules, unknown
from controller.agents.models import AdoptionRule, AgentRow, UnknownHost
from controller.agents.schemas import Adoption, ClaimView, RulePut, RuleView, UnknownHostView
from controller.fleet.api import Name, views
from controller.fleet.schemas import HostView
from controller.web import etags
from controller.web.deps import Open, Operator, Reading, Viewer, Writing
from controller.web.fields import Line
from controller.web.headers import IfMatch
from controller.web.paging import Cursor, Limit, Page, fetch_page
from controller.web.problems import answers

router = APIRouter(tags=["agents"])

_Id = Annotated[int, Path(ge=1, le=2**31 - 1, description="Its id.")]
# An unknown host may call itself anything.
_AnyName = Annotated[str, Path(min_length=1, max_length=253, description="As it calls itself.")]
_SORTS = {
    column.key: column
    for column in (
        UnknownHost.name,
        UnknownHost.peer,
        UnknownHost.first_seen,
        UnknownHost.last_seen,
    )
}


@router.get(
    "/unknown-hosts",
    summary="List hosts that send heartbeats and that nobody made",
    description="They get no plugins and are never deployed to. What stands here is what they say "
    "themselves.",
    responses=answers(401, 403, 422),
)
def list_unknown_hosts(
    by: Viewer,
    session: Reading,
    q: Annotated[Line, Query(max_length=253, description="Part of the name or address.")] = "",
    sort: Annotated[
        str, Query(description=f"One of {', '.join(_SORTS)}; with `-` before it descending.")
    ] = "name",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Page[UnknownHostView]:
    rows, following = fetch_page(
        session,
        unknown.listing(by, q),
        sort=sort,
        columns=_SORTS,
        key=UnknownHost.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[UnknownHostView.model_validate(row) for row in rows], next=following)


@router.post(
    "/unknown-hosts/{name}/adoption",
    summary="Make an unknown host a host",
    description="Its agent is told its plugins from its next question on; a deployment visits it "
    "from now on. The kind of its agent is taken from the version that it says.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 404, 409, 422),
)
def adopt_unknown_host(
    by: Operator, opened: Open, session: Writing, response: Response, name: _AnyName, body: Adoption
) -> HostView:
    host = unknown.adopt(
        session,
        by,
        opened.vault,
        unknown.find(session, by, name),
        hostgroups=body.hostgroups,
        address=body.address,
        labels=body.labels,
    )
    session.flush()
    response.headers["Location"] = f"/api/v1/hosts/{host.name}"
    etags.show(response, host.version)
    return views(session, opened.vault, [host])[0]


@router.delete(
    "/unknown-hosts/{name:path}",
    summary="Take an unknown host off the list",
    description="Its next heartbeat brings it back.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 422),
)
def forget_unknown_host(by: Operator, session: Writing, name: _AnyName) -> None:
    unknown.forget(session, by, unknown.find(session, by, name))


@router.get(
    "/adoption-rules",
    summary="List adoption rules",
    description="The first that fits an unknown host adopts it.",
    responses=answers(401, 403, 422),
)
def list_rules(
    by: Viewer, session: Reading, limit: Limit = 100, cursor: Cursor = ""
) -> Page[RuleView]:
    rows, following = fetch_page(
        session,
        rules.listing(by),
        sort="id",
        columns={"id": AdoptionRule.id},
        key=AdoptionRule.id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[RuleView.model_validate(row) for row in rows], next=following)


@router.post(
    "/adoption-rules",
    summary="Make an adoption rule",
    description="It counts from each unknown host's next heartbeat on.",
    status_code=status.HTTP_201_CREATED,
    responses=answers(401, 403, 422),
)
def create_rule(by: Operator, session: Writing, response: Response, body: RulePut) -> RuleView:
    rule = rules.create(session, by, body)
    response.headers["Location"] = f"/api/v1/adoption-rules/{rule.id}"
    return _rule(response, rule)


@router.get(
    "/adoption-rules/{id}",
    summary="Show an adoption rule",
    responses=answers(401, 403, 404, 422),
)
def show_rule(by: Viewer, session: Reading, response: Response, id: _Id) -> RuleView:
    return _rule(response, rules.find(session, by, id))


@router.put(
    "/adoption-rules/{id}",
    summary="Describe an adoption rule anew",
    description="Hosts that it adopted stay.",
    responses=answers(401, 403, 404, 412, 422),
)
def replace_rule(
    by: Operator,
    session: Writing,
    response: Response,
    id: _Id,
    body: RulePut,
    if_match: IfMatch = None,
) -> RuleView:
    rule = rules.hold(session, by, id)
    etags.check(if_match, rule.version)
    return _rule(response, rules.replace(session, by, rule, body))


@router.delete(
    "/adoption-rules/{id}",
    summary="Delete an adoption rule",
    description="Hosts that it adopted stay.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 412, 422),
)
def delete_rule(by: Operator, session: Writing, id: _Id, if_match: IfMatch = None) -> None:
    rule = rules.hold(session, by, id)
    etags.check(if_match, rule.version)
    rules.delete(session, by, rule)


@router.get(
    "/claims",
    summary="List hosts in whose names another address sends heartbeats",
    responses=answers(401, 403, 422),
)
def list_claims(
    by: Viewer, session: Reading, limit: Limit = 100, cursor: Cursor = ""
) -> Page[ClaimView]:
    rows, following = fetch_page(
        session,
        claims.listing(by),
        sort="host",
        columns={"host": AgentRow.host_id},
        key=AgentRow.host_id,
        limit=limit,
        cursor=cursor,
    )
    items = [
        ClaimView(
            host=agent.host.name,
            peer=agent.peer,
            claimed_by=agent.claimed_by,
            claimed_at=agent.claimed_at,
        )
        for agent in rows
    ]
    return Page(items=items, next=following)


@router.post(
    "/hosts/{name}/agent/move",
    summary="Take a host's heartbeats from the address that claims its name",
    description="After the host got another address. Until then what comes from there is not taken "
    "for the host's.",
    responses=answers(401, 403, 404, 409, 422),
)
def move_agent(by: Operator, opened: Open, session: Writing, name: Name) -> HostView:
    host = claims.accept(session, by, name)
    return views(session, opened.vault, [host])[0]


@router.delete(
    "/hosts/{name}/agent/claim",
    summary="Dismiss a claim on a host's name",
    description="The flag goes, and comes again with the next heartbeat from another address.",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers(401, 403, 404, 409, 422),
)
def dismiss_claim(by: Operator, session: Writing, name: Name) -> None:
    claims.dismiss(session, by, name)


def _rule(response: Response, rule: AdoptionRule) -> RuleView:
    etags.show(response, rule.version)
    return RuleView.model_validate(rule)
