"""Asks AWX one thing, and tells an answer of AWX's from a refusal, from an AWX that is away, and from what
only stands where AWX should be: a proxy's page.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from controller.awx.addresses import GATEWAY, api
from controller.awx.errors import AwxAway, AwxBarred, AwxError, AwxMissing, words

_CONNECT, _ANSWER = 5.0, 30.0  # seconds
_TOLD = 400  # characters of what it says that are passed on
TEMPLATES = "job_templates/"
"""A list that every AWX has, if an empty one."""
_LATER = (429, 502, 503, 504)
_DOUBTFUL = (502, 504)  # a proxy's, who may have passed the request on
_NOTHING = object()
# Its OAuth provider was taken out of AWX in November 2024 (ansible/awx, pull request 15666).
_NO_TOKEN = (
    "make a token of scope Write for a user that may execute the job template, and set awx_token to it; AWX "
    "newer than 24.6.1 has no tokens: set awx_user, and awx_token to that user's password"
)
_NO_PASSWORD = "awx_token must be the password of awx_user, whom AWX must know by itself; a token needs awx_user empty"
_NO_API = f"behind a gateway of Ansible Automation Platform, awx_url must end with {GATEWAY}"


class Transport:
    """Requests to one AWX.

    Args:
        url: as `settings.awx_url`.
        token: it is sent to no other address.
        ca_file: the authority that its certificate must be of, or None for the public ones.
        user: whose password the token is; empty where it is a token.

    Raises:
        AwxError: the authority's file cannot be read.
    """

    def __init__(self, url: str, token: str, ca_file: Path | None, user: str) -> None:
        self.url = url
        self._token = token
        self._user = user
        self._http = httpx2.Client(
            base_url=api(url),
            headers={"Authorization": _authorization(token, user), "Accept": "application/json"},
            timeout=httpx2.Timeout(_ANSWER, connect=_CONNECT),
            verify=_tls(url, ca_file),
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
    ) -> Any:
        """The JSON that AWX answers; None where it answers nothing.

        Raises:
            AwxAway: it does not answer, or not now; `doubtful` says whether it may have done it.
            AwxBarred: our token may not, or its certificate is not to be trusted.
            AwxMissing: it does not have it.
            AwxError: it refuses.
        """
        try:
            response = self._http.request(method, path, json=body, params=query)
        except httpx2.TimeoutException as error:
            connected = not isinstance(error, httpx2.ConnectTimeout)
            raise AwxAway(f"{self.url} does not answer in time", doubtful=connected) from None
        except (httpx2.RequestError, OSError) as error:
            raise self._unreachable(error) from None
        except httpx2.InvalidURL as error:
            raise AwxError(f"{self.url} is no address: {error}", hint="correct awx_url") from None
        return self._judged(f"{method} {path}", response)

    def _unreachable(self, error: Exception) -> AwxError:
        reason = self.clean(str(error)) or type(error).__name__
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
            return AwxBarred(
                f"the certificate of {self.url} is not to be trusted: {reason}",
                hint="set awx_ca_file to the authority's PEM file, or correct awx_url",
            )
        refused = isinstance(error, httpx2.ConnectError)
        return AwxAway(f"{self.url} cannot be reached: {reason}", doubtful=not refused)

    def _judged(self, what: str, response: httpx2.Response) -> Any:
        status = response.status_code
        try:
            answer = json.loads(response.content) if response.content else None
        except (ValueError, RecursionError):
            answer = _NOTHING
        if 200 <= status < 300 and answer is not _NOTHING:
            return answer
        if status < 400 or (status == 404 and not isinstance(answer, dict)):
            # A proxy's page, for maintenance or to log in: AWX answers all of this in JSON.
            raise self.strange(f"HTTP {status} to {what}", doubtful=status < 300)
        said = self.clean("; ".join(words(answer)))
        told = f"{what}: HTTP {status}" + (f", {said}" if said else "")
        if status in _LATER or status >= 500:
            raise AwxAway(
                f"{self.url} says that it cannot now ({told})",
                doubtful=status in _DOUBTFUL or status == 500,
                wait=_seconds(response.headers.get("retry-after", "")),
            )
        if status == 401:
            ours, hint = ("token", _NO_TOKEN) if not self._user else ("password", _NO_PASSWORD)
            raise AwxBarred(f"AWX does not take our {ours} ({told})", hint=hint)
        if status == 403:
            raise AwxBarred(
                f"AWX's token may not do that ({told})",
                hint="give its user the role Execute on the job template, and Read on its inventory",
            )
        if status == 404:
            hint = _NO_API if what == f"GET {TEMPLATES}" else ""
            raise AwxMissing(f"AWX does not have it ({told})", hint=hint)
        raise AwxError(f"AWX refuses it ({told})")

    def strange(self, what: str, *, doubtful: bool = False) -> AwxAway:
        """What an answer is that AWX does not give."""
        return AwxAway(
            f"{self.url} does not answer as AWX does: {what} (awx_url must be where AWX's pages are; its "
            f"API is below at {api('')}, or for Ansible Automation Platform at {api(GATEWAY)})",
            doubtful=doubtful,
        )

    def clean(self, text: str) -> str:
        """What AWX says, fit for a reason: one short line, without our token."""
        line = "".join(char if char.isprintable() else " " for char in text)
        line = " ".join(line.replace(self._token, "***").split()) if self._token else line
        return line if len(line) <= _TOLD else line[: _TOLD - 1] + "…"


def _authorization(token: str, user: str) -> str:
    if not user:
        return f"Bearer {token}"
    return f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"


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
