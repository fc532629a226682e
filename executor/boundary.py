"""The sink for those who still have a Boundary / TrueSight Pulse backend: its batch API, as the
first plugin manager called it (graphdat/relay): a list of calls in one gzipped POST. Plugins' events
and stderr lines go along with the next values.
"""

from __future__ import annotations

import binascii
import collections
import json
import zlib

from executor.config import split_url
from executor.falconsinks import REFUSED_STATUS
from executor.httppost import HttpPost
from executor.sink import Sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from executor.journal import Journal
    from executor.log import Log
    from executor.loop import Loop

_MOST_WAITING = 1000
_MOST_UNKNOWN = 10000
_GZIP = 31
_VALUES = 1  # place of the measurements among the calls
_UNKNOWN_METRICS = b"ERR_UNKNOWN_METRICS"
"""What the API said of metrics that nobody had defined there, with whatever status."""
_SEVERITIES = {"info": "INFO", "warn": "WARN", "error": "ERROR", "critical": "CRITICAL"}


class BoundaryBatch(Sink):
    """POST of `[{method, path, body}, ...]` to `<url>`, usually https://host/v1/batch."""

    name = "boundary"
    __slots__ = (
        "_headers",
        "_host",
        "_left_out",
        "_post",
        "_sent",
        "_suspects",
        "_target",
        "_timeout",
        "_tls",
        "_told",
        "_unknown",
    )

    def __init__(
        self,
        loop: Loop,
        log: Log,
        journal: Journal,
        folder: str,
        url: str,
        email: str,
        token: str,
        host: str,
        timeout: float,
    ) -> None:
        super().__init__(loop, log, journal, folder)
        self._target = split_url(url)
        self._tls = _wrapper(self._target[0]) if url.startswith("https:") else None
        account = binascii.b2a_base64(f"{email}:{token}".encode(), newline=False).decode("ascii")
        self._headers = f"Authorization: Basic {account}\r\nContent-Encoding: gzip\r\n"
        self._host = host
        self._timeout = timeout
        self._post: HttpPost | None = None
        # The oldest goes when there is no room: values matter more.
        self._told: collections.deque[tuple[str, dict[str, Any]]] = collections.deque(
            maxlen=_MOST_WAITING
        )
        self._sent: list[tuple[str, dict[str, Any]]] = []
        # Events and messages that a message was refused with; the values are on their way alone.
        self._suspects: list[tuple[str, dict[str, Any]]] = []
        # Metrics that nobody defined there, such as step scripts'; found once, then left out.
        self._unknown: set[str] = set()
        self._left_out = 0

    def tell(self, kind: str, entry: dict[str, Any]) -> bool:
        self._told.append((kind, entry))
        return True

    def _send(self, lines: list[bytes]) -> None:
        self._sent = list(self._told)
        self._told.clear()
        self._post_all(lines, self._sent)

    def _post_all(self, lines: list[bytes], told: list[tuple[str, dict[str, Any]]]) -> None:
        calls = self._calls(lines, told)
        text = json.dumps(calls, separators=(",", ":")).encode("utf-8", "replace")
        packer = zlib.compressobj(wbits=_GZIP)
        body = packer.compress(text) + packer.flush()
        self._post = HttpPost(
            self._loop, self._target, body, self._timeout, self._answered, self._headers, self._tls
        )

    def _calls(
        self, lines: list[bytes], told: list[tuple[str, dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        relay = {"hostname": self._host}
        metrics = [json.loads(line) for line in lines]
        values = [_measurement(one) for one in metrics if one["metric"] not in self._unknown]
        self._left_out = len(metrics) - len(values)
        calls: list[dict[str, Any]] = [
            {"method": "POST", "path": "/v1/relays/heartbeat", "body": relay},
            {"method": "POST", "path": "/v1/measurements", "body": values},
        ]
        messages = [entry for kind, entry in told if kind == "message"]
        if messages:
            body = [dict(entry, type="error") for entry in messages]
            path = f"/v1/relays/{self._host}/output"
            calls.append({"method": "POST", "path": path, "body": body})
        for kind, entry in told:
            if kind == "event":
                calls.append({"method": "POST", "path": "/v1/events", "body": _event(entry)})
        return calls

    def _answered(self, status: int, body: bytes, error: str) -> None:
        if status in (200, 202):
            status, body = _of_the_values(status, body)
        if status in (200, 202):
            if self._suspects:
                self._log.warning(
                    f"{self.name}: {len(self._suspects)} events and messages were refused for good"
                )
            self._suspects = self._sent = []
            self._taken()
            self.delivered -= self._left_out
            self.refused += self._left_out
            return
        for_good = status in REFUSED_STATUS or _UNKNOWN_METRICS in body
        if for_good and self._sent:
            # One event may have spoilt it: the values are not to be lost for that.
            self._suspects, self._sent = self._sent, []
            self._post_all(self._pending, [])
            return
        if (
            _UNKNOWN_METRICS in body
            and len(self._pending) == 1
            and len(self._unknown) < _MOST_UNKNOWN
        ):
            self._unknown.add(json.loads(self._pending[0])["metric"])
        back = self._sent or self._suspects
        room = _MOST_WAITING - len(self._told)
        self._told.extendleft(reversed(back[-room:] if room else []))
        self._suspects = self._sent = []
        said = body[:200].decode("utf-8", "replace").strip()
        host, port, path = self._target
        reason = error or f"{host}:{port}{path} answered {status}: {said}"
        self._not_taken(reason, for_good)

    def stop(self) -> None:
        super().stop()
        if self._post is not None:
            self._post.cancel()


def _of_the_values(status: int, body: bytes) -> tuple[int, bytes]:
    """Status and text of the call with the measurements: a batch is 200 whatever came of its calls,
    and answers `{"result": [...]}` in their order.
    """
    try:
        answer = json.loads(body.decode("utf-8", "replace"))
        result = answer["result"][_VALUES]
        found = result.get("status", result.get("code", status))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return status, body  # it says nothing of its calls
    text = json.dumps(result).encode("utf-8", "replace")
    if isinstance(found, int) and not isinstance(found, bool):
        return found, text
    return (400, text) if _UNKNOWN_METRICS in text else (status, text)


def _measurement(metric: dict[str, Any]) -> list[Any]:
    """[source, metric, measure, timestamp]: the source tag is what the plugin named, else the host."""
    tags = dict(part.partition("=")[::2] for part in metric["tags"].split(",") if part)
    source = tags.get("source") or metric["endpoint"]
    return [source, metric["metric"], metric["value"], metric["timestamp"]]


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    """The events API's required fields are title, source and fingerprintFields."""
    return {
        "title": entry["title"],
        "message": entry["message"],
        "severity": _SEVERITIES[entry["type"]],
        "source": {"ref": entry["host"], "type": "host"},
        "sender": {"ref": entry["sender"] or entry["plugin"], "type": "plugin"},
        "tags": entry["tags"],
        "createdAt": entry["timestamp"],
        "fingerprintFields": ["@title"],
    }


def _wrapper(host: str) -> Callable[[socket.socket], socket.socket]:
    def wrap(connection: socket.socket) -> socket.socket:
        import ssl  # costs memory that only this sink's users pay

        context = ssl.create_default_context()
        host.encode("idna")  # ssl does the same, and where it fails, leaves its socket open
        return context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)

    return wrap
