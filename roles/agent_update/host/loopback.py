"""Asking the agent on this host over HTTP: one bounded request, no library, no proxy."""

from __future__ import annotations

import socket
import time

_MOST = 8 << 20


def get(listen: str, path: str, timeout: float = 5) -> str | None:
    """The body of an answer; None where nobody listens or nothing came within `timeout` seconds.

    The agent says its failures in the body, with status 200: the status is not looked at.
    """
    host, _, port = listen.rpartition(":")
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection(
            (host.strip("[]") or "127.0.0.1", int(port)), timeout
        ) as link:
            link.sendall(
                (f"GET {path} HTTP/1.0\r\nHost: {listen}\r\nConnection: close\r\n\r\n").encode()
            )
            answer = b""
            while len(answer) < _MOST:
                left = deadline - time.monotonic()
                # Whoever sends a byte now and then must not hold up a visit either.
                if left <= 0:
                    return None
                link.settimeout(left)
                piece = link.recv(65536)
                if not piece:
                    break
                answer += piece
    except (OSError, ValueError):
        return None
    _head, found, body = answer.partition(b"\r\n\r\n")
    return body.decode("utf-8", "replace") if found else None


def wait(listen: str, seconds: float) -> bool:
    """Wait until the agent answers; False if it does not within `seconds`."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        if get(listen, "/health", 2) is not None:
            return True
        time.sleep(0.1)
    return False
