"""Speaks REST to the controller, and turns each of its problems into one sentence and an exit code.

Nothing is sent twice: what a lost answer may have started is not known. So that a person can repeat
such a command safely, POSTs that start something carry an Idempotency-Key.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from controller.cli.connection import Connection
from controller.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    import httpx2

_API = "/api/v1/"
_PAGE = 500
_NOT_ALLOWED = (401, 403)


def _authorities(connection: Connection) -> ssl.SSLContext | bool:
    """Whom to believe that it is the controller; True is the machine's authorities.

    Raises:
        OSError: ca_file cannot be read.
    """
    if connection.ca_file:
        return ssl.create_default_context(cafile=connection.ca_file)
    if connection.url.startswith("http:"):
        # Nobody, and nobody is asked: reading all authorities takes longer than most commands.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True


class ControllerError(CommandError):
    """The controller answered with a problem.

    Attributes:
        status: of HTTP.
        fields: `{"field", "message"}` of what it refused.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.fields: list[dict[str, str]] = list(problem.get("fields") or [])
        detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        details = [
            f"{field['field']}: {field['message']}"
            for field in self.fields
            if field["message"] not in detail
        ]
        hint = str(problem.get("hint") or "")
        if status == 401 and "PLUGFLEET_TOKEN" not in hint:
            hint = "set PLUGFLEET_TOKEN, or token in ~/.config/plugfleet/cli.toml"
        if status >= 500 and problem.get("request_id"):
            details.append(f"request {problem['request_id']} in the controller's log")
        super().__init__(detail, hint=hint, details=details, exit_code=_exit_code(status))


class Client:
    """One controller; a context manager that closes its connections.

    Args:
        timeout: seconds that it may take to answer.
    """

    def __init__(self, connection: Connection, *, timeout: float = 60) -> None:
        import httpx2

        self.url = connection.url
        headers = {"User-Agent": "plugfleet", "Accept": "application/json"}
        if connection.token:
            headers["Authorization"] = f"Bearer {connection.token}"
        try:
            self._http = httpx2.Client(
                base_url=connection.url + _API,
                headers=headers,
                timeout=httpx2.Timeout(timeout, connect=min(timeout, 10)),
                verify=_authorities(connection),
            )
        except OSError as error:
            raise CommandError(f"cannot read ca_file {connection.ca_file}: {error}") from None
        except httpx2.InvalidURL as error:
            raise CommandError(
                f"the controller's URL {connection.url!r} is not one: {error}"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, /, **query: Any) -> Any:
        """The JSON of a GET.

        Args:
            query: parameters; None and empty text are left out.

        Raises:
            CommandError: as `send`.
        """
        return self.send("GET", path, query=query)

    def get_with_etag(self, path: str, /, **query: Any) -> tuple[Any, str]:
        """The JSON of a GET, and its ETag; empty where it has none."""
        response = self._request("GET", path, query)
        return _body(response), response.headers.get("ETag", "")

    def post_with_etag(self, path: str, body: Any, **query: Any) -> tuple[Any, str]:
        """The JSON of a POST, and its ETag."""
        response = self._request("POST", path, query, json=body)
        return _body(response), response.headers.get("ETag", "*")

    def items(self, path: str, /, *, limit: int | None = None, **query: Any) -> Iterator[Any]:
        """Everything in a list, page by page.

        Args:
            limit: most entries; None is all.
        """
        cursor = ""
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            page = self.get(path, limit=size, cursor=cursor, **query)
            yield from page["items"]
            if left is not None:
                left -= len(page["items"])
            cursor = page["next"]
            if not cursor:
                return

    def start(
        self,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        media_type: str = "application/json",
        **query: Any,
    ) -> Any:
        """The JSON of a POST that starts something, which is carried out once.

        Args:
            content: sent as it is, as `media_type`, in place of `body`.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if content is not None:
            headers["Content-Type"] = media_type
        return self.send("POST", path, body=body, content=content, query=query, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The JSON of a request, None where the answer has none.

        Args:
            body: sent as JSON.
            content: sent as it is, in place of `body`.

        Raises:
            ControllerError: it answered with a problem.
            CommandError: it does not answer, or is no controller.
        """
        sent = {"json": body} if content is None else {"content": content}
        patience = {} if timeout is None else {"timeout": timeout}
        return _body(self._request(method, path, query, headers=headers, **sent, **patience))

    def _request(
        self, method: str, path: str, query: Mapping[str, Any] | None, **options: Any
    ) -> httpx2.Response:
        """What it answers, which is no problem; `options` are those of httpx2."""
        with self._told():
            response = self._http.request(method, path, params=_parameters(query or {}), **options)
        _check(response)
        return response

    @contextmanager
    def events(self, path: str, last_id: str) -> Iterator[Iterator[tuple[str, str, str]]]:
        """The events of a stream, each as (id, kind, data); ends with the connection.

        Args:
            last_id: the event to go on after, or empty.

        Raises:
            ControllerError: it answered with a problem.
            CommandError: the connection could not be made, or broke.
        """
        import httpx2

        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        # The controller sends a comment every 15 s, so silence for longer is a dead connection.
        patience = httpx2.Timeout(45, connect=10)
        with (
            self._told(),
            self._http.stream("GET", path, headers=headers, timeout=patience) as response,
        ):
            if not response.is_success:
                response.read()
            _check(response)
            source = httpx2.EventSource(response)
            yield ((event.id, event.event, event.data) for event in source)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what trouble with the connection means."""
        import httpx2

        try:
            yield
        except httpx2.TimeoutException:
            raise CommandError(
                f"the controller at {self.url} did not answer in time",
                hint="if something was to be started, look with `plugfleet status` whether it was",
                exit_code=Exit.NOT_REACHABLE,
            ) from None
        except (httpx2.RequestError, httpx2.InvalidURL, OSError) as error:
            reason = str(error).strip() or type(error).__name__
            raise CommandError(
                f"the controller at {self.url} cannot be reached: {reason}",
                hint="is it running, and is --url or PLUGFLEET_URL right?",
                exit_code=Exit.NOT_REACHABLE,
            ) from None


def segment(name: str | int) -> str:
    """A name as one part of a path.

    Raises:
        CommandError: it could not be one, so nothing can be called that.
    """
    text = str(name)
    if text in ("", ".", "..") or "/" in text:
        raise CommandError(f"{text!r} is no name", hint="names hold no / and are not empty")
    return quote(text, safe="")


def _parameters(query: Mapping[str, Any]) -> dict[str, Any]:
    shown = {True: "true", False: "false"}
    return {
        key: shown[value] if isinstance(value, bool) else value
        for key, value in query.items()
        if value is not None and value != "" and value != []
    }


def _exit_code(status: int) -> Exit:
    if status in _NOT_ALLOWED:
        return Exit.NOT_ALLOWED
    return Exit.NOT_REACHABLE if status >= 500 else Exit.WRONG_USE


def _check(response: httpx2.Response) -> None:
    if response.is_success:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "detail" in problem:
        raise ControllerError(response.status_code, problem)
    raise _no_controller(response)


def _body(response: httpx2.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise _no_controller(response) from None


def _no_controller(response: httpx2.Response) -> CommandError:
    return CommandError(
        f"{response.url} answered HTTP {response.status_code} and is no plugfleet controller",
        hint="is --url or PLUGFLEET_URL right, and is there a proxy in between?",
        exit_code=Exit.NOT_REACHABLE,
    )
