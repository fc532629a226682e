"""What AWX removes at once, what behind the scenes, and what it does not remove.

Rules: `RelatedJobsPreventDeleteMixin` of awx/api/views/mixin.py and `get_active_jobs` of the models; `InventoryDetail`
and `CredentialTypeDetail` of awx/api/views.
"""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.awx.jobs import Jobs
from tests.awx.store import Object, Refused, Store

_BEHIND = 0.02  # seconds until an inventory is gone
_EVENTS = timedelta(minutes=1)
_RUNS = ("jobs", "workflow_jobs", "project_updates", "inventory_updates")
# Kind -> fields of runs that name an object of it.
_NAMED = {
    "job_templates": ("job_template",),
    "workflow_job_templates": ("workflow_job_template",),
    "projects": ("project",),
    "inventories": ("inventory",),
    "inventory_sources": ("inventory_source",),
}


def delete(store: Store, jobs: Jobs, kind: str, found: Object) -> tuple[int, Any]:
    """Remove an object; returns status and body of the answer.

    Raises:
        Refused: AWX does not remove it, or not now.
    """
    related = [run for path in _RUNS for run in store.all(path) if _is_of(store, run, kind, found)]
    if active := [run for run in related if jobs.is_active(run)]:
        named = [{"id": run["id"], "type": run["type"]} for run in active]
        said = "Resource is being used by running jobs."
        raise Refused(409, {"error": said, "active_jobs": named})
    since = datetime.now(UTC) - _EVENTS
    for run in related:
        is_new = run["type"] == "job" and datetime.fromisoformat(run["finished"]) >= since
        if is_new and not jobs.events(run["id"]).finished:
            said = f"Related job job {run['id']} (finished) is still processing events."
            raise Refused(403, {"detail": said})
    if kind == "credential_types":
        if found["managed"]:
            said = "Deletion not allowed for managed credential types"
            raise Refused(403, {"detail": said})
        if store.find("credentials", credential_type=found["id"]):
            said = "Credential types that are in use cannot be deleted"
            raise Refused(403, {"detail": said})
    if kind == "inventories":
        return _delete_behind(store, found)
    store.remove(kind, found["id"])
    return 204, None


def _is_of(store: Store, run: Object, kind: str, found: Object) -> bool:
    if kind == "organizations":
        return any(
            _is_of(store, run, other, one)
            for other in ("projects", "inventories", "job_templates", "workflow_job_templates")
            for one in store.find(other, organization=found["id"])
        )
    if kind == "inventories" and (source := run.get("inventory_source")):
        return bool(store.find("inventory_sources", id=source, inventory=found["id"]))
    return any(run.get(field) == found["id"] for field in _NAMED.get(kind, ()))


def _delete_behind(store: Store, inventory: Object) -> tuple[int, Any]:
    """What refers to an inventory loses it at once; the inventory itself goes a little later."""
    if inventory["pending_deletion"]:
        raise Refused(400, {"error": "Inventory is already pending deletion."})
    inventory["pending_deletion"] = True
    for template in store.find("job_templates", inventory=inventory["id"]):
        template["inventory"] = None

    def remove() -> None:
        with contextlib.suppress(Refused):  # gone with its organisation
            store.remove("inventories", inventory["id"])

    timer = threading.Timer(_BEHIND, remove)
    timer.daemon = True
    timer.start()
    return 202, None
