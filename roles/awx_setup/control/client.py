"""Requests to AWX's `/api/v2/`, with the standard library: nothing has to be installed.

Lists come in pages, errors name the fields. Ansible's own `open_url` reads the machine's authorities anew for
each request, which takes longer than AWX does.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Object = dict[str, Any]
_ROOT = "/api/v2/"
_PAGE = 200  # AWX gives no more at a time
_LATER = (429, 502, 503, 504)
_WAITS = (1.0, 2.0, 4.0)  # seconds before a further try of what changes nothing
# AWX 21 is the first that finds playbooks which import others by the full name; 4 is AAP's numbering.
_OLDEST = 21
_OLDEST_AAP = 4


class AwxError(Exception):
    """AWX does not do what was asked; the message says why, and what to do."""


class NotThere(AwxError):
    """AWX has no such object."""


@dataclass
class Connection:
    """Where AWX is and as whom it is asked.

    Attributes:
        url: without a path, e.g. `https://awx.example.com`.
        token: of a user who may administer the organisation; or `username` and `password`.
        ca_file: file with further authorities; the certificate is always checked.
        timeout: seconds that one answer may take.
    """

    url: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout: float = 30.0

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        if not self.url.startswith(("https://", "http://")):
            raise AwxError(
                f"awx_setup_url must be AWX's address, such as https://awx.example.com, not {self.url!r}"
            )
        if not self.token and not (self.username and self.password):
            raise AwxError(
                "AWX needs a token: set awx_setup_token or AWX_TOKEN, or awx_setup_username and "
                "awx_setup_password"
            )


class Awx:
    """AWX, by its REST interface."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> str:
        """AWX's version.

        Raises:
            AwxError: nobody answers, or it is too old, or does not know the token.
        """
        found = self.get("ping/")
        version = str(found.get("version", "")) if isinstance(found, dict) else ""
        major = version.split(".")[0]
        if not major.isdigit():
            raise AwxError(f"{self._connection.url} answers, but not as AWX; is that its address?")
        if _OLDEST_AAP < int(major) < _OLDEST or int(major) < _OLDEST_AAP:
            raise AwxError(
                f"{self._connection.url} is AWX {version}; plugfleet needs {_OLDEST} or newer"
            )
        self.get("me/")
        return version

    def find(self, kind: str, **filters: Any) -> Object | None:
        """The object that the filters fit.

        Raises:
            AwxError: several do.
        """
        found = list(self.all(f"{kind}/", **filters))
        if len(found) > 1:
            named = ", ".join(f"{k} {v}" for k, v in filters.items())
            raise AwxError(f"AWX has {len(found)} {_words(kind)} with {named}; rename one of them")
        return found[0] if found else None

    def all(self, path: str, **filters: Any) -> Iterator[Object]:
        """Every object of a list, page by page."""
        query = {"page_size": _PAGE, "order_by": "id", **filters}
        address: str | None = f"{_ROOT}{path}?{urllib.parse.urlencode(query)}"
        while address:
            page = self._request("GET", address, None)
            yield from page["results"]
            address = page["next"]

    def get(self, path: str) -> Any:
        """What stands at a path below `/api/v2/`; a text where it is not JSON."""
        return self._request("GET", _ROOT + path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make or start something."""
        return self._request("POST", _ROOT + path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something."""
        return self._request("PATCH", _ROOT + path, body)

    def delete(self, path: str) -> None:
        """Remove something."""
        self._request("DELETE", _ROOT + path, None)

    def _request(self, method: str, address: str, body: Mapping[str, Any] | None) -> Any:
        waits = iter(_WAITS if method == "GET" else ())
        while True:
            try:
                return self._once(method, address, body)
            except _Later as later:
                wait = next(waits, None)
                if wait is None:
                    raise AwxError(str(later)) from None
                time.sleep(wait)

    def _once(self, method: str, address: str, body: Mapping[str, Any] | None) -> Any:
        told = self._connection
        request = urllib.request.Request(
            told.url + address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "plugfleet-awx-setup"},
        )
        # Unlike an ordinary header, this one does not follow a redirect to somebody else.
        request.add_unredirected_header("Authorization", self._authorization())
        try:
            with _opener(told.ca_file).open(request, timeout=told.timeout) as response:
                return _content(response.read())
        except urllib.error.HTTPError as error:
            with error:
                said = _content(error.read(65_536))
            raise _refused(request, error, said, told.url) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise AwxError(
                    f"AWX's certificate at {told.url} is not trusted: {reason.verify_message}; name the file "
                    "of its authority in awx_setup_ca_file"
                ) from None
            raise _Later(f"AWX at {told.url} cannot be reached: {reason}") from None

    def _authorization(self) -> str:
        told = self._connection
        if told.token:
            return f"Bearer {told.token}"
        return "Basic " + base64.b64encode(f"{told.username}:{told.password}".encode()).decode()


class _Later(Exception):
    """AWX does not answer for now."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST would become a GET on its way to another address."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


@lru_cache(maxsize=1)
def _opener(ca_file: str) -> urllib.request.OpenerDirector:
    """Opens URLs, with proxies as the environment names them.

    Raises:
        AwxError: the file of authorities cannot be read.
    """
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise AwxError(f"awx_setup_ca_file {ca_file} cannot be read: {error}") from None
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)


def _content(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else {}
    except ValueError:
        return raw.decode("utf-8", "replace")


def _refused(
    request: urllib.request.Request, error: urllib.error.HTTPError, said: Any, url: str
) -> Exception:
    """What an answer that is an error means, in words that help."""
    status, path = error.code, urllib.parse.urlsplit(request.full_url).path
    detail = said.get("detail", "") if isinstance(said, dict) else ""
    what = f"{request.get_method()} {path}"
    if status in _LATER:
        return _Later(f"AWX at {url} answered {status} to {what}; is it starting?")
    if status == 401:
        return AwxError(f"AWX at {url} does not know the token or password: it may be revoked")
    if status == 403:
        return AwxError(
            f"the token's user may not do {what}: {detail} Take one of a system administrator, as "
            "credential types can be made by nobody else"
        )
    if status == 404:
        return NotThere(f"AWX at {url} has no {path}; is that AWX's address?")
    if 300 <= status < 400:
        elsewhere = error.headers.get("Location", "elsewhere")
        return AwxError(f"{url} sends on to {elsewhere}: give AWX's own address as awx_setup_url")
    return AwxError(f"AWX refuses {what} ({status}): {_fields(said)}")


def _fields(said: Any) -> str:
    """The errors of each field, in one line."""
    if not isinstance(said, dict):
        return str(said)[:500]
    return "; ".join(
        f"{'' if name in ('detail', 'error', '__all__') else name + ': '}"
        f"{' '.join(map(str, text)) if isinstance(text, list) else text}"
        for name, text in said.items()
    )


def _words(kind: str) -> str:
    return kind.replace("_", " ")
