"""What AWX does with an object on request: launch, update, cancel, and the like.

Routes and statuses: awx/api/views of AWX.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.awx import delivery
from tests.awx.jobs import Jobs
from tests.awx.kinds import KINDS
from tests.awx.launching import accepted, check_survey, need_revision
from tests.awx.objects import Objects, not_allowed, public
from tests.awx.rights import Rights, need
from tests.awx.store import Object, Refused, Store, page
from tests.awx.workflows import Workflows

Answer = tuple[int, Any]
_UPDATES = {"projects": "project_update", "inventory_sources": "inventory_update"}


@dataclass(frozen=True)
class Request:
    """A request of somebody who is known."""

    user: Object
    method: str
    path: str
    query: str
    body: Object


class Acts:
    """`do_NAME` answers what stands below an object as `NAME`."""

    def __init__(self, store: Store, rights: Rights, jobs: Jobs, objects: Objects) -> None:
        self._store = store
        self._rights = rights
        self._jobs = jobs
        self._objects = objects
        self._workflows = Workflows(store, jobs, self.launched)

    def close(self) -> None:
        """End every workflow."""
        self._workflows.close()

    def do_object_roles(self, request: Request, kind: str, found: Object) -> Answer:
        """The roles that there are on it."""
        return 200, page(self._rights.object_roles(kind, found["id"]), request.path, request.query)

    def do_roles(self, request: Request, kind: str, found: Object) -> Answer:
        """Give a user a role."""
        need(request.user["is_superuser"])
        self._rights.give(found["id"], request.body.get("id", 0))
        return 204, None

    def do_personal_tokens(self, request: Request, kind: str, found: Object) -> Answer:
        """A new token of a user's own."""
        if not self._rights.has_tokens:
            raise Refused(404, {"detail": "The requested resource could not be found."})
        need(request.user["id"] == found["id"])
        token = self._rights.new_token(found["id"])
        return 201, {"id": 1, "type": "o_auth2_access_token", "token": token}

    def do_survey_spec(self, request: Request, kind: str, found: Object) -> Answer:
        """Its survey."""
        if request.method == "GET":
            return 200, found["_survey"]
        need(
            request.user["is_superuser"]
            or self._rights.has(request.user, kind, found["id"], "Admin")
        )
        found["_survey"] = {} if request.method == "DELETE" else check_survey(request.body)
        return 200, {} if request.method == "DELETE" else None

    def do_playbooks(self, request: Request, kind: str, found: Object) -> Answer:
        """The playbooks that a project offers."""
        return 200, found.get("_playbooks", [])

    def do_update(self, request: Request, kind: str, found: Object) -> Answer:
        """Start a project's or an inventory source's update."""
        if request.method == "GET":
            return 200, {"can_update": True}
        need(
            request.user["is_superuser"]
            or self._rights.has(request.user, kind, found["id"], "Admin", "Update")
        )
        begin = self._jobs.update_project if kind == "projects" else self._jobs.update_source
        run = begin(found)
        return 202, {_UPDATES[kind]: run["id"], **self._objects.shown(f"{_UPDATES[kind]}s", run)}

    def do_launch(self, request: Request, kind: str, found: Object) -> Answer:
        """Launch a template, or say what it needs."""
        if request.method == "GET":
            required = [
                q["variable"] for q in found["_survey"].get("spec", []) if q.get("required")
            ]
            asked = {k: v for k, v in found.items() if k.startswith("ask_")}
            return 200, {"variables_needed_to_start": required, **asked,
                         "survey_enabled": found["survey_enabled"]}  # fmt: skip
        need(self._rights.has(request.user, kind, found["id"], "Admin", "Execute"))
        if kind == "workflow_job_templates":
            run = self._workflows.start(found)
            return 201, {"workflow_job": run["id"], "ignored_fields": {}, **public(run)}
        need_revision(self._store.get("projects", found["project"]))
        run, ignored = self._launch(found, request.body, request.user["id"])
        return 201, {
            run["type"]: run["id"],
            "ignored_fields": ignored,
            **self._objects.shown(f"{run['type']}s", run),
        }

    def launched(
        self, template: Object, given: Mapping[str, Any], artifacts: Mapping[str, Any] | None = None
    ) -> Object:
        """A job that a workflow or a schedule launches.

        Args:
            artifacts: of the nodes before it, which are variables of the job whatever its template asks for
                (`get_job_kwargs` of WorkflowJobNode, awx/main/models/workflow.py).
        """
        return self._launch(template, given, 1, artifacts or {})[0]

    def _launch(
        self,
        template: Object,
        given: Mapping[str, Any],
        user: int,
        artifacts: Mapping[str, Any] | None = None,
    ) -> tuple[Object, dict[str, Any]]:
        fields, extra, ignored = accepted(template, template["_survey"], given)
        values = {name: template[name] for name in KINDS["jobs"].fields} | fields
        values |= {
            "name": template["name"],
            "job_template": template["id"],
            "unified_job_template": template["id"],
            "extra_vars": json.dumps(extra | dict(artifacts or {})),
            "created_by": user,
            "job_slice_number": 0,
            "_credentials": list(
                self._store.linked("job_templates", template["id"], "credentials")
            ),
        }
        hosts = len(self._store.find("hosts", inventory=values["inventory"]))
        slices = min(values["job_slice_count"], hosts)
        if slices > 1:
            return self._workflows.slices(template, slices, values), ignored
        return self._jobs.start("jobs", {**values, "job_slice_count": 1}), ignored

    def do_cancel(self, request: Request, kind: str, found: Object) -> Answer:
        """Cancel a job."""
        active = self._jobs.is_active(found)
        if request.method == "GET":
            return 200, {"can_cancel": active}
        admin = request.user["is_superuser"]
        # Who is no administrator may not cancel what has ended: 403, not 405.
        need(admin or (active and self._rights.may_cancel(request.user, found)))
        if not active:
            raise not_allowed(request.method)
        (self._workflows if kind == "workflow_jobs" else self._jobs).cancel(found)
        return 202, {}

    def do_approve(self, request: Request, kind: str, found: Object) -> Answer:
        """Let a workflow go on."""
        self._workflows.decide(found, approved=True)
        return 204, None

    def do_deny(self, request: Request, kind: str, found: Object) -> Answer:
        """Let a workflow end."""
        self._workflows.decide(found, approved=False)
        return 204, None

    def do_create_approval_template(self, request: Request, kind: str, found: Object) -> Answer:
        """Make a node an approval."""
        need(request.user["is_superuser"])
        made = self._store.add("workflow_approval_templates", self._objects.checked(
            "workflow_approval_templates", request.body, None))  # fmt: skip
        found["unified_job_template"] = made["id"]
        return 201, self._objects.shown("workflow_approval_templates", made)

    def do_job_events(self, request: Request, kind: str, found: Object) -> Answer:
        """A job's events, as far as they have arrived."""
        rows = self._jobs.events(found["id"]).seen()
        if "order_by" not in request.query:
            rows = sorted(rows, key=lambda row: row["start_line"])
        listed = page(rows, request.path, request.query, ("counter", "uuid", "event"))
        whole = "no_truncate" in request.query
        listed["results"] = [delivery.shown(row, whole) for row in listed["results"]]
        return 200, listed

    def do_stdout(self, request: Request, kind: str, found: Object) -> Answer:
        """A job's output."""
        if kind != "jobs":
            return 200, found.get("result_traceback", "")
        rows = sorted(self._jobs.events(found["id"]).seen(), key=lambda row: row["counter"])
        return 200, "\n".join(row["stdout"] for row in rows if row["stdout"])
