"""An agent's side of the heartbeat protocol, as strict as Go's net/rpc/jsonrpc client."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any


class RpcError(Exception):
    """The server answered a call with an error."""


class Closed(Exception):
    """The server closed the connection."""


class GoClient:
    """One persistent connection with sequential ids; checks the shape of each answer strictly.

    Args:
        source: the address that it comes from.
    """

    def __init__(
        self, port: int, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self._file = self.socket.makefile("rb")
        self._next = 0

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> GoClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, method: str, *params: Any) -> int:
        """Send a request; returns its id."""
        number, self._next = self._next, self._next + 1
        line = {"method": method, "params": list(params), "id": number}
        self.socket.sendall(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        return number

    def line(self) -> bytes:
        """The next line of the server.

        Raises:
            Closed: there is none.
        """
        try:
            line = self._file.readline()
        except ConnectionError:
            line = b""
        if not line:
            raise Closed
        assert line.endswith(b"\n")
        return line

    def answer(self, number: int) -> Any:
        """The result of the call of that id, which must be answered next.

        Raises:
            RpcError: what the server said.
        """
        found = json.loads(self.line())
        assert list(found) == ["id", "result", "error"], found
        assert found["id"] == number
        assert found["result"] is None or found["error"] is None
        if found["error"] is not None:
            assert isinstance(found["error"], str) and found["error"]
            raise RpcError(found["error"])
        return found["result"]

    def call(self, method: str, *params: Any) -> Any:
        """The result of a call.

        Raises:
            RpcError: what the server said.
        """
        return self.answer(self.send(method, *params))

    def report(self, name: str, head: str = "plugin not enabled", version: str = "0.3.x") -> Any:
        """`ReportStatus`, as an agent sends it."""
        return self.call(
            "Agent.ReportStatus",
            {
                "Hostname": name,
                "IP": "10.0.0.1",
                "AgentVersion": version,
                "PluginVersion": head,
            },
        )

    def plugins(self, name: str) -> tuple[list[str], int]:
        """`MinePlugins`: the list, and its Timestamp."""
        found = self.call("Agent.MinePlugins", {"Hostname": name, "Checksum": ""})
        assert list(found) == ["Plugins", "Timestamp"]
        return found["Plugins"], found["Timestamp"]
