"""Schedules as AWX has them, below a job template (awx/api/serializers.py, ScheduleSerializer)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.awx.client import PAGE
from controller.awx.errors import AwxError, AwxMissing
from controller.awx.transport import TEMPLATES, Transport

_MOST_PAGES = 50
_HINT = "give the user of awx_token the role Execute on it, or correct awx_schedule_template"


class AwxSchedules:
    """The schedules of one AWX.

    Args:
        transport: asks it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def find_template(self, named: str) -> dict[str, Any]:
        """The job template that schedules begin, by its id or its name.

        Raises:
            AwxMissing: there is none, there are several, or this token may not see it.
            AwxError: AWX does not answer.
        """
        query: dict[str, str | int] = {"id" if named.isdecimal() else "name": named}
        found = self._results(self._transport.ask("GET", TEMPLATES, query=query))
        if len(found) != 1:
            many = f"several job templates {named!r}" if found else f"no job template {named!r}"
            raise AwxMissing(f"AWX has {many} that this token may see", hint=_HINT)
        return found[0]

    def below(self, template: int) -> list[dict[str, Any]]:
        """Every schedule of a template.

        Raises:
            AwxError: AWX does not answer, or has more than anybody looks through.
        """
        found: list[dict[str, Any]] = []
        path = f"job_templates/{template}/schedules/"
        for number in range(1, _MOST_PAGES + 1):
            query: dict[str, str | int] = {"order_by": "id", "page_size": PAGE, "page": number}
            page = self._transport.ask("GET", path, query=query)
            found += self._results(page)
            if not page.get("next"):
                return found
        raise AwxError(f"the job template has more than {_MOST_PAGES * PAGE} schedules")

    def get(self, number: int) -> dict[str, Any] | None:
        """A schedule by its id, whichever template it belongs to; None where AWX has none."""
        try:
            found = self._transport.ask("GET", f"schedules/{number}/")
        except AwxMissing:
            return None
        return found if isinstance(found, dict) else None

    def last_job(self, number: int) -> dict[str, Any] | None:
        """The newest job that a schedule began; None where there is none any more.

        Raises:
            AwxError: AWX does not answer.
        """
        query: dict[str, str | int] = {"order_by": "-id", "page_size": 1}
        found = self._results(self._transport.ask("GET", f"schedules/{number}/jobs/", query=query))
        return found[0] if found else None

    def create(self, fields: Mapping[str, Any], template: int) -> dict[str, Any]:
        """Make a schedule below a template.

        Raises:
            AwxAway: `doubtful` says whether it may be there nevertheless.
            AwxError: AWX refuses it.
        """
        path = f"job_templates/{template}/schedules/"
        made = self._transport.ask("POST", path, fields)
        if not isinstance(made, dict) or "id" not in made:
            raise self._transport.strange(f"no schedule from {path}", doubtful=True)
        return made

    def change(self, number: int, fields: Mapping[str, Any]) -> None:
        """Change a schedule.

        Raises:
            AwxError: AWX refuses it, or does not answer.
        """
        self._transport.ask("PATCH", f"schedules/{number}/", fields)

    def remove(self, number: int) -> None:
        """Remove a schedule; one that is gone already is.

        Raises:
            AwxError: AWX refuses it, or does not answer.
        """
        try:
            self._transport.ask("DELETE", f"schedules/{number}/")
        except AwxMissing:
            return

    def _results(self, answer: Any) -> list[dict[str, Any]]:
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise self._transport.strange("no list")
        return results
