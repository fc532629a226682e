"""The route that imports many hosts at once."""

from __future__ import annotations

import enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from controller.auth.principal import Principal
from controller.database import counters
from controller.errors import Invalid
from controller.fleet.importformats import Given, read_csv, read_json
from controller.fleet.importing import Plan, plan, store
from controller.fleet.inventorytext import read_inventory
from controller.fleet.schemas import ImportReport
from controller.web.deps import Context, Open, Operator
from controller.web.idempotency import Idempotent
from controller.web.problems import answers

router = APIRouter(prefix="/hosts", tags=["hosts"])


class Format(enum.StrEnum):
    """What hosts can be imported from."""

    JSON = "json"
    CSV = "csv"
    ANSIBLE = "ansible"


_READERS = {Format.JSON: read_json, Format.CSV: read_csv, Format.ANSIBLE: read_inventory}
# `format` tells what the body is, whatever its media type; a dry run answers what is wrong with it.
_BODIES: dict[str, Any] = {
    "application/json": {
        "schema": {"description": "A list of hosts, as PATCH takes them, each with its `name`."},
        "example": [
            {"name": "web1", "address": "192.0.2.1", "labels": {"idc": "bj"}, "hostgroups": ["web"]}
        ],
    },
    "text/csv": {
        "schema": {"description": "CSV with a header line, `,` or `;` between fields."},
        "example": "name,address,labels.idc,hostgroups,ansible_user\nweb1,192.0.2.1,bj,web,deploy\n",
    },
    "text/plain": {
        "schema": {"description": "An Ansible inventory, INI or YAML."},
        "example": "[web]\nweb1 ansible_host=192.0.2.1\n\n[web:vars]\nansible_user=deploy\n",
    },
}


async def _content(request: Request) -> bytes:
    """The body.

    Raises:
        Invalid: there is none.
    """
    body = await request.body()
    if not body:
        raise Invalid("there is no body", hint="send the hosts as the body of the request")
    return body


@router.post(
    "/import",
    summary="Import hosts from JSON, CSV or an Ansible inventory",
    description="Makes hosts that are not there and changes those that are, as PATCH does: all of them, or none "
    "where one is wrong. Hosts that are not named stay as they are, and memberships only grow, so the same can be "
    "imported again and again.\n\n"
    "**json**: a list of hosts. **csv**: a header line with `name`, `address`, `agent_kind`, `hostgroups` (names "
    "with spaces between), `labels.KEY`, any other column is a variable. **ansible**: the text of an inventory, INI "
    "or YAML; nothing in it is executed or evaluated. Its groups become hostgroups; a host is put into all groups "
    "above its own too; passwords (`ansible_password`, ...) become secrets.",
    responses=answers(401, 403, 409, 413, 422),
    response_model=ImportReport,
    openapi_extra={"requestBody": {"required": True, "content": _BODIES}},
)
def import_hosts(
    by: Operator,
    opened: Open,
    content: Annotated[bytes, Depends(_content)],
    once: Idempotent,
    format: Annotated[Format, Query(description="What the body is.")],
    dry_run: Annotated[
        bool,
        Query(description="Answer what would come of it, errors included, and change nothing."),
    ] = False,
    create_hostgroups: Annotated[
        bool | None,
        Query(
            description="Make hostgroups that are not there, instead of refusing them; by default only an "
            "Ansible inventory does."
        ),
    ] = None,
) -> JSONResponse:
    given = _READERS[format](content)
    make = format is Format.ANSIBLE if create_hostgroups is None else create_hostgroups
    if dry_run:
        with opened.database.read() as session:
            planned = plan(session, by, opened.vault, given, make_hostgroups=make)
        return JSONResponse(_report(planned, dry_run=True).model_dump(mode="json"))
    with opened.database.write() as session:
        return once.answer(
            session, by, lambda: _carry_out(session, by, opened, given, make=make), status=200
        )


def _carry_out(
    session: Session, by: Principal, opened: Context, given: Given, *, make: bool
) -> ImportReport:
    counters.lock(session, counters.PLANS)
    planned = plan(session, by, opened.vault, given, make_hostgroups=make)
    store(session, by, opened.vault, given, planned)
    return _report(planned, dry_run=False)


def _report(planned: Plan, *, dry_run: bool) -> ImportReport:
    return ImportReport(
        dry_run=dry_run,
        created=len(planned.created),
        updated=len(planned.updated.keys() | planned.joined - planned.created.keys()),
        unchanged=planned.unchanged,
        hostgroups_created=sorted(planned.new_hostgroups),
        hostgroups_updated=sorted(planned.changed_hostgroups),
        errors=planned.problems[:1000],
    )
