"""Waits until TCP servers answer; also a program, to wait inside a namespace."""

from __future__ import annotations

import contextlib
import socket
import sys
import time

SSH = "SSH-"


def answers(address: str, port: int, greeting: str) -> bool:
    """Whether a server at `address`:`port` takes a connection and begins with `greeting`."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5) as peer:
        return not greeting or peer.recv(len(greeting)) == greeting.encode()
    return False


def wait(
    servers: list[tuple[str, int]], timeout: float, greeting: str = SSH
) -> list[tuple[str, int]]:
    """Asks until all `servers` answer or `timeout` seconds are over; returns who never did."""
    end = time.monotonic() + timeout
    left = servers
    while left:
        left = [server for server in left if not answers(*server, greeting)]
        if time.monotonic() > end:
            break
        time.sleep(0.02 if left else 0)
    return left


if __name__ == "__main__":
    pairs = [word.rsplit(":", 1) for word in sys.argv[3:]]
    missing = wait([(host, int(port)) for host, port in pairs], float(sys.argv[1]), sys.argv[2])
    print(*(f"{address}:{port}" for address, port in missing))
    sys.exit(1 if missing else 0)
