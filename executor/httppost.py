"""One HTTP POST of a JSON body, without blocking and without `http.client` (3 MB with what it
imports).
"""

from __future__ import annotations

from executor.net import CALL_TIMEOUT, MAX_ANSWER, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from executor.loop import Loop


class HttpPost:
    """One POST of a JSON body. `done(status, body, error)` comes once; status 0 means that no
    answer came. `headers`: more of them, each with its line end. `tls` wraps the socket.
    """

    __slots__ = ("_connection", "_done", "_input", "_timer")

    def __init__(
        self,
        loop: Loop,
        target: tuple[str, int, str],
        body: bytes,
        dial_timeout: float,
        done: Callable[[int, bytes, str], None],
        headers: str = "",
        tls: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        host, port, path = target
        self._done: Callable[[int, bytes, str], None] | None = done
        self._input = b""
        self._timer = loop.call_later(
            CALL_TIMEOUT, self._ended, f"{host}:{port}: no answer within 10 s"
        )
        self._connection = Connection(
            loop, (host, port), dial_timeout, self._received, self._ended, tls
        )
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._connection.send(head.encode("utf-8") + body)

    def cancel(self) -> None:
        self._done = None
        self._timer.cancel()
        self._connection.close()

    def _received(self, data: bytes) -> None:
        self._input += data
        head, end, body = self._input.partition(b"\r\n\r\n")
        if len(self._input) > MAX_ANSWER:
            self._finish(0, b"", "the answer is larger than 4 MiB")
        elif end:
            length = _content_length(head)
            if length is not None and len(body) >= length:
                self._answer(head, body[:length])

    def _ended(self, reason: str) -> None:
        head, end, body = self._input.partition(b"\r\n\r\n")
        if end and _content_length(head) is None:
            self._answer(head, body)
        else:
            self._finish(0, b"", reason)

    def _answer(self, head: bytes, body: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            self._finish(0, b"", "the answer is not HTTP")
        else:
            self._finish(int(words[1]), body, "")

    def _finish(self, status: int, body: bytes, error: str) -> None:
        done = self._done
        self.cancel()
        if done is not None:
            done(status, body, error)


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None
