"""A controller, and an AWX that `awx-setup.yml` has made ready for it: with real playbooks, and hosts to visit.

The hosts `one` and `two` are folders of whatever carries a job out: of this machine where that is the stand-in
of AWX, of the job's own container where it is a real one, which begins anew with each job.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.auth.models import Scope
from tests.awx.fixtures import Awx
from tests.awx.setting_up import SetUp
from tests.controller.deployments.conftest import ended, results
from tests.controller.reports.node import HOSTS, Node
from tests.controller.server import Api

# Nobody waits for these by the clock: their time is let come.
_SCHEDULES = [
    {"name": "deploy", "template": "deploy", "limit": ",".join(HOSTS)},
    {"name": "audit", "template": "verify", "limit": ",".join(HOSTS)},
]
_IMAGE = "PLUGFLEET_AWX_IMAGE"  # of the execution environment, where AWX's own does not do
_SELDOM = "DTSTART:20990101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"
_TOLD = ("host", "status", "message", "warnings", "diff", "plan")
_TOLD_OF_A_STEP = ("step", "changed", "failed", "msg", "code")


class Ready:
    """A controller with the hosts `one` and `two`, a release and bindings, none of it deployed.

    Args:
        url: where AWX's jobs reach the controller.
        project: as the fixture `project_repository`.
        folder: below it lies each host's folder, wherever it is visited.
        kept: folder for a file of variables, which has secrets.

    Attributes:
        set_up: how AWX is set up, and was.
        schedules: ids by name.
    """

    def __init__(
        self, api: Api, awx: Awx, url: str, project: str, folder: Path, kept: Path
    ) -> None:
        self.api = api
        self.awx = awx
        self.node = Node(api, folder)
        repository, _, branch = project.partition("#")
        self.set_up = SetUp(
            awx,
            kept,
            awx_setup_project_url=repository,
            awx_setup_project_branch=branch,
            awx_setup_controller_url=url,
            awx_setup_controller_token=api.token_of(Scope.OPERATOR),
            awx_setup_update_timeout=int(awx.patience),
            awx_setup_image=os.environ.get(_IMAGE, ""),
            awx_setup_schedules=[one | {"rrule": _SELDOM} for one in _SCHEDULES],
        )

    def begin(self) -> None:
        """Set AWX up, and let the controller deploy by it, with the least rights that suffice."""
        self.set_up.run()
        template, scheduled = (self._find("job_templates", name) for name in ("wave", "deploy"))
        self.schedules = {
            one["name"]: self._find("schedules", one["name"])["id"] for one in _SCHEDULES
        }
        self.source = self._find("inventory_sources", "")["id"]
        login = self.awx.limited_login(
            {
                f"job_templates/{template['id']}": "Execute",
                f"job_templates/{scheduled['id']}": "Execute",
                f"inventories/{template['inventory']}": "Read",
            }
        )
        for name, value in {
            **login,
            "execution": "awx",
            "awx_url": self.awx.url,
            "awx_job_template": template["name"],
            "awx_schedule_template": scheduled["name"],
            "awx_slice_size": 2,
        }.items():
            setattr(self.api.context.settings, name, value)

    def end(self) -> None:
        """Take back what was made at AWX, and on this machine."""
        if not self.awx.stand_in:
            self.set_up.run("-e", "awx_setup_state=absent")
        self.wipe()

    def wipe(self) -> None:
        """Make the hosts on this machine as new."""
        self.node.close()
        for name in HOSTS:
            shutil.rmtree(self.node.folder / name, ignore_errors=True)

    @contextmanager
    def host(self, name: str, address: str = "127.0.0.1", **variables: Any) -> Iterator[None]:
        """One more host, until the block ends."""
        body = {"name": name, "address": address, "variables": variables}
        self.api.send("POST", "hosts", 201, json=body)
        yield
        self.api.send("DELETE", f"hosts/{name}", 204)

    @contextmanager
    def as_of_now(self) -> Iterator[None]:
        """Keep AWX's inventory as it is until the block ends."""
        path = f"inventory_sources/{self.source}/"
        self.awx.send("PATCH", path, 200, json={"update_on_launch": False})
        yield
        self.awx.send("PATCH", path, 200, json={"update_on_launch": True})

    def launch(self, template: str, **given: Any) -> dict[str, Any]:
        """A job of one of the templates, once it has ended."""
        number = self._find("job_templates", template)["id"]
        launched = self.awx.send("POST", f"job_templates/{number}/launch/", 201, json=given)
        job: dict[str, Any] = self.awx.wait(f"jobs/{launched['job']}/")
        return job

    def deploy(self, **asked: Any) -> dict[str, Any]:
        """A deployment that has ended, as the controller shows it, with each host's result as `results`."""
        number = self.api.send("POST", "deployments", 202, json={"all": True, **asked})["id"]
        return self.ended(number)

    def ended(self, number: int) -> dict[str, Any]:
        """A deployment once it has ended, with each host's result as `results`."""
        view = ended(self.api, number, self.awx.patience)
        return view | {"results": results(self.api, number)}

    def jobs(self, view: dict[str, Any]) -> list[dict[str, Any]]:
        """AWX's jobs of a deployment."""
        addresses = [address for wave in view["waves"] for address in wave["jobs"]]
        return [self.awx.get(f"jobs/{address.rpartition('/')[2]}/") for address in addresses]

    def told(self, view: dict[str, Any]) -> dict[str, Any]:
        """What is the same of each host's result wherever the playbook runs: no times."""
        return {
            name: {key: row[key] for key in _TOLD}
            | {"steps": [{key: step[key] for key in _TOLD_OF_A_STEP} for step in row["steps"]]}
            for name, row in view["results"].items()
        }

    def _find(self, kind: str, name: str) -> dict[str, Any]:
        named = {"name": f"{self.set_up.prefix} {name}".strip()}
        found: list[dict[str, Any]] = self.awx.get(f"{kind}/", params=named)["results"]
        return found[0]
