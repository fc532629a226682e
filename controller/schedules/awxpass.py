"""One look at AWX: making, changing and removing its schedules until they are as ours want them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from controller.audit.service import record
from controller.auth.principal import CONTROLLER
from controller.awx.errors import AwxAway, AwxError, AwxMissing, sentence
from controller.awx.schedules import AwxSchedules
from controller.awx.template import unheeded
from controller.awx.transport import Transport
from controller.database.engine import Database
from controller.errors import Unavailable
from controller.schedules import marks
from controller.schedules.models import Place, Schedule
from controller.schedules.rights import refusal
from controller.schedules.rules import parse
from controller.schedules.service import plan_next
from controller.settings import Settings

_TURNED_OFF = "turned off in AWX"
_LATE = timedelta(minutes=5)  # that a job may begin after its time, and be looked for
# After that, AWX does nothing any more that it was asked for and did not answer.
_SURELY = timedelta(minutes=5)

log = structlog.get_logger(__name__)


class Pass:
    """One look at AWX.

    Args:
        rows: the schedules that AWX has, or should have, as they were read; not to be changed.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        transport: Transport,
        rows: list[Schedule],
        moment: datetime,
    ) -> None:
        self._database = database
        self._url = settings.awx_url
        self._named = settings.awx_schedule_template
        self._awx = AwxSchedules(transport)
        self._template: int | None = None
        self._asks: Mapping[str, Any] = {}  # that template, as AWX gives it
        self._rows = rows
        self._moment = moment
        self._there: dict[int, list[dict[str, Any]]] = {}

    def carry_out(self) -> None:
        """Look, and set right what differs."""
        with self._database.read() as session:
            self._installation = marks.installation(session)
        missing: AwxMissing | None = None
        try:
            self._look()
        except AwxMissing as error:
            missing = error
        except AwxError as error:
            note(self._database, self._rows, error, self._moment)
            return
        for place, row in enumerate(self._rows):
            wanted = row.runs_in == Place.AWX and not row.removing
            try:
                if missing and (wanted or row.awx_id is None):
                    raise missing
                if wanted:
                    self._keep(row)
                else:
                    self._remove(row)
            except AwxAway as error:
                note(self._database, self._rows[place:], error, self._moment)
                return
            except AwxError as error:
                note(self._database, [row], error, self._moment)
            except Unavailable:
                raise
            except Exception as error:
                # One that breaks must not keep the others from being in step.
                log.exception("a schedule cannot be kept in step", schedule=row.name)
                broke = AwxError(f"the controller failed at it, please report it: {error}")
                note(self._database, [row], broke, self._moment)

    def _look(self) -> None:
        """See what the template has, and remove what is of ours and nobody's."""
        self._asks = self._awx.find_template(self._named)
        self._template = int(self._asks["id"])
        known = {row.id: row for row in self._rows}
        for found in self._awx.below(self._template):
            number = marks.read(found, self._installation)
            by_id = next((r.id for r in self._rows if marks.is_it(found, r, self._url)), None)
            if number in known or by_id is not None:
                self._there.setdefault(number if number in known else by_id or 0, []).append(found)
            elif number is not None:
                self._remove_orphan(int(found["id"]))

    def _remove_orphan(self, number: int) -> None:
        log.warning("removing a schedule of nobody's from AWX", id=number)
        try:
            self._awx.remove(number)
        except AwxAway:
            raise
        except AwxError as error:  # others are to be in step all the same
            log.error(
                "AWX keeps a schedule of nobody's; remove it there", id=number, why=str(error)
            )

    def _keep(self, row: Schedule) -> None:
        found = self._there.get(row.id, [])
        self._need_same_awx(row, found)
        self._remove_others(row, found[:1])
        refused = self._refused(row)
        wanted = marks.fields(row, self._installation)
        self._need_switches(row, wanted, found[:1])
        wanted["enabled"] = row.enabled and not refused
        told: dict[str, Any] = {}
        if found:
            number = int(found[0]["id"])
            told = marks.differences(found[0], wanted)
            if told:
                self._awx.change(number, {name: wanted[name] for name in told})
        else:
            if not self._intend(row):
                return
            number = self._create(row, wanted)
            same = (row.awx_url, row.awx_template) == (self._url, self._template)
            told = {"removed": True} if row.awx_id and same else {}
        if row.awx_version != row.version:
            told = {}
        if bool(refused) != row.awx_problem.startswith(_TURNED_OFF):
            told.pop("enabled", None)  # that is our doing
        if not self._done(row, number, told, refused):
            self._awx.remove(number)
        elif self._may_have_begun(row):
            self._follow(row, number)

    def _refused(self, row: Schedule) -> str:
        """Why a turn of a schedule would not be started here: AWX does not know the rights of our tokens."""
        with self._database.read() as session:
            why = refusal(session, row)
        since = row.awx_since or self._moment
        return f"{_TURNED_OFF} since {since:%Y-%m-%d %H:%M:%S} UTC: {why}" if why else ""

    def _need_switches(
        self, row: Schedule, wanted: Mapping[str, Any], found: list[dict[str, Any]]
    ) -> None:
        """Refuse a schedule that the template would begin for other hosts, or otherwise, than it says."""
        asked = {name: wanted[name] for name in ("limit", "job_type", "diff_mode")}
        lacking = unheeded(self._asks, {**asked, "extra_vars": wanted["extra_data"]})
        if not lacking:
            return
        for one in found:
            # It cannot be turned off: at each change AWX holds all of it against the template.
            self._awx.remove(int(one["id"]))
            with self._database.write() as session:
                now_there = session.get(Schedule, row.id, with_for_update=True)
                if now_there is not None:
                    now_there.awx_id, now_there.awx_version = None, 0
        raise AwxError(
            f"the job template {self._named!r} would leave out what it says, so that AWX does not have it",
            hint=f"switch on 'Prompt on launch' for: {lacking}",
        )

    def _may_have_begun(self, row: Schedule) -> bool:
        """Whether AWX may have a newer job of a schedule, or more to tell of the last one."""
        if row.awx_looked is None or (row.awx_job and not row.awx_job["finished"]):
            return True
        try:
            due = parse(row.rrule).following(row.awx_looked - _LATE)
        except ValueError:  # AWX takes it still
            return True
        return due is not None and due <= self._moment

    def _follow(self, seen: Schedule, number: int) -> None:
        """Keep what the newest job of a schedule came to."""
        try:
            found = self._awx.last_job(number)
        except AwxAway:
            raise
        except AwxError as error:  # the schedule itself is in step
            log.warning("a schedule's jobs cannot be read", schedule=seen.name, why=error.message)
            found = None
        # AWX forgets old jobs; the last one stays known here.
        job = marks.job(found or {}) or seen.awx_job
        with self._database.write() as session:
            row = session.get(Schedule, seen.id, with_for_update=True)
            if row is not None:
                row.awx_looked, row.awx_job = self._moment, job

    def _remove(self, row: Schedule) -> None:
        found = self._there.get(row.id, [])
        self._need_same_awx(row, found)
        if row.awx_asked and not found and self._moment < row.awx_asked + _SURELY:
            raise AwxAway(
                "it was asked to make this, did not answer, and may still do it", doubtful=True
            )
        self._remove_others(row, [])
        with self._database.write() as session:
            now_there = session.get(Schedule, row.id, with_for_update=True)
            if now_there is None:
                return
            if now_there.removing:
                session.delete(now_there)
                return
            now_there.awx_id, now_there.awx_template, now_there.awx_version = None, None, 0
            now_there.awx_problem, now_there.awx_since = "", None
            now_there.awx_job, now_there.awx_looked = None, None
            now_there.awx_corrected, now_there.awx_asked = "", None
            if now_there.runs_in == Place.CONTROLLER:
                now_there.awx_url = ""
                plan_next(now_there, self._moment)

    def _need_same_awx(self, row: Schedule, found: list[dict[str, Any]]) -> None:
        if row.awx_url not in ("", self._url) and not found:
            raise AwxError(
                f"it is in {row.awx_url}, which awx_url does not name any more",
                hint="set awx_url back; or remove it there, and here with `plugfleet schedule remove --forget`",
            )

    def _remove_others(self, row: Schedule, kept: list[dict[str, Any]]) -> None:
        """Remove what AWX has of a schedule but one: also below a template that was taken before."""
        numbers = {int(one["id"]) for one in self._there.get(row.id, [])}
        if row.awx_id is not None and row.awx_id not in numbers and row.awx_url == self._url:
            other = self._awx.get(row.awx_id)
            if other is not None and (
                marks.read(other, self._installation) == row.id
                or marks.is_it(other, row, self._url)
            ):
                numbers.add(row.awx_id)
        for number in sorted(numbers - {int(one["id"]) for one in kept}):
            self._awx.remove(number)

    def _create(self, seen: Schedule, wanted: Mapping[str, Any]) -> int:
        assert self._template is not None  # or it would not have come to this
        try:
            return int(self._awx.create(wanted, self._template)["id"])
        except AwxError as error:
            if not isinstance(error, AwxAway) or not error.doubtful:
                # It surely did not make it now; but it may still do what it was asked for before.
                doubt = seen.awx_asked
                with self._database.write() as session:
                    row = session.get(Schedule, seen.id, with_for_update=True)
                    if row is not None:
                        row.awx_asked = doubt
                        row.awx_url = row.awx_url if row.awx_id or doubt else ""
            raise

    def _intend(self, seen: Schedule) -> bool:
        """Write that AWX may have a schedule, before it is asked; False where that is no longer wanted."""
        with self._database.write() as session:
            row = session.get(Schedule, seen.id, with_for_update=True)
            if row is None or row.version != seen.version:
                return False
            row.awx_url, row.awx_template = self._url, self._template
            row.awx_asked = self._moment
            return True

    def _done(self, seen: Schedule, number: int, told: Mapping[str, Any], problem: str) -> bool:
        """Write that AWX is in step; False where it should not have the schedule any more.

        Args:
            told: what somebody had changed there.
            problem: why it is turned off there, if it is.
        """
        before = (seen.awx_url, seen.awx_id, seen.awx_template, seen.awx_version, seen.awx_problem)
        if before == (self._url, number, self._template, seen.version, problem) and not told:
            return True
        with self._database.write() as session:
            row = session.get(Schedule, seen.id, with_for_update=True)
            if row is None or (row.runs_in != Place.AWX and not row.awx_url):
                return False
            if row.awx_version != seen.version:
                row.awx_corrected = ""
            row.awx_url, row.awx_id, row.awx_template = self._url, number, self._template
            row.awx_version, row.awx_problem, row.awx_asked = seen.version, problem, None
            row.awx_since = (seen.awx_since or self._moment) if problem else None
            if told:
                row.awx_corrected = marks.told(told, self._moment)
                record(session, CONTROLLER, "schedule.correct", "schedule", row.name, told, None)
        return True


def note(database: Database, rows: list[Schedule], error: AwxError, moment: datetime) -> None:
    """Write what keeps schedules from being in step."""
    does = "waits for AWX" if isinstance(error, AwxAway) else "AWX does not do it"
    for seen in rows:
        since = seen.awx_since or moment
        problem = f"{does} since {since:%Y-%m-%d %H:%M:%S} UTC: {sentence(error)}"
        if problem == seen.awx_problem:
            continue
        log.warning("a schedule is not in step", schedule=seen.name, problem=problem)
        with database.write() as session:
            row = session.get(Schedule, seen.id, with_for_update=True)
            if row is not None:
                row.awx_problem, row.awx_since = problem, since
