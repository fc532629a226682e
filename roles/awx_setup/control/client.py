"""Requests to AWX's `/api/v2/`, with the standard library: nothing has to be installed.

Lists come in pages, errors name the fields (awx/api/generics.py and exceptions.py of AWX). Ansible's own
`open_url` reads the machine's authorities anew for each request, which takes longer than AWX does.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from roles.awx_setup.control.refusals import AwxError, Later, NotThere, refusal

Object = dict[str, Any]
_PAGE = 200  # AWX gives no more at a time
_WAITS = (1.0, 2.0, 4.0)  # seconds before a further try of what changes nothing
# AWX 21 is the first that finds playbooks which import others by the full name; 4 is AAP's numbering.
_OLDEST = 21
_OLDEST_AAP = 4


@dataclass
class Connection:
    """Where AWX is and as whom it is asked.

    Attributes:
        url: e.g. `https://awx.example.com`; behind AAP's gateway with `/api/controller`.
        token: of a user who may administer the organisation.
        username, password: in place of a token; an AWX newer than 24.6.1 takes nothing else.
        ca_file: file with further authorities; the certificate is always checked.
        timeout: seconds that one answer may take.
    """

    url: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout: float = 30.0

    host: str = field(init=False)
    root: str = field(init=False)

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
        parts = urllib.parse.urlsplit(self.url)
        self.host = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.removesuffix("/v2")
        self.root = path + ("/v2/" if re.search("/api(/|$)", path) else "/api/v2/")


class Awx:
    """AWX, by its REST interface."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> str:
        """AWX's version.

        Raises:
            AwxError: nobody answers, or it is too old, or does not know the token.
        """
        try:
            found = self.get("ping/")
        except NotThere:
            found = None
        version = str(found.get("version", "")) if isinstance(found, dict) else ""
        major = version.split(".")[0]
        if not major.isdigit():
            raise AwxError(
                f"{self._connection.url} answers, but not as AWX; is that its address? Behind the gateway of "
                "AAP it ends with /api/controller"
            )
        # Builds of a checkout without tags count from 0.
        if "dev" not in version and (
            _OLDEST_AAP < int(major) < _OLDEST or int(major) < _OLDEST_AAP
        ):
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
        query = urllib.parse.urlencode({"page_size": _PAGE, "order_by": "id", **filters})
        while query:
            page = self._request("GET", f"{path}?{query}", None)
            yield from page["results"]
            # Not the path: AWX does not know what a proxy puts in front of it.
            query = urllib.parse.urlsplit(page["next"] or "").query

    def get(self, path: str) -> Any:
        """What stands at a path below `/api/v2/`; a text where it is not JSON."""
        return self._request("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make or start something."""
        return self._request("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something."""
        return self._request("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Remove something."""
        self._request("DELETE", path, None)

    def _request(self, method: str, address: str, body: Mapping[str, Any] | None) -> Any:
        waits = iter(_WAITS if method == "GET" else ())
        while True:
            try:
                return self._once(method, address, body)
            except Later as later:
                wait = next(waits, None)
                if wait is None:
                    raise AwxError(str(later)) from None
                time.sleep(wait)

    def _once(self, method: str, address: str, body: Mapping[str, Any] | None) -> Any:
        told = self._connection
        request = urllib.request.Request(
            told.host + told.root + address,
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
            if error.code == 401 and not told.username and not self._knows_tokens():
                raise AwxError(
                    f"AWX at {told.url} knows no tokens, as none does after 24.6.1: give awx_setup_username and "
                    "awx_setup_password"
                ) from None
            raise refusal(method, told.root + address, error, said, told.url, body) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise AwxError(
                    f"AWX's certificate at {told.url} is not trusted: {reason.verify_message}; name the file "
                    "of its authority in awx_setup_ca_file"
                ) from None
            raise Later(f"AWX at {told.url} cannot be reached: {reason}") from None

    def _knows_tokens(self) -> bool:
        """Whether AWX has OAuth 2, which its root tells everybody; True where that cannot be told."""
        told = self._connection
        if told.root != "/api/v2/":
            return True  # the gateway's own matter
        try:
            with _opener(told.ca_file).open(f"{told.host}/api/", timeout=told.timeout) as response:
                root = _content(response.read())
        except (OSError, http.client.HTTPException):
            return True
        return not isinstance(root, dict) or "oauth2" in root or "current_version" not in root

    def _authorization(self) -> str:
        told = self._connection
        if told.username and told.password:
            login = f"{told.username}:{told.password}".encode()
            return f"Basic {base64.b64encode(login).decode()}"
        return f"Bearer {told.token}"


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


def _words(kind: str) -> str:
    return kind.replace("_", " ")
