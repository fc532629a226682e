"""AWX's `/api/v2/`, as far as plugfleet uses it: which request means what.

Statuses and bodies as AWX gives them (awx/api/generics.py, awx/api/views): 201 for what is new, 202 for
what begins, 204 for what is gone, 400 with the errors of each field, 401, 403, 404, 405, 409.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from tests.awx import deleting, links, rrules
from tests.awx.acts import Acts, Answer, Request
from tests.awx.credentials import MANAGED
from tests.awx.jobs import Jobs
from tests.awx.kinds import KINDS, RUNS, TEMPLATES
from tests.awx.objects import ROOT, Objects, not_allowed
from tests.awx.rights import Rights, need
from tests.awx.store import Object, Refused, Store, page

# Where AAP's gateway has it (`OPTIONAL_API_URLPATTERN_PREFIX`).
_GATEWAY = "/api/controller/v2/"


class AwxApi:
    """All objects, and what requests do with them.

    Attributes:
        version: what AWX says that it is.
        behind_gateway: it answers below `/api/controller/` only, as in AAP 2.5.
        store: the objects.
        rights: users, tokens and roles.
        jobs: what runs, and how it goes.
        objects: what may be made of them.
    """

    def __init__(self) -> None:
        self.version = "24.6.1"
        self.behind_gateway = False
        self.store = Store()
        self.rights = Rights(self.store)
        self.jobs = Jobs(self.store)
        self.objects = Objects(self.store, self.rights, self.jobs)
        self._acts = Acts(self.store, self.rights, self.jobs, self.objects)
        for kind in MANAGED:
            self.store.add("credential_types", kind)

    def close(self) -> None:
        """End everything that runs."""
        self._acts.close()
        self.jobs.close()

    def fire(self, schedule: int) -> int:
        """Let a schedule's time come; returns the id of the job."""
        found = self.store.get("schedules", schedule)
        given = {name: found[name] for name in ("limit", "job_type", "diff_mode") if found[name]}
        template = self.store.template(found["unified_job_template"])[1]
        job = self._acts.launched(template, {**given, "extra_vars": found["extra_data"]})
        job |= {"launch_type": "scheduled", "schedule": schedule}
        return int(job["id"])

    def fire_due(self) -> None:
        """Let the schedules' jobs begin whose time has come."""
        now = datetime.now(UTC)
        for schedule in self.store.find("schedules", enabled=True):
            if schedule["next_run"] and datetime.fromisoformat(schedule["next_run"]) <= now:
                self.objects.plan(schedule)
                with contextlib.suppress(Refused):  # AWX logs that, and goes on
                    self.fire(schedule["id"])

    def answer(
        self, method: str, path: str, query: str, body: Any, authorization: str | None
    ) -> Answer:
        """Status and body that a request is answered with."""
        try:
            if path == "/api/":
                return 200, self._root()
            if self.behind_gateway:
                if not path.startswith(_GATEWAY):
                    raise Refused(404, {"detail": "The requested resource could not be found."})
                path = ROOT + path.removeprefix(_GATEWAY)
            if path == f"{ROOT}ping/":
                return 200, {"ha": False, "version": self.version, "active_node": "stand-in"}
            user = self.rights.user(authorization)
            if not isinstance(body or {}, dict):
                raise Refused(400, {"detail": "JSON parse error - not a JSON object"})
            return self._answer(Request(user, method, path, query, body or {}))
        except Refused as refused:
            return refused.status, refused.body

    def _root(self) -> Object:
        """What everybody may see at `/api/` (`ApiRootView`); it names no OAuth 2 where there are no tokens."""
        if self.behind_gateway:
            return {"description": "AAP gateway REST API", "apis": {"controller": _GATEWAY[:-3]}}
        known = {"oauth2": "/api/o/"} if self.rights.has_tokens else {}
        return {"current_version": ROOT, "available_versions": {"v2": ROOT}, **known}

    def _answer(self, request: Request) -> Answer:
        parts = [part for part in request.path.removeprefix(ROOT).split("/") if part]
        match parts:
            case ["config"]:
                return 200, {"version": self.version, "time_zone": "UTC"}
            case ["me"]:
                me = self.objects.shown("users", request.user)
                return 200, page([me], request.path, request.query)
            case ["schedules", "preview"]:
                return _preview(request.body.get("rrule", ""))
            case ["bulk", "host_create"]:
                return self._bulk(request)
            case [kind] if kind in KINDS:
                return self._many(request, kind)
            case [kind, number] if kind in KINDS:
                return self._one(request, kind, self._visible(request, kind, number))
            case [kind, number, sub] if kind in KINDS:
                return self._below(request, kind, self._visible(request, kind, number), sub)
        raise Refused(404, {"detail": "The requested resource could not be found."})

    def _visible(self, request: Request, kind: str, number: str) -> Object:
        found = self.store.get(kind, int(number) if number.isdigit() else 0)
        need(self.rights.may_read(request.user, kind, found))
        return found

    def _bulk(self, request: Request) -> Answer:
        need(request.user["is_superuser"])
        number = request.body["inventory"]
        made = [
            self.objects.create("hosts", {**host, "inventory": number})
            for host in request.body["hosts"]
        ]
        return 201, {"hosts": [self.objects.shown("hosts", host) for host in made]}

    def _many(self, request: Request, kind: str) -> Answer:
        if request.method == "GET":
            return 200, self._list(request, kind, self.store.all(kind))
        if request.method != "POST" or kind in RUNS:
            raise not_allowed(request.method)
        need(request.user["is_superuser"])
        if kind in self.rights.not_to_be_made:
            raise Refused(403, {"detail": self.rights.not_to_be_made[kind]})
        return 201, self.objects.shown(kind, self.objects.create(kind, request.body))

    def _list(self, request: Request, kind: str, objects: list[Object]) -> Object:
        seen = [
            self.objects.shown(kind, found)
            for found in objects
            if self.rights.may_read(request.user, kind, found)
        ]
        for job in seen if kind in RUNS else ():
            # What `UnifiedJobListSerializer` leaves out.
            job.pop("result_traceback", None)
            job.pop("event_processing_finished", None)
        return page(seen, request.path, request.query, KINDS[kind].fields)

    def _one(self, request: Request, kind: str, found: Object) -> Answer:
        method, user = request.method, request.user
        if method == "GET":
            return 200, self.objects.shown(kind, found)
        need(self.rights.may_change(user, kind, found))
        if method in ("PATCH", "PUT") and kind not in RUNS:
            self.objects.change(kind, found, request.body)
            return 200, self.objects.shown(kind, found)
        if method != "DELETE":
            raise not_allowed(method)
        return deleting.delete(self.store, self.jobs, kind, found)

    def _below(self, request: Request, kind: str, found: Object, sub: str) -> Answer:
        """What stands below an object: lists, links and acts."""
        if sub in KINDS[kind].many:
            return self._linked(request, kind, found["id"], sub)
        for child in KINDS.values():
            for field, place in child.parent.items():
                scheduled = sub == child.path == "schedules" and kind in TEMPLATES
                if place == (kind, sub) or scheduled:
                    return self._children(request, child.path, {field: found["id"]})
        act = getattr(self._acts, f"do_{sub}", None)
        if act is None:
            raise Refused(404, {"detail": "The requested resource could not be found."})
        answer: Answer = act(request, kind, found)
        return answer

    def _children(self, request: Request, kind: str, of: Object) -> Answer:
        if request.method == "GET":
            return 200, self._list(request, kind, self.store.find(kind, **of))
        if kind in RUNS or request.method != "POST":
            raise not_allowed(request.method)
        need(self.rights.may_make(request.user, kind, of))
        made = self.objects.create(kind, {**request.body, **of})
        made["_created_by"] = request.user["id"]
        return 201, self.objects.shown(kind, made)

    def _linked(self, request: Request, kind: str, number: int, sub: str) -> Answer:
        linked, other = self.store.linked(kind, number, sub), KINDS[kind].many[sub]
        if request.method == "GET":
            seen = [self.objects.shown(other, self.store.get(other, one)) for one in linked]
            return 200, page(seen, request.path, request.query)
        user = request.user
        need(user["is_superuser"] or self.rights.has(user, kind, number, "Admin"))
        one = self.store.get(other, request.body.get("id", 0))["id"]
        if request.body.get("disassociate"):
            linked[:] = [kept for kept in linked if kept != one]
        elif one not in linked:
            links.check(self.store, kind, number, sub, one)
            linked.append(one)
        return 204, None


def _preview(rrule: str) -> Answer:
    if said := rrules.faults(rrule):
        raise Refused(400, {"rrule": said})
    times = [time.isoformat() for time in rrules.occurrences(rrule)]
    return 200, {"local": times, "utc": times}
