"""The engine that lets AWX play: a wave as one job or several of its job template, each with hosts of its own.

AWX's own slicing cuts the whole inventory before it takes the limit (`get_script_data` in AWX's
awx/main/models/inventory.py), so the slices of a wave would be uneven or empty: the controller cuts.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.awx.client import Awx
from controller.awx.errors import AwxAway, AwxError, sentence
from controller.awx.template import Template, cut, fit
from controller.deployments.engines.awxjob import AwxJob
from controller.deployments.engines.base import Put
from controller.deployments.engines.jobs import VARIABLE, JobRow, JobRows, new_marker
from controller.deployments.engines.patience import Pace, Patience, pace_of
from controller.deployments.job import Job
from controller.deployments.tracking import JobOver, Stopped
from controller.settings import Settings


class AwxEngine:
    """Plays a wave as jobs of AWX.

    Args:
        save: writes the jobs of the wave, however long that takes.
    """

    def __init__(
        self,
        settings: Settings,
        job: Job,
        put: Put,
        save: Callable[[JobRows], None],
        pace: Pace | None = None,
    ) -> None:
        self.left = False
        self._settings = settings
        self._job = job
        self._put = put
        self._save = save
        self._patience = Patience(put, pace or pace_of(settings.lease), settings.run_timeout)
        self._jobs: list[AwxJob] = []

    def prepare(self) -> None:
        """AWX needs nothing here: its inventory has the secrets from this controller."""

    def play(self) -> int | None:
        """Begin the jobs and follow them; or, where they are on record already, settle them."""
        kept = JobRows.read(self._job.jobs) if self._job.jobs else None
        settings = self._settings
        try:
            awx = Awx(settings.awx_url, settings.awx_token, settings.awx_ca_file, settings.awx_user)
        except AwxError as error:
            return self._break_off(error)
        try:
            if kept is None:
                self._begin(awx)
            else:
                self._take_over(awx, kept)
            self._follow()
        except AwxError as error:
            return self._break_off(error)
        finally:
            awx.close()
        return max((job.exit_status for job in self._jobs), default=0)

    def stop(self, stopped: Stopped, *, hurry: bool) -> None:
        """Cancel the jobs, and follow them to their end."""
        self._patience.stop(stopped, hurry=hurry)

    def _begin(self, awx: Awx) -> None:
        settings, job = self._settings, self._job
        parts = cut(sorted(job.plans), settings.awx_slice_size, settings.awx_slices)
        found = self._patience.patiently(lambda: awx.template(settings.awx_job_template))
        if found is None:
            return
        template = fit(found, check=job.check, forks=settings.forks, several=len(parts) > 1)
        markers = [new_marker(job.deployment_id, job.wave, n) for n in range(1, len(parts) + 1)]
        jobs = [JobRow(marker, hosts) for marker, hosts in zip(markers, parts, strict=True)]
        rows = JobRows(settings.awx_url, template.id, template.inventory, jobs)
        self._save(rows)
        self._follows(awx, rows)
        for one in self._jobs:
            one.launch(self._fields(template, one.row))

    def _fields(self, template: Template, row: JobRow) -> dict[str, object]:
        release = {"number": self._job.release.number, "commit": self._job.release.commit}
        return template.launch(row.hosts, {"plugin_source_release": release, VARIABLE: row.marker})

    def _take_over(self, awx: Awx, rows: JobRows) -> None:
        # Whoever began them is gone: which launches were under way is not known.
        self._follows(awx, rows, doubtful=True)
        if rows.url != self._settings.awx_url:
            raise AwxError(
                f"the jobs of this wave are {rows.url}'s, which awx_url does not name any more",
                hint="they may still run there",
            )

    def _follows(self, awx: Awx, rows: JobRows, *, doubtful: bool = False) -> None:
        def keep() -> None:
            self._save(rows)

        self._jobs = [
            AwxJob(awx, self._patience, self._put, rows, row, keep, doubtful=doubtful)
            for row in rows.jobs
            if not row.over
        ]

    def _follow(self) -> None:
        pace = self._patience.pace
        pause = pace.shortest
        while busy := [job for job in self._jobs if not job.row.over]:
            news = False
            for job in busy:
                try:
                    news |= job.look()
                    self._patience.back()
                except AwxAway as error:
                    self._patience.away(error)
                    break
            if self._patience.is_over:
                self._give_up(busy)
                return
            pause = pace.shortest if news else min(pause * 1.5, pace.longest)
            if not any(job.has_more for job in busy):
                self._patience.rest(pause)
        self._patience.say("")
        for job in self._jobs:
            job.end_strays()

    def _give_up(self, busy: list[AwxJob]) -> None:
        """What has not ended when nobody can wait any longer: for the next controller, or said."""
        self.left = self._patience.hurry
        for job in busy if not self.left else ():
            if not job.row.over:
                job.give_up()

    def _break_off(self, error: AwxError) -> int:
        if not self._jobs:
            self._put(JobOver(0, list(self._job.plans), trouble=sentence(error)))
        for job in self._jobs:
            if not job.row.over:
                job.break_off(sentence(error))
        return 1
