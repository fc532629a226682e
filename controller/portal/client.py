"""Speaks to a portal's API: falcon-plus, `modules/api/app/controller/host` (open-falcon.md, section 2).

What it is known for: every refusal is 400, 401 or 417 with `{"error"}`; the same plugin may be bound
twice; `POST /hostgroup/host` replaces a hostgroup's members, so it is never used.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import httpx2

from controller.errors import Conflict, PlugfleetError

READING, CHANGING = 900.0, 900.0
"""Seconds that one sync may take of the portal's time: each member of a hostgroup costs it a query."""
_CONNECT, _ANSWER = 5.0, 30.0  # seconds; a hostgroup's hosts cost the portal one query each
_PAUSES = (0.2, 1.0)  # seconds before what changes nothing is asked again
_PAGE = 500
_MOST_BYTES = 32 << 20
_TOLD = 200  # characters of what it says that are passed on
_BUSY = threading.BoundedSemaphore(2)
_T = TypeVar("_T")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
UNREADABLE = "\ufffd"
"""Stands for a character that is none (Unicode's replacement character)."""


class PortalError(PlugfleetError):
    """The portal does not answer, does not let us in, or is no falcon-plus API."""

    status, code, title = 502, "portal", "The portal does not work"


class PortalRefused(PortalError):
    """The portal answered, and did not do it: what was to be changed is as it was."""


class PortalFailed(PortalError):
    """The portal has a fault of its own: nobody knows whether it did it."""


class Group(NamedTuple):
    """A hostgroup of the portal."""

    id: int
    name: str


class Member(NamedTuple):
    """A host of a hostgroup; its address as its agent told, or empty."""

    name: str
    address: str


class Bound(NamedTuple):
    """A row of the portal's bindings."""

    id: int
    text: str


class Portal:
    """One portal, from entering the block until its end.

    Args:
        url: as `settings.portal_url`.
        user: name of the account.
        token: its `sig`.
        seconds: that all requests may take together, until `begin_changing`.
    """

    def __init__(self, url: str, user: str, token: str, seconds: float = READING) -> None:
        self.url = url
        self._token = token
        self._until = time.monotonic() + seconds
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1/",
            headers={"Apitoken": json.dumps({"name": user, "sig": token})},
            # Reading all authorities takes longer than most answers; without TLS nobody is asked.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http:") else True,
        )

    def __enter__(self) -> Portal:
        """Take a turn.

        Raises:
            Conflict: two others speak to the portal already; a slow one must not take all threads.
        """
        if not _BUSY.acquire(blocking=False):
            self._http.close()
            raise Conflict("two syncs with the portal are under way", hint="wait for them to end")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        _BUSY.release()
        self._http.close()

    def begin_changing(self, seconds: float = CHANGING) -> None:
        """All has been read; from now on requests may take this long together.

        A portal that takes all the time to be read would else never be changed.
        """
        self._until = time.monotonic() + seconds

    def hostgroups(self) -> list[Group]:
        """All hostgroups, by id.

        Raises:
            PortalError: they cannot be read; so do all that read.
        """
        found: dict[int, Group] = {}
        page = 1
        while True:
            # A column without an index orders nothing: what comes twice counts once.
            rows = self._rows(f"hostgroup?page={page}&limit={_PAGE}")
            before = len(found)
            for row in rows:
                group = Group(_number(row, "id"), _text(row, "grp_name"))
                found[group.id] = group
            if len(rows) < _PAGE or len(found) == before:
                return [found[number] for number in sorted(found)]
            page += 1

    def members(self, group: Group) -> list[Member]:
        """The hosts of a hostgroup."""
        answer = self._ask("GET", f"hostgroup/{group.id}")
        hosts = answer.get("hosts") if isinstance(answer, dict) else None
        return [Member(_text(row, "hostname"), _text(row, "ip")) for row in _list(hosts)]

    def bindings(self, group: Group) -> list[Bound]:
        """The bindings of a hostgroup, by id."""
        rows = self._rows(f"hostgroup/{group.id}/plugins")
        return sorted(Bound(_number(row, "id"), _text(row, "dir")) for row in rows)

    def create(self, name: str) -> Group:
        """Make a hostgroup.

        Raises:
            PortalRefused: it was not made; so for all that change something.
            PortalFailed: it may have been made, or not.
            PortalError: the portal is gone; it may have been made, or not.
        """
        return Group(_number(self._ask("POST", "hostgroup", {"name": name}), "id"), name)

    def delete(self, group: Group) -> None:
        """Delete a hostgroup with all that is in it."""
        self._ask("DELETE", f"hostgroup/{group.id}")

    def add(self, group: Group, hosts: list[str]) -> None:
        """Add hosts to a hostgroup; the portal makes those that it does not know."""
        self._ask("PATCH", f"hostgroup/{group.id}/host", {"action": "add", "hosts": hosts})

    def remove(self, group: Group, hosts: list[str]) -> None:
        """Take hosts out of a hostgroup."""
        self._ask("PATCH", f"hostgroup/{group.id}/host", {"action": "remove", "hosts": hosts})

    def bind(self, group: Group, plugin: str) -> None:
        """Bind a plugin to a hostgroup; the portal does not look whether it is bound already."""
        self._ask("POST", "plugin", {"hostgroup_id": group.id, "dir_path": plugin})

    def unbind(self, bound: Bound) -> None:
        """Take a binding away; one that is gone is no error."""
        try:
            self._ask("DELETE", f"plugin/{bound.id}")
        except PortalRefused as error:
            if "record not found" not in error.message:
                raise

    def _rows(self, path: str) -> list[Any]:
        return _list(self._ask("GET", path))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer. Only what changes nothing is asked again."""
        for pause in _pauses(method):
            try:
                return self._once(method, path, body)
            except PortalRefused:
                raise
            except (PortalFailed, _Lost) as error:
                if pause is None:
                    if isinstance(error, _Lost):
                        raise PortalError(error.message, hint=error.hint) from None
                    raise
                time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _once(self, method: str, path: str, body: Any) -> Any:
        left = self._until - time.monotonic()
        if left <= 0:
            raise PortalError(
                f"the portal at {self.url} took more time than a sync may have",
                hint="what was done stays; the next sync goes on from there",
            )
        timeout = httpx2.Timeout(min(_ANSWER, left), connect=min(_CONNECT, left))
        try:
            with self._http.stream(method, path, json=body, timeout=timeout) as response:
                content = self._content(response)
        except httpx2.TimeoutException:
            raise _Lost(
                f"the portal at {self.url} did not answer {method} {path} in time"
            ) from None
        except (httpx2.RequestError, httpx2.InvalidURL, OSError) as error:
            reason = self._clean(str(error)) or type(error).__name__
            raise _Lost(
                f"the portal at {self.url} cannot be reached: {reason}",
                hint="is it running, and is portal_url right?",
            ) from None
        return self._judged(f"{method} {path}", response, content)

    def _content(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise PortalError(f"the portal answered with more than {_MOST_BYTES} bytes")
            if time.monotonic() > self._until:
                raise _Lost(f"the portal at {self.url} did not come to an end")
        return bytes(content)

    def _judged(self, what: str, response: httpx2.Response, content: bytes) -> Any:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        status = response.status_code
        if status == 200 and answer is not None:
            return answer
        said = answer.get("error") if isinstance(answer, dict) else None
        told = f"{what}: HTTP {status}" + (f", {self._clean(str(said))}" if said else "")
        if status == 401:
            raise PortalError(
                f"the portal does not take our token ({told})",
                hint="are portal_user and portal_token right? A login's token ends with its session",
            )
        if status >= 500:
            raise PortalFailed(f"the portal failed ({told})")
        if status in (404, 405) and not what.startswith("GET"):
            raise PortalRefused(
                f"the portal's API is too old to do that bit by bit ({told})",
                hint="bring its `api` module up to date",
            )
        if said and status >= 400:
            raise PortalRefused(f"the portal refused it ({told})")
        raise PortalError(
            f"{self.url} is no falcon-plus API ({told})",
            hint="portal_url is the address of its `api` module, e.g. http://falcon:8080",
        )

    def _clean(self, text: str) -> str:
        """What the portal says, fit for a report: one short line, without our token."""
        if self._token:
            text = text.replace(self._token, "***")
        line = "".join(char if char.isprintable() else " " for char in text).strip()
        return line if len(line) <= _TOLD else line[: _TOLD - 1] + "…"


class _Lost(PortalError):
    """No answer came."""


def _pauses(method: str) -> Iterator[float | None]:
    if method == "GET":
        yield from _PAUSES
    yield None


def _list(value: Any) -> list[Any]:
    # Go writes an empty list that was never made as null.
    return _expected(list, [] if value is None else value)


def _number(row: Any, key: str) -> int:
    return _expected(int, row.get(key) if isinstance(row, dict) else None)


def _text(row: Any, key: str) -> str:
    text = _expected(str, row.get(key) if isinstance(row, dict) else None)
    # NUL and half of a Unicode pair can be in JSON, and in no database or answer of ours.
    return _UNSTORABLE.sub(UNREADABLE, text)


def _expected(kind: type[_T], value: Any) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PortalError(
            "the portal answered something that a falcon-plus API does not",
            hint="portal_url is the address of its `api` module, e.g. http://falcon:8080",
        )
    return value
