"""Workflows: nodes one after another, approvals in between; and sliced jobs, which AWX runs as one.

Rules: awx/main/scheduler/dag_workflow.py (what follows what) and `create_unified_job` of
awx/main/models/jobs.py (a template with slices becomes a workflow job of its slices).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.awx.jobs import Jobs
from tests.awx.store import Object, Refused, Store, moment

_LOOK = 0.005
Launch = Callable[[Object, Mapping[str, Any], Mapping[str, Any]], Object]


class Workflows:
    """Workflow jobs that run.

    Args:
        launch: launches a job template with what a node brings along.
    """

    def __init__(self, store: Store, jobs: Jobs, launch: Launch) -> None:
        self._store = store
        self._jobs = jobs
        self._launch = launch
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def close(self) -> None:
        """End every workflow."""
        self._closing.set()
        for thread in self._threads:
            thread.join(30)

    def start(self, template: Object) -> Object:
        """Start a workflow job template."""
        run = self._new({"name": template["name"], "workflow_job_template": template["id"]})
        self._begin(self._walk, run, template)
        return run

    def slices(self, template: Object, count: int, values: Mapping[str, Any]) -> Object:
        """A workflow job of `count` slices of a job."""
        run = self._new(
            {
                "name": template["name"],
                "job_template": template["id"],
                "created_by": values["created_by"],
                "is_sliced_job": True,
            }
        )
        jobs = []
        for number in range(1, count + 1):
            cut = {"job_slice_number": number, "job_slice_count": count}
            jobs.append(self._jobs.start("jobs", {**values, **cut}))
            self._node(run, template["id"], jobs[-1])
        self._begin(self._await, run, jobs)
        return run

    def decide(self, approval: Object, approved: bool) -> None:
        """Approve or deny.

        Raises:
            Refused: it has been decided.
        """
        if approval["status"] != "pending":
            raise Refused(400, {"error": "This workflow step has already been approved or denied."})
        approval |= {"status": "successful" if approved else "failed", "failed": not approved}

    def cancel(self, run: Object) -> None:
        """End a workflow and the jobs that it runs."""
        run["_canceled"] = True
        for node in self._store.find("workflow_job_nodes", workflow_job=run["id"]):
            if node["job"] and node["_kind"] == "jobs":
                self._jobs.cancel(self._store.get("jobs", node["job"]))

    def _new(self, values: Mapping[str, Any]) -> Object:
        state = {"status": "running", "failed": False, "started": moment(), "finished": None}
        return self._store.add("workflow_jobs", {"is_sliced_job": False, **state, **values})

    def _begin(self, walk: Callable[..., bool], run: Object, what: Any) -> None:
        def carry() -> None:
            went_well = walk(run, what)
            run["failed"] = not went_well
            run["finished"] = moment()
            run["status"] = (
                "canceled" if run.get("_canceled") else "successful" if went_well else "failed"
            )

        thread = threading.Thread(target=carry, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _await(self, run: Object, jobs: list[Object]) -> bool:
        return all([self._ended(job) == "successful" for job in jobs])

    def _ended(self, job: Object) -> str:
        while self._jobs.is_active(job) and not self._closing.is_set():
            time.sleep(_LOOK)
        return str(job["status"])

    def _node(
        self, run: Object, template: int | None, job: Object | None, kind: str = "jobs"
    ) -> Object:
        values = {"workflow_job": run["id"], "unified_job_template": template}
        return self._store.add(
            "workflow_job_nodes", {**values, "job": job and job["id"], "_kind": kind}
        )

    def _walk(self, run: Object, template: Object) -> bool:
        nodes = self._store.find(
            "workflow_job_template_nodes", workflow_job_template=template["id"]
        )
        follows = {
            (node["id"], when): self._store.linked(
                "workflow_job_template_nodes", node["id"], f"{when}_nodes"
            )
            for node in nodes
            for when in ("success", "failure", "always")
        }
        children = {child for linked in follows.values() for child in linked}
        due = [node for node in nodes if node["id"] not in children]
        by_id = {node["id"]: node for node in nodes}
        artifacts: dict[str, Any] = {}
        well = True
        while due and not run.get("_canceled"):
            node = due.pop(0)
            status = self._node_runs(run, node, artifacts)
            when = "success" if status == "successful" else "failure"
            ways = follows[node["id"], when] + follows[node["id"], "always"]
            # A failure that nothing follows is the workflow's own.
            well = well and (when == "success" or bool(ways))
            due += [by_id[child] for child in ways]
        return well

    def _node_runs(self, run: Object, node: Object, artifacts: dict[str, Any]) -> str:
        path, template = self._store.template(node["unified_job_template"])
        if path == "workflow_approval_templates":
            approval = self._store.add(
                "workflow_approvals",
                {"name": template["name"], "status": "pending", "failed": False,
                 "workflow_job": run["id"], "unified_job_template": template["id"]},
            )  # fmt: skip
            self._node(run, template["id"], approval, "workflow_approvals")
            while approval["status"] == "pending" and not self._closing.is_set():
                if run.get("_canceled"):
                    approval["status"] = "canceled"
                time.sleep(_LOOK)
            return str(approval["status"])
        given = {
            name: node[name]
            for name in ("limit", "job_type", "diff_mode", "inventory")
            if node[name]
        }
        job = self._launch(template, {**given, "extra_vars": node["extra_data"]}, artifacts)
        self._node(run, template["id"], job)
        status = self._ended(job)
        artifacts |= json.loads(json.dumps(job["artifacts"]))
        return status
