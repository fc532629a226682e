"""The heartbeat server: listens for agents, with TLS and without, and lets in what may come in.

What one client does must cost no other anything: connections are bounded in all and by address, a
silent or half-said one ends, and who may connect is a list of networks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from controller.agents.calls import Calls
from controller.agents.connection import Connection
from controller.agents.wire import Call
from controller.errors import PlugfleetError
from controller.operations.metrics import AGENT_CONNECTIONS, AGENT_CONNECTIONS_CLOSED
from controller.settings import Network

log = structlog.get_logger(__name__)

_SWEEP_EVERY = 5.0  # seconds
_BACKLOG = 4096
# Files that the rest of the controller needs: database, git, SSH, HTTP.
_OTHER_FILES = 512
_LOG_EVERY = 10.0  # seconds between log lines about refused connections


class ListenError(PlugfleetError):
    """The heartbeat server cannot listen, or its certificate cannot be used."""

    code, title = "listen", "Cannot listen for agents"


@dataclass(frozen=True)
class Limits:
    """What clients are allowed.

    Attributes:
        networks: that they may come from; none is all.
        connections: in all.
        of_one_address: connections of one address.
        idle: seconds without a request after which a connection is closed.
    """

    networks: tuple[Network, ...]
    connections: int
    of_one_address: int
    idle: float


class Server:
    """Serves connections; see connection.Handler."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits
        self._connections: set[Connection] = set()
        self._of_address: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._most = min(limits.connections, _most_files() - _OTHER_FILES)
        self._may_come = lru_cache(maxsize=65_536)(self._is_allowed)
        self._logged = 0.0

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on an address; returns the port.

        Raises:
            ListenError: it is taken, or not this machine's.
        """
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self, tls), host or None, port, backlog=_BACKLOG
            )
        except OSError as error:
            raise ListenError(
                f"cannot listen for agents on {host} port {port}: {error.strerror or error}",
                hint="is a real hbs, or another controller, running there?",
            ) from None
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()

    def opened(self, connection: Connection) -> bool:
        """Part of connection.Handler."""
        if not self._may_come(connection.peer):
            return self._refuse(connection, "network", "its network is not in agents_networks")
        if len(self._connections) >= self._most:
            return self._refuse(connection, "full", f"{self._most} connections are open")
        if self._of_address[counted_as(connection.peer)] >= self._limits.of_one_address:
            return self._refuse(connection, "address", "it has too many connections")
        self._connections.add(connection)
        self._of_address[counted_as(connection.peer)] += 1
        AGENT_CONNECTIONS.set(len(self._connections))
        return True

    def closed(self, connection: Connection) -> None:
        """Part of connection.Handler."""
        self._connections.discard(connection)
        counted = counted_as(connection.peer)
        self._of_address[counted] -= 1
        if not self._of_address[counted]:
            del self._of_address[counted]
        AGENT_CONNECTIONS.set(len(self._connections))

    def answer(self, connection: Connection, call: Call) -> bytes | None:
        """Part of connection.Handler."""
        return self._calls.answer(connection, call)

    def rubbish(self, connection: Connection) -> None:
        """Part of connection.Handler."""
        self._refuse(connection, "rubbish", "it sent no JSON-RPC")

    def _refuse(self, connection: Connection, reason: str, words: str) -> bool:
        AGENT_CONNECTIONS_CLOSED.labels(reason).inc()
        moment = time.monotonic()
        if moment - self._logged > _LOG_EVERY:
            self._logged = moment
            log.warning("an agent's connection is closed", peer=connection.peer, reason=words)
        return False

    def _is_allowed(self, peer: str) -> bool:
        if not self._limits.networks:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._limits.networks)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            moment = time.monotonic()
            for connection in [c for c in self._connections if c.late(moment, self._limits.idle)]:
                AGENT_CONNECTIONS_CLOSED.labels("late").inc()
                connection.abort()


@lru_cache(maxsize=65_536)
def counted_as(peer: str) -> str:
    """Whose connections those of an address are: of IPv6, one client has 2^64 addresses (RFC 6177)."""
    if ":" not in peer:
        return peer
    return str(ipaddress.IPv6Network((peer.partition("%")[0], 64), strict=False))


def tls_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS in which a client must show a certificate of an authority.

    Raises:
        ListenError: a file cannot be used; names the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise ListenError(f"agents_tls_authority {authority}: {error}") from None
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ListenError(
            f"agents_tls_certificate {certificate} with agents_tls_key {key}: {error}"
        ) from None
    return context


def _most_files() -> int:
    """How many files this process may have open, after asking for as many as it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
