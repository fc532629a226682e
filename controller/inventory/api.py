"""The route of the inventory, answered from memory as long as nothing changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select

from controller.auth.models import Scope
from controller.auth.principal import Principal
from controller.database import counters
from controller.errors import NotFound
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Hostgroup, Membership
from controller.inventory import service
from controller.web.deps import Open, Reading, Viewer
from controller.web.etags import etag, matches
from controller.web.fields import AnyHostgroup
from controller.web.headers import IfNoneMatch
from controller.web.problems import answers

router = APIRouter(prefix="/inventory", tags=["inventory"])


class Bodies:
    """The last few inventories as they were sent, by their ETag."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The body of a key, made once however many ask for it at a time."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def _bodies(request: Request) -> Bodies:
    found: Bodies = request.app.state.inventories
    return found


@router.get(
    "",
    summary="Read the inventory",
    description="All hosts, hostgroups, plans and connection variables in the form of an Ansible "
    "inventory script, with a group `pf_<state>` for each state, and `pf_everyone` for the variables of hostgroup "
    "`all`. Secret variables are left out, unless "
    "`secrets` asks for them, which needs scope operator; a token that is limited to hostgroups gets "
    "those of its hosts and hostgroups.",
    response_model=dict[str, Any],
    responses={
        304: {"description": "It is what the caller has (If-None-Match)."},
        **answers(401, 403, 404, 422),
    },
)
def read_inventory(
    by: Viewer,
    opened: Open,
    session: Reading,
    bodies: Annotated[Bodies, Depends(_bodies)],
    hostgroup: Annotated[
        AnyHostgroup | None, Query(description="Only the hosts of this hostgroup.")
    ] = None,
    secrets: Annotated[
        bool, Query(description="Also the values of secret variables; needs scope operator.")
    ] = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    if secrets:
        by.need(Scope.OPERATOR)
    if hostgroup:
        by.need_hostgroups([hostgroup])
        if session.scalar(select(Hostgroup.id).where(Hostgroup.name == hostgroup)) is None:
            raise NotFound(f"there is no hostgroup {hostgroup!r}")
    # Read before everything else: what changes meanwhile makes a newer number, never an older body.
    numbers = [counters.count(session, name) for name in (counters.PLANS, counters.STATES)]
    public_url = opened.settings.public_url
    limited = None if by.hostgroups is None else sorted(by.hostgroups)
    variant = json.dumps([hostgroup, secrets, limited, public_url])
    version = "-".join(map(str, numbers)) + "-" + hashlib.sha256(variant.encode()).hexdigest()[:12]
    headers = {"ETag": etag(version), "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if matches(if_none_match, version):
        return Response(status_code=304, headers=headers)

    def make() -> bytes:
        hosts = _hosts(session, by, hostgroup)
        found = service.document(
            session,
            opened.vault,
            hosts=hosts,
            with_secrets=secrets,
            public_url=public_url,
            reach=by.hostgroups,
        )
        return json.dumps(found, separators=(",", ":")).encode()

    body = bodies.get(version, make)
    return Response(body, media_type="application/json", headers=headers)


def _hosts(session: Reading, by: Principal, hostgroup: str | None) -> list[str] | None:
    """The names of the hosts that are asked for and may be seen, or None for all."""
    unlimited = by.hostgroups is None or EVERY_HOST in by.hostgroups
    if unlimited and hostgroup in (None, EVERY_HOST):
        return None
    query = select(Host.name).where(seen_by(by))
    if hostgroup not in (None, EVERY_HOST):
        query = query.join(Membership, Membership.host_id == Host.id).join(Hostgroup)
        query = query.where(Hostgroup.name == hostgroup)
    return list(session.scalars(query))
