"""Speaks to AWX's REST API, version 2 (docs.ansible.com, "AWX API Reference"; awx/api/views and
serializers.py of AWX's source for what is answered).

Nothing is asked again here: whoever asks knows whether to wait, and for how long.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from controller.awx.errors import AwxAway, AwxError, AwxMissing, words

PAGE = 200
"""The most entries that AWX gives at once (MAX_PAGE_SIZE)."""
_CONNECT, _ANSWER = 5.0, 30.0  # seconds
_TOLD = 400  # characters of what it says that are passed on
_NAMES_AT_ONCE = 50  # in an address, which proxies cut at 8 kB
_LATER = (429, 502, 503, 504)
_DOUBTFUL = (502, 504)  # a proxy's, who may have passed the request on


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
        token: an OAuth2 or personal token; it is sent to no other address.
        ca_file: the authority that its certificate must be of, or None for the public ones.

    Raises:
        AwxError: the authority's file cannot be read.
    """

    def __init__(self, url: str, token: str, ca_file: Path | None = None) -> None:
        self.url = url
        self._token = token
        self._http = httpx2.Client(
            base_url=f"{url}/api/v2/",
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=httpx2.Timeout(_ANSWER, connect=_CONNECT),
            verify=_tls(url, ca_file),
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

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
        found = self._results("job_templates/", {"name": named})
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
            AwxError: AWX refuses it, or this token may not.
        """
        answer = self._object(self._ask("POST", f"job_templates/{template}/launch/", fields))
        if "job" not in answer:
            raise AwxError(
                "AWX did not begin a job but a workflow: the job template cuts its inventory by itself",
                hint="set its job slicing (job_slice_count) to 1",
            )
        return Launched(int(answer["job"]), dict(answer.get("ignored_fields") or {}))

    def job(self, number: int) -> JobState:
        """How a job is.

        Raises:
            AwxMissing: AWX does not have it any more.
        """
        answer = self._object(self._ask("GET", f"jobs/{number}/"))
        words = [str(answer.get(name) or "") for name in ("job_explanation", "result_traceback")]
        return JobState(
            number,
            str(answer.get("status")),
            bool(answer.get("event_processing_finished")),
            self._clean(" ".join(word for word in words if word)),
        )

    def cancel(self, number: int) -> None:
        """Ask a job to end; one that has ended already does not mind.

        Raises:
            AwxMissing: AWX does not have it any more.
        """
        # 405 says that it cannot be canceled, as it has ended.
        self._ask("POST", f"jobs/{number}/cancel/", {}, fine=(405,))

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
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = ",".join(names[start : start + _NAMES_AT_ONCE])
            query: dict[str, str | int] = {
                "inventory": inventory,
                "name__in": some,
                "page_size": PAGE,
            }
            for host in self._results("hosts/", query):
                found[str(host.get("name"))] = bool(host.get("enabled", True))
        return found

    def _results(self, path: str, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        answer = self._object(self._ask("GET", path, query=query))
        results = answer.get("results")
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise self._no_awx(path)
        return results

    def _object(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise self._no_awx("its answer")
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        fine: Sequence[int] = (),
    ) -> Any:
        try:
            response = self._http.request(method, path, json=body, params=query)
        except httpx2.TimeoutException as error:
            connected = not isinstance(error, httpx2.ConnectTimeout)
            raise AwxAway(f"{self.url} does not answer in time", doubtful=connected) from None
        except (httpx2.RequestError, OSError) as error:
            raise self._unreachable(error) from None
        except httpx2.InvalidURL as error:
            raise AwxError(f"{self.url} is no address: {error}", hint="correct awx_url") from None
        return self._judged(f"{method} {path}", response, fine)

    def _unreachable(self, error: Exception) -> AwxError:
        reason = self._clean(str(error)) or type(error).__name__
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
            return AwxError(
                f"the certificate of {self.url} is not to be trusted: {reason}",
                hint="set awx_ca_file to the authority's PEM file, or correct awx_url",
            )
        refused = isinstance(error, httpx2.ConnectError)
        return AwxAway(f"{self.url} cannot be reached: {reason}", doubtful=not refused)

    def _judged(self, what: str, response: httpx2.Response, fine: Sequence[int]) -> Any:
        status = response.status_code
        try:
            answer = json.loads(response.content) if response.content else None
        except (ValueError, RecursionError):
            answer = _NOTHING
        if status in fine:
            return None
        if 200 <= status < 300:
            if answer is _NOTHING:
                raise self._no_awx(what)
            return answer
        said = self._clean("; ".join(words(answer)))
        told = f"{what}: HTTP {status}" + (f", {said}" if said else "")
        if status in _LATER or status >= 500:
            raise AwxAway(
                f"{self.url} says that it cannot now ({told})",
                doubtful=status in _DOUBTFUL or status == 500,
                wait=_seconds(response.headers.get("retry-after", "")),
            )
        if status == 401:
            raise AwxError(
                f"AWX does not take our token ({told})",
                hint="make a token of scope Write for a user that may execute the job template, and set "
                "awx_token to it",
            )
        if status == 403:
            raise AwxError(
                f"AWX's token may not do that ({told})",
                hint="give its user the role Execute on the job template, and Read on its inventory",
            )
        if status == 404:
            raise AwxMissing(f"AWX does not have it ({told})")
        raise AwxError(f"AWX refuses it ({told})")

    def _no_awx(self, what: str) -> AwxError:
        return AwxError(
            f"{self.url} is no AWX: {what} is not what AWX's API answers",
            hint="awx_url is where AWX's pages are; its API is below at /api/v2/",
        )

    def _clean(self, text: str) -> str:
        """What AWX says, fit for a reason: one short line, without our token."""
        line = "".join(char if char.isprintable() else " " for char in text)
        line = " ".join(line.replace(self._token, "***").split()) if self._token else line
        return line if len(line) <= _TOLD else line[: _TOLD - 1] + "…"


_NOTHING = object()


def _tls(url: str, ca_file: Path | None) -> ssl.SSLContext:
    if url.startswith("http:"):
        # Reading all authorities takes longer than most answers; without TLS nobody is asked.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise AwxError(
            f"awx_ca_file {ca_file} cannot be used: {error}", hint="it must be a PEM file"
        ) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() and len(text) < 4 else 0.0
