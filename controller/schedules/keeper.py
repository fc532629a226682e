"""Keeping AWX's schedules in step with ours: what AWX should have is a row before AWX is asked, and stays one
until AWX has been seen to be so. Somebody may change or remove a schedule there: it is set right, and told.

One controller does it at a time, which PostgreSQL sees to; SQLite has no other.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select

from controller.awx.errors import AwxError
from controller.awx.transport import Transport
from controller.database.engine import Database
from controller.schedules.alone import alone
from controller.schedules.awxpass import Pass, note
from controller.schedules.models import Place, Schedule
from controller.settings import Settings


class Keeper:
    """Brings AWX in step, as often as it is told to."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    def keep(self, moment: datetime) -> None:
        """Bring every schedule that AWX has, or should have, in step; what fails stands in its row.

        Raises:
            Unavailable: the database does not answer.
        """
        # What AWX has of schedules that were forgotten here is removed also where no other is left.
        if not self._rows() and not self._settings.awx_token:
            return
        with alone(self._database) as mine:
            if not mine:
                return
            rows = self._rows()  # another controller may just have been at it
            try:
                awx = self._open()
            except AwxError as error:
                note(self._database, rows, error, moment)
                return
            try:
                Pass(self._settings, self._database, awx, rows, moment).carry_out()
            finally:
                awx.close()

    def _open(self) -> Transport:
        settings = self._settings
        if not (settings.awx_url and settings.awx_token):
            raise AwxError("awx_url and awx_token are not set")
        return Transport(
            settings.awx_url, settings.awx_token, settings.awx_ca_file, settings.awx_user
        )

    def _rows(self) -> list[Schedule]:
        with self._database.read() as session:
            concerned = or_(Schedule.runs_in == Place.AWX.value, Schedule.awx_url != "")
            return list(session.scalars(select(Schedule).where(concerned).order_by(Schedule.id)))
