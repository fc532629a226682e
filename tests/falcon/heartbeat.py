"""What an agent hears from its heartbeat server: by JSON-RPC as Go's net/rpc speaks it, or from files.

The connection is one for all calls, opened when it is first needed and closed by any error; a dial
that fails is tried again after 2, 4 and 8 seconds (g/rpc.go).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

_CALL_SECONDS = 10


class HbsError(Exception):
    """A call came to nothing: the list stays as it was."""


class Hbs:
    """A heartbeat server at an address, which is the one of the agent's start.

    Args:
        address: host:port.
        timeout: seconds for a dial.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._file: Any = None
        self._next = 0

    def report(self, status: dict[str, str]) -> None:
        """`Agent.ReportStatus`."""
        self._call("Agent.ReportStatus", status)

    def plugins(self, endpoint: str) -> tuple[list[str], int]:
        """`Agent.MinePlugins`: what is bound, and the time by which an agent tells old from new."""
        found = self._call("Agent.MinePlugins", {"Hostname": endpoint, "Checksum": ""})
        return found.get("Plugins") or [], int(found.get("Timestamp", 0))

    def trusted(self) -> list[str]:
        """`Agent.TrustableIps`."""
        return str(self._call("Agent.TrustableIps", {})).split(",")

    def builtin_metrics(self, endpoint: str) -> None:
        """`Agent.BuiltinMetrics`, of which nothing is made here."""
        self._call("Agent.BuiltinMetrics", {"Hostname": endpoint, "Checksum": "nil"})

    def _call(self, method: str, params: Any) -> Any:
        with self._lock:
            try:
                if self._link is None:
                    self._dial()
                assert self._link is not None
                number, self._next = self._next, self._next + 1
                call = {"method": method, "params": [params], "id": number}
                self._link.sendall(json.dumps(call, separators=(",", ":")).encode() + b"\n")
                answer = json.loads(self._file.readline())
                if answer["id"] != number or answer["error"] is not None:
                    raise HbsError(answer["error"])
                return answer["result"]
            except (OSError, ValueError, KeyError, TypeError, HbsError) as error:
                self._close()
                raise HbsError(f"call {method} fail: {error}") from error

    def _dial(self) -> None:
        host, _, port = self._address.rpartition(":")
        for pause in (2, 4, 8, 0):
            try:
                self._link = socket.create_connection((host, int(port)), self._timeout)
                break
            except OSError:
                if not pause:
                    raise
                time.sleep(pause)
        assert self._link is not None
        self._link.settimeout(_CALL_SECONDS)
        self._file, self._next = self._link.makefile("rb"), 0

    def _close(self) -> None:
        if self._link is not None:
            self._file.close()
            self._link.close()
        self._link = None


class HbsFolder(Hbs):
    """A folder in a server's place: `plugins` has a binding a line; where it is missing, hbs is down."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def report(self, status: dict[str, str]) -> None:
        partial = os.path.join(self._folder, "agent.json.tmp")
        with open(partial, "w") as file:
            json.dump(status, file)
        os.replace(partial, partial[:-4])

    def plugins(self, endpoint: str) -> tuple[list[str], int]:
        try:
            with open(os.path.join(self._folder, "plugins")) as file:
                lines = file.read().split("\n")
        except OSError as error:
            raise HbsError(str(error)) from error
        return [line for line in lines if line], time.time_ns()

    def trusted(self) -> list[str]:
        return []

    def builtin_metrics(self, endpoint: str) -> None:
        """A folder has none."""
