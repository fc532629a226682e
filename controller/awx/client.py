"""Speaks to AWX's REST API, version 2 (docs.ansible.com, "AWX API Reference"; awx/api/views and
serializers.py of AWX's source for what is answered).

Nothing is asked again here: whoever asks knows whether to wait, and for how long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from controller.awx.errors import AwxAway, AwxBegan, AwxError, AwxMissing
from controller.awx.transport import TEMPLATES, Transport

PAGE = 200
"""The most entries that AWX gives at once (MAX_PAGE_SIZE)."""
# Bytes of names in an address, which proxies cut at 8 kB; coded, they are up to three times as many.
_NAMES_AT_ONCE = 2_000


class Launched(NamedTuple):
    """A job that was begun, and the fields of the launch that AWX did not heed."""

    id: int
    ignored: dict[str, Any]


@dataclass(frozen=True)
class JobState:
    """How a job is.

    Attributes:
        status: new, pending, waiting, running, successful, failed, error, or canceled.
        processed: all of its events can be read.
        explanation: AWX's own words on why it waits or has failed; or empty.
    """

    id: int
    status: str
    processed: bool
    explanation: str

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ("successful", "failed", "error", "canceled")


class Awx:
    """One AWX.

    Args:
        url: as `settings.awx_url`.
        token: an OAuth2 or personal token, or the user's password; it is sent to no other address.
        ca_file: the authority that its certificate must be of, or None for the public ones.
        user: whose password the token is; empty where it is a token.

    Raises:
        AwxError: the authority's file cannot be read.
    """

    def __init__(self, url: str, token: str, ca_file: Path | None = None, user: str = "") -> None:
        self._transport = Transport(url, token, ca_file, user)
        self._ask = self._transport.ask

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def template(self, named: str) -> dict[str, Any]:
        """A job template, by its id or its name.

        Raises:
            AwxMissing: there is none, or this token may not see it.
            AwxError: there are several of that name.
        """
        hint = "give its user or team the role Execute on the template, or correct awx_job_template"
        if named.isdecimal():
            try:
                return self._object(self._ask("GET", f"job_templates/{named}/"))
            except AwxMissing:
                raise AwxMissing(
                    f"AWX has no job template {named} that this token may see", hint=hint
                ) from None
        found = self._results(TEMPLATES, {"name": named})
        if not found:
            raise AwxMissing(
                f"AWX has no job template {named!r} that this token may see", hint=hint
            )
        if len(found) > 1:
            ids = ", ".join(str(one.get("id")) for one in found)
            raise AwxError(
                f"AWX has several job templates {named!r}",
                hint=f"set awx_job_template to one of {ids}",
            )
        return found[0]

    def launch(self, template: int, fields: Mapping[str, Any]) -> Launched:
        """Begin a job.

        Raises:
            AwxAway: `doubtful` says whether it may have begun nevertheless.
            AwxBegan: AWX began something else, which could not be canceled.
            AwxError: AWX refuses it, or this token may not; or it began something else.
        """
        answer = self._object(self._ask("POST", f"job_templates/{template}/launch/", fields))
        if "workflow_job" in answer and "job" not in answer:
            number = int(answer["workflow_job"])
            told = f"the job template cuts its inventory by itself: AWX began its workflow {number}"
            hint = "set its job slicing (job_slice_count) to 1"
            try:
                self._cancel(f"workflow_jobs/{number}/")
            except AwxError as error:
                may = f"{told}, which may still run ({error.message})"
                raise AwxBegan(may, hint=hint) from None
            raise AwxError(f"{told}, which was canceled", hint=hint)
        if "job" not in answer:
            raise self._transport.strange("no job from a launch", doubtful=True)
        return Launched(int(answer["job"]), dict(answer.get("ignored_fields") or {}))

    def job(self, number: int) -> JobState:
        """How a job is.

        Raises:
            AwxMissing: AWX does not have it any more.
        """
        return self._state(f"jobs/{number}/", number)

    def _state(self, path: str, number: int) -> JobState:
        answer = self._object(self._ask("GET", path))
        if not isinstance(answer.get("status"), str):
            raise self._transport.strange(f"no status from {path}")
        said = str(answer.get("job_explanation") or "")
        broke = _outcome(str(answer.get("result_traceback") or ""))
        # AWX often breaks a job off by an exception of the same words.
        words = [said] if said.strip() and said.strip() in broke else [said, broke]
        return JobState(
            number,
            str(answer.get("status")),
            bool(answer.get("event_processing_finished")),
            self._transport.clean(" ".join(word for word in words if word)),
        )

    def cancel(self, number: int) -> None:
        """Ask a job to end; one that has ended already does not mind.

        Raises:
            AwxMissing: AWX does not have it any more.
            AwxBarred: it runs, and this token may not cancel it.
        """
        self._cancel(f"jobs/{number}/")

    def _cancel(self, path: str) -> None:
        try:
            self._ask("POST", f"{path}cancel/", {})
        except (AwxAway, AwxMissing):
            raise
        except AwxError:
            # Of a job that has ended, AWX says 405 to administrators, and 403 to others (`can_cancel` of
            # JobAccess in awx/main/access.py).
            if not self._state(path, 0).ended:
                raise

    def events(self, job: int, **wanted: str | int) -> list[dict[str, Any]]:
        """A page of a job's events, by their counters."""
        query = {"order_by": "counter", "page_size": PAGE, **wanted}
        return self._results(f"jobs/{job}/job_events/", query)

    def newest_jobs(self, template: int, page: int) -> list[dict[str, Any]]:
        """Jobs of a template, the newest first."""
        query: dict[str, str | int] = {
            "order_by": "-id",
            "page_size": PAGE,
            "page": page,
        }
        try:
            return self._results(f"job_templates/{template}/jobs/", query)
        except AwxMissing:
            return []  # the page behind the last one

    def hosts(self, inventory: int, names: Sequence[str]) -> dict[str, bool]:
        """Those of these hosts that an inventory has, and whether they are enabled there."""
        found: dict[str, bool] = {}
        for some in _parts(names):
            query: dict[str, str | int] = {
                "inventory": inventory,
                "name__in": ",".join(some),
                "page_size": PAGE,
            }
            for host in self._results("hosts/", query):
                found[str(host.get("name"))] = bool(host.get("enabled", True))
        return found

    def _results(self, path: str, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        answer = self._object(self._ask("GET", path, query=query))
        results = answer.get("results")
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise self._transport.strange(f"no list from {path}")
        return results

    def _object(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise self._transport.strange("no JSON object", doubtful=True)
        return answer


def _outcome(text: str) -> str:
    """What a job broke of: of a traceback of AWX's own Python, the exception alone."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if text.lstrip().startswith("Traceback (") else text


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    """Names, as many as one address holds, and one page of an answer."""
    part: list[str] = []
    length = 0
    for name in names:
        size = len(name.encode()) + 1
        if part and (length + size > _NAMES_AT_ONCE or len(part) == PAGE):
            yield part
            part, length = [], 0
        part.append(name)
        length += size
    if part:
        yield part
