"""The jobs that AWX carries out of a wave: written before they are begun, found again by whoever comes next."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select

from controller.awx.addresses import job_page
from controller.database.engine import Database
from controller.deployments.models import HostResult, HostStatus, RunEvent, Wave

VARIABLE = "plugfleet_wave"
"""The extra variable by which a job whose id was never learned is found."""


@dataclass
class JobRow:
    """One job.

    Attributes:
        marker: the value of `VARIABLE` that it is launched with.
        id: AWX's, or None where it is not known whether there is one.
        over: nothing is left to learn of it.
    """

    marker: str
    hosts: list[str]
    id: int | None = None
    over: bool = False


@dataclass
class JobRows:
    """The jobs of a wave.

    Attributes:
        url: of the AWX that has them.
        template: id of their job template.
        inventory: id of its inventory.
    """

    url: str
    template: int
    inventory: int
    jobs: list[JobRow] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As the wave's row holds it."""
        return asdict(self)

    def address(self, job: int) -> str:
        """Where people look at a job."""
        return job_page(self.url, job)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> JobRows:
        """What a wave's row holds."""
        rows = [JobRow(**row) for row in kept["jobs"]]
        return cls(str(kept["url"]), int(kept["template"]), int(kept["inventory"]), rows)


def new_marker(deployment: int, wave: int, number: int) -> str:
    """A marker that no other job has."""
    return f"{deployment}-{wave}-{number}-{secrets.token_hex(6)}"


def unsettled(kept: Mapping[str, Any] | None) -> bool:
    """Whether jobs of a wave may still run, or have something to tell."""
    return bool(kept) and any(not row.over for row in JobRows.read(kept or {}).jobs)


@dataclass(frozen=True)
class Written:
    """What was written of a wave by a process that is gone: hosts, and events by job and number."""

    decided: Mapping[str, HostStatus]
    kept: frozenset[tuple[int, int]]


def written(database: Database, wave_id: int) -> Written:
    """What is on record of a wave that is under way.

    Raises:
        Unavailable: the database does not answer.
    """
    with database.read() as session:
        wave = session.get_one(Wave, wave_id)
        mine = (HostResult.deployment_id == wave.deployment_id, HostResult.wave == wave.number)
        statuses = session.execute(select(HostResult.host, HostResult.status).where(*mine)).all()
        events = session.execute(
            select(RunEvent.counter, RunEvent.data).where(
                RunEvent.deployment_id == wave.deployment_id,
                RunEvent.wave == wave.number,
                RunEvent.counter > 0,
            )
        ).all()
    undecided = (HostStatus.RUNNING, HostStatus.WAITING)
    return Written(
        {host: HostStatus(status) for host, status in statuses if status not in undecided},
        frozenset((int(json.loads(data).get("job") or 0), counter) for counter, data in events),
    )


def addresses(kept: Mapping[str, Any] | None) -> Sequence[str]:
    """Where people look at a wave's jobs."""
    if not kept:
        return []
    rows = JobRows.read(kept)
    return [rows.address(row.id) for row in rows.jobs if row.id is not None]
