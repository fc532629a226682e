"""One agent's connection: requests in, answers out, and every way in which a client could make it
costly to others kept within bounds.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, Protocol

from controller.agents.wire import LONGEST_LINE, Call, Garbage, read_calls

# Requests that one connection is served before others get their turn.
_AT_A_TURN = 32
# How often a line that nobody ended is tried whether it is whole; Go's decoder needs no line break.
_TRIES = 8
OWED = 30.0
"""Seconds after which a client that connected must have asked something, and a line have an end."""
HANDSHAKE = 10.0
"""Seconds until TLS must be agreed upon."""
UNREAD = 30.0
"""Seconds after which a client must have begun to read what it was answered."""
_BLANK = re.compile(rb"\s+")


class Handler(Protocol):
    """What serves connections."""

    def opened(self, connection: Connection) -> bool:
        """Whether a new connection may stay."""

    def closed(self, connection: Connection) -> None:
        """A connection that may have stayed is gone."""

    def answer(self, connection: Connection, call: Call) -> bytes | None:
        """The line that answers a call, or None where it comes later by `reply`."""

    def rubbish(self, connection: Connection) -> None:
        """A connection was closed because it sent no requests."""


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        tls: agreed upon with a client that may stay, and with no other: it is what costs most.

    Attributes:
        peer: the client's address.
        names: host names of the client's certificate, or None without TLS.
        active: moment of its last request, on the monotonic clock.
        forwarded: calls that wait for the upstream hbs.
    """

    __slots__ = (
        "_agreeing",
        "_blocked",
        "_ended",
        "_handler",
        "_owed",
        "_rest",
        "_stays",
        "_tls",
        "_transport",
        "_tries",
        "_turn",
        "active",
        "forwarded",
        "names",
        "peer",
    )

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._transport: Any = None
        self._rest = b""
        # Moments: since when a request is waited for, and since when answers are not read; 0 is not.
        self._owed = time.monotonic()
        self._blocked = 0.0
        self._tries = 0
        # What will go on with requests that are here: the next turn, or TLS once it is agreed upon.
        self._turn: asyncio.Handle | None = None
        self._agreeing: asyncio.Task[None] | None = None
        self._ended = False
        self._stays = False
        self.active = self._owed
        self.forwarded = 0
        self.peer = ""
        self.names: frozenset[str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]).removeprefix("::ffff:") if address else ""
        self._stays = self._handler.opened(self)
        if not self._stays:
            self._transport.abort()
        elif self._tls is not None:
            self._transport.pause_reading()
            self._agreeing = asyncio.get_running_loop().create_task(self._agree(self._tls))

    async def _agree(self, tls: ssl.SSLContext) -> None:
        """Go on with TLS; the client's names are those of its certificate."""
        agreed = None
        try:
            agreed = await asyncio.get_running_loop().start_tls(
                self._transport, self, tls, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except OSError:  # ssl.SSLError is one
            pass
        finally:
            if agreed is None:
                self._transport.abort()
                self.connection_lost(None)
        if agreed is None:
            return
        self._transport, self._agreeing = agreed, None
        self.names = _names(agreed.get_extra_info("peercert"))
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio's protocol."""
        self._rest = b""
        if self._stays:
            self._stays = False
            self._handler.closed(self)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol."""
        self._rest = self._rest + data if self._rest else data
        if not self._is_busy():
            self._work()

    def eof_received(self) -> bool:
        """Part of asyncio's protocol: what was asked before is still answered."""
        self._ended = self._tls is None and (self._is_busy() or self.forwarded > 0)
        return self._ended

    def pause_writing(self) -> None:
        """Part of asyncio's protocol: the client does not read; so nothing of it is read either."""
        self._blocked = time.monotonic()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Part of asyncio's protocol."""
        self._blocked = 0.0
        self._take_turn()

    def reply(self, line: bytes) -> None:
        """Send an answer that had to wait; nothing happens on a connection that is gone."""
        if self._stays and not self._transport.is_closing():
            self._transport.write(line)
            self._end_if_done()

    def late(self, moment: float, idle: float) -> bool:
        """Whether it has used up its time: silent, a request never ended, answers never read.

        Args:
            moment: now, on the monotonic clock.
            idle: seconds that it may be silent.
        """
        return (
            moment - self.active > idle
            or (self._owed > 0 and moment - self._owed > OWED)
            or (self._blocked > 0 and moment - self._blocked > UNREAD)
        )

    def abort(self) -> None:
        """Close it at once."""
        if self._agreeing is not None:
            self._agreeing.cancel()
        self._transport.abort()

    def _work(self) -> None:
        """Serve the requests that are here, a turn's worth of them."""
        answers: list[bytes] = []
        try:
            more = self._serve(answers)
        except Garbage:
            self._send(answers)
            self._handler.rubbish(self)
            self._rest = b""
            self._transport.close()
            return
        self._send(answers)
        if more and not self._transport.is_closing():
            self._transport.pause_reading()
            self._take_turn()
            return
        self._end_if_done()

    def _is_busy(self) -> bool:
        """Whether what comes now has to wait."""
        return self._turn is not None or self._blocked > 0 or self._agreeing is not None

    def _end_if_done(self) -> None:
        if self._ended and not self._is_busy() and not self.forwarded:
            self._transport.close()

    def _serve(self, answers: list[bytes]) -> bool:
        """Serve whole lines; says whether some are left for the next turn."""
        rest, start, served = self._rest, 0, 0
        while (end := rest.find(b"\n", start)) >= 0:
            if rest[start] <= 32 and (blank := _BLANK.match(rest, start)):
                start = blank.end()  # many blank lines cost no more than one
                continue
            if served >= _AT_A_TURN:
                self._rest = rest[start:]
                return True
            self._line(rest[start:end], answers)
            start, served = end + 1, served + 1
        tail = rest[start:] if start else rest
        if served:
            self._asked()
        if tail:
            tail = self._tail(tail, answers)
        self._rest = tail
        return False

    def _tail(self, tail: bytes, answers: list[bytes]) -> bytes:
        """What is left of a line that has no end yet; b"" where it was a whole request all the same."""
        if len(tail) > LONGEST_LINE:
            raise Garbage
        if tail.endswith(b"}") and self._tries < _TRIES:
            self._tries += 1
            try:
                calls = list(read_calls(tail))
            except Garbage:
                calls = []
            if calls:
                self._answer(iter(calls), answers)
                self._asked()
                return b""
        if not tail.strip():
            return b""
        if tail.lstrip()[:1] != b"{":
            raise Garbage
        if not self._owed:
            self._owed = time.monotonic()
        return tail

    def _asked(self) -> None:
        """It has sent whole requests."""
        self._owed, self._tries = 0.0, 0
        self.active = time.monotonic()

    def _line(self, line: bytes, answers: list[bytes]) -> None:
        if len(line) > LONGEST_LINE:
            raise Garbage
        self._answer(read_calls(line), answers)

    def _answer(self, calls: Iterator[Call], answers: list[bytes]) -> None:
        for call in calls:
            line = self._handler.answer(self, call)
            if line is not None:
                answers.append(line)

    def _send(self, answers: list[bytes]) -> None:
        if answers and not self._transport.is_closing():
            self._transport.write(b"".join(answers) if len(answers) > 1 else answers[0])

    def _take_turn(self) -> None:
        """Go on when others had their turn."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._turn = None
        # Who does not read is not served on: `resume_writing` comes back here.
        if self._transport.is_closing() or self._blocked:
            return
        self._work()
        if not self._is_busy() and not self._transport.is_closing():
            self._transport.resume_reading()


def _names(certificate: dict[str, Any]) -> frozenset[str]:
    """The host names of a certificate: its alternative names, or its common name where it has none."""
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    if not names:
        names = {
            value
            for part in certificate.get("subject", ())
            for key, value in part
            if key == "commonName"
        }
    return frozenset(names)
