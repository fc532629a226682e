"""An AWX with what a controller's deployments need: inventory, project and job template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.awx.fixtures import Awx
from tests.awx.standin import StandIn

ASKS = ("limit", "variables", "job_type", "diff_mode", "forks")


class Stage:
    """An AWX with everything that a deployment needs.

    Attributes:
        template: id of the job template.
        inventory: id of its inventory.
    """

    def __init__(self, awx: Awx, hosts: Sequence[str]) -> None:
        self.awx = awx
        name = {"name": f"plugfleet-{awx.unique}"}
        organization = awx.send("POST", "organizations/", 201, json=name)["id"]
        named = name | {"organization": organization}
        self.inventory = awx.send("POST", "inventories/", 201, json=named)["id"]
        given = {"inventory": self.inventory, "hosts": [{"name": host} for host in hosts]}
        awx.send("POST", "bulk/host_create/", 201, json=given)
        source = {"scm_type": "git", "scm_url": "https://git.example.com/plugfleet.git"}
        self.project = awx.send("POST", "projects/", 201, json=named | source)["id"]
        self.update_project()
        self.name = name["name"]
        asked = {f"ask_{what}_on_launch": True for what in ASKS}
        self.template = awx.send(
            "POST",
            "job_templates/",
            201,
            json={
                **name,
                "inventory": self.inventory,
                "project": self.project,
                "playbook": "deploy-plugins.yml",
                "allow_simultaneous": True,
                **asked,
            },
        )["id"]

    def update_project(self) -> None:
        """Let AWX look which playbooks the project has."""
        update = self.awx.send("POST", f"projects/{self.project}/update/", 202)
        self.awx.wait(f"project_updates/{update['id']}/")

    def change(self, **values: Any) -> None:
        """Change the job template."""
        self.awx.send("PATCH", f"job_templates/{self.template}/", 200, json=values)

    @property
    def stand_in(self) -> StandIn:
        """The stand-in itself, for faults."""
        assert self.awx.stand_in
        return self.awx.stand_in

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """AWX's jobs."""
        found: list[dict[str, Any]] = self.awx.get("jobs/?order_by=id&page_size=200")["results"]
        return found

    def emitted(self, job: int) -> int:
        """How many events AWX has of a job once it says that these are all; its API tells no number."""
        self.awx.wait(f"jobs/{job}/", event_processing_finished=True)
        return int(self.awx.get(f"jobs/{job}/job_events/?page_size=1")["count"])

    def launches(self) -> int:
        """How many times a job was asked for."""
        return sum(path.endswith("/launch/") for method, path in self.stand_in.requests)
