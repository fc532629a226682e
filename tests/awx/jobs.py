"""Jobs and updates from `pending` to their end, each in a thread of its own.

Statuses and dependencies as in AWX (awx/main/models/unified_jobs.py, jobs.py; docs/task_manager_system.md).
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tests.awx import inventory, real, simulated
from tests.awx.delivery import Deliveries, Events
from tests.awx.discovery import playbooks
from tests.awx.launching import NO_REVISION, variables
from tests.awx.simulated import Play
from tests.awx.store import Object, Store, moment

_ACTIVE = {"new", "pending", "waiting", "running"}
_LOOK = 0.005


class Jobs:
    """Everything that runs.

    Attributes:
        play: how simulated jobs go; asked for each job with the job and its hosts.
        pace: seconds that a job takes from one status to the next.
        stuck: while it is set, no job gets further than `pending`.
        inventory: host -> variables that a simulated inventory update finds; None leaves it as it is.
        offered: playbooks of simulated projects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.checkouts = real.Checkouts()
        self.deliveries = Deliveries()
        self.play: Callable[[Object, list[str]], Play] = lambda job, hosts: Play()
        self.pace = 0.005
        self.stuck = threading.Event()
        self.failing: dict[str, str] = {}  # kind of update -> what it says when it fails
        self.inventory: Mapping[str, Mapping[str, Any]] | None = None
        self.offered = ["deploy-plugins.yml"]
        self._events: dict[int, Events] = {}
        self._canceled: set[int] = set()
        self._processes: dict[int, real.Process] = {}
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def close(self) -> None:
        """End everything that runs."""
        self._closing.set()
        for process in list(self._processes.values()):
            process.kill()
        for thread in self._threads:
            thread.join(30)
        self.checkouts.close()

    def events(self, job: int) -> Events:
        """The events of a job."""
        return self._events.setdefault(job, self.deliveries.of(job))

    def start(self, path: str, values: Mapping[str, Any]) -> Object:
        """A new run of a kind (`jobs`, `project_updates`, ...), which begins by itself."""
        job = self._store.add(
            path,
            {
                "status": "pending",
                "failed": False,
                "started": None,
                "finished": None,
                "canceled_on": None,
                "elapsed": 0.0,
                "job_explanation": "",
                "result_traceback": "",
                "event_processing_finished": False,
                "artifacts": {},
                "launch_type": "manual",
                "execution_node": "",
                **values,
            },
        )
        carry = {
            "jobs": self._job,
            "project_updates": self._project_update,
            "inventory_updates": self._inventory_update,
        }[path]
        thread = threading.Thread(target=self._carry, args=(path, job, carry), daemon=True)
        self._threads.append(thread)
        thread.start()
        return job

    def cancel(self, job: Object) -> None:
        """Ask a run to end."""
        self._canceled.add(job["id"])
        if job["id"] in self._processes:
            self._processes[job["id"]].cancel()

    def is_active(self, job: Object) -> bool:
        """Whether a run has not ended yet."""
        return job["status"] in _ACTIVE

    def update_project(self, project: Object) -> Object:
        """Start a project's update."""
        project["status"] = "pending"
        name = {"name": project["name"], "project": project["id"]}
        return self.start("project_updates", {**name, "unified_job_template": project["id"]})

    def update_source(self, source: Object) -> Object:
        """Start an inventory source's update."""
        source["status"] = "pending"
        name = {"name": source["name"], "inventory_source": source["id"]}
        return self.start("inventory_updates", {**name, "unified_job_template": source["id"]})

    def _carry(self, path: str, job: Object, carry: Callable[[Object], str]) -> None:
        begun = time.monotonic()
        status = "canceled"
        try:
            if self._reaches_running(job):
                job["started"] = moment()
                status = carry(job)
        except real.Failed as failed:
            status, job["result_traceback"] = "failed", str(failed)
        except Exception:
            status, job["result_traceback"] = "error", traceback.format_exc()
        if job["id"] in self._canceled:
            status, job["canceled_on"] = "canceled", moment()
        job["elapsed"] = round(time.monotonic() - begun, 3)
        job["finished"] = moment()
        job["failed"] = status != "successful"
        if path != "jobs":
            self._tell_template(job, status)
        job["status"] = status

    def _tell_template(self, run: Object, status: str) -> None:
        template = self._store.template(run["unified_job_template"])[1]
        template |= {"status": status, "last_job_run": moment(), "last_job_failed": run["failed"]}
        template["_last"] = {k: run[k] for k in ("id", "name", "finished", "failed")}
        template["_last"]["status"] = status
        template["_updated"] = time.monotonic() if status == "successful" else None

    def _reaches_running(self, job: Object) -> bool:
        self._pause()
        job["status"] = "pending"
        while self.stuck.is_set() or self._must_wait(job):
            if self._ended(job):
                return False
            time.sleep(_LOOK)
        for status in ("waiting", "running"):
            if self._ended(job):
                return False
            job["status"] = status
            self._pause()
        return True

    def _must_wait(self, job: Object) -> bool:
        """Whether another job of the template runs, and it may not run twice at a time."""
        template = job.get("job_template")
        if job["type"] != "job" or not template:
            return False
        if self._store.get("job_templates", template)["allow_simultaneous"]:
            return False
        return any(
            other["id"] < job["id"] and self.is_active(other)
            for other in self._store.find("jobs", job_template=template)
        )

    def _ended(self, job: Object) -> bool:
        return job["id"] in self._canceled or self._closing.is_set()

    def _pause(self) -> None:
        self._closing.wait(self.pace)

    def _project_update(self, update: Object) -> str:
        project = self._store.get("projects", update["project"])
        if "project" in self.failing:
            raise real.Failed(self.failing["project"])
        if real.is_real(project):
            project["scm_revision"] = self.checkouts.update(project)
            project["_playbooks"] = playbooks(self.checkouts.path(project["id"]))
        else:
            project["scm_revision"] = "0" * 40
            project["_playbooks"] = list(self.offered)
        return "successful"

    def _inventory_update(self, update: Object) -> str:
        source = self._store.get("inventory_sources", update["inventory_source"])
        if "inventory" in self.failing:
            raise real.Failed(self.failing["inventory"])
        project = source["source_project"] and self._store.get("projects", source["source_project"])
        if real.is_real(project or None):
            folder = self.checkouts.new_folder()
            env, _ = real.injected(self._credentials([source["credential"]]), folder)
            found = real.read_inventory(self.checkouts.path(project["id"]), source, env)
            inventory.take(self._store, source, found)
        elif self.inventory is not None:
            hostvars = {name: dict(own) for name, own in self.inventory.items()}
            inventory.take(self._store, source, {"_meta": {"hostvars": hostvars}})
        return "successful"

    def _credentials(self, numbers: list[int | None]) -> list[tuple[Object, Object]]:
        found = [self._store.get("credentials", number) for number in numbers if number]
        return [(one, self._store.get("credential_types", one["credential_type"])) for one in found]

    def _depends(self, job: Object) -> str:
        """Bring what the job needs up to date first; returns what failed."""
        project = self._store.get("projects", job["project"])
        stale = project["scm_update_on_launch"] and _is_stale(project, "scm_update_cache_timeout")
        needed = [self.update_project(project)] if stale else []
        while any(self.is_active(update) for update in needed):
            time.sleep(_LOOK)
        sources = self._store.find("inventory_sources", inventory=job["inventory"])
        needed += [
            self.update_source(one)
            for one in sources
            if one["update_on_launch"] and _is_stale(one, "update_cache_timeout")
        ]
        while any(self.is_active(update) for update in needed):
            time.sleep(_LOOK)
        for update in needed:
            if update["failed"]:
                told = {"job_type": update["type"], "job_name": update["name"]}
                return f"Previous Task Failed: {json.dumps({**told, 'job_id': str(update['id'])})}"
        return ""

    def _job(self, job: Object) -> str:
        if failed := self._depends(job):
            job["job_explanation"] = failed
            return "failed"
        project = self._store.get("projects", job["project"])
        if project["status"] in ("failed", "error"):
            job["job_explanation"] = NO_REVISION
            job["result_traceback"] = simulated.traceback(NO_REVISION)
            return "failed"
        job["scm_revision"] = project["scm_revision"]
        return self._real(job, project) if real.is_real(project) else self._simulated(job)

    def _simulated(self, job: Object) -> str:
        hosts = inventory.limited(self._store, job)
        play, events = self.play(job, hosts), self.events(job["id"])
        told = list(simulated.events(play, hosts, job["job_type"] == "check", job["playbook"]))
        told = told[: play.reaped or play.timeout or None]
        for event in told:
            until = time.monotonic() + play.seconds / len(told)
            while time.monotonic() < until and not self._ended(job):
                time.sleep(_LOOK)
            if self._ended(job):
                return "canceled"
            events.emit(event)
        if play.reaped or play.timeout:
            job["job_explanation"] = simulated.REAPED if play.reaped else simulated.TIMED_OUT
            events.emitted *= not play.reaped  # nobody was left to count
            return "failed"
        job["artifacts"] = simulated.artifacts(told)
        job["result_traceback"] = simulated.traceback(play.breaks) if play.breaks else ""
        return simulated.status_of(play, hosts)

    def _real(self, job: Object, project: Object) -> str:
        folder = self.checkouts.new_folder()
        credentials = self._credentials(job["_credentials"])
        env, extra = real.injected(credentials, folder)
        user, key = real.machine(credentials)
        script = real.write_inventory(folder, inventory.script(self._store, job))
        # A job runs in a container, which has a home of its own.
        env["HOME"] = str(folder / "home")
        (folder / "home").mkdir()
        told = {"awx_job_id": job["id"], "awx_job_template_name": job["name"]}
        if schedule := job.get("schedule"):
            name = self._store.get("schedules", schedule)["name"]
            told |= {"awx_schedule_id": schedule, "awx_schedule_name": name}
        order = {
            "folder": str(folder),
            "project": str(self.checkouts.path(project["id"])),
            "inventory": str(script),
            "extra_vars": told | extra | variables(job["extra_vars"]),
            "trusted": variables(
                self._store.get("job_templates", job["job_template"])["extra_vars"]
            ),
            "check": job["job_type"] == "check",
            "diff": job["diff_mode"],
            "user": user,
            "key": key,
            "tags": job["job_tags"],
            **{name: job[name] for name in ("playbook", "limit", "forks", "skip_tags")},
        }
        process = self._processes[job["id"]] = real.Process(order, env)
        events, kept = self.events(job["id"]), []
        for event in process.events():
            events.emit(event)
            kept.append(event)
        status = process.wait()
        del self._processes[job["id"]]
        job["artifacts"] = simulated.artifacts(kept)
        return "successful" if status == 0 else "failed"


def _is_stale(template: Object, timeout: str) -> bool:
    """Whether a project or source was not fetched within its cache's time."""
    updated = template.get("_updated")
    return updated is None or time.monotonic() - updated >= template[timeout]
