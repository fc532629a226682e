"""The upstream hbs: calls that are not ours are passed on to it over one connection, and what it says
is passed back as it is. While it is down or slow, such calls are refused at once, so that an agent,
which waits for one answer before it asks the next, gets ours in time.

Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

import structlog

from controller.agents.connection import Connection
from controller.agents.wire import Call, Garbage, Refused, encode, refusal
from controller.operations.metrics import AGENT_UPSTREAM_UP

log = structlog.get_logger(__name__)

DIAL = 3.0
"""Seconds until it must have taken a connection."""
ANSWER = 3.0
"""Seconds until it must have answered; an agent itself waits 10 s (agent/g/rpc.go)."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_MOST_WAITING = 5_000
_MOST_OF_ONE = 16
_LONGEST_ANSWER = 64 << 20  # bytes; an answer may hold the strategies of all hosts
_MOST_UNSENT = 8 << 20  # bytes
_ID_FIRST = re.compile(rb'\{"id":(\d+),')


class Upstream:
    """The way to an hbs, from `start` to `stop`."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, tuple[Connection, bytes, float]] = {}
        self._next = 0
        self._heard = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Close the connection, for good."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def forward(self, connection: Connection, call: Call) -> None:
        """Pass a call on; without an id nobody waits for its answer.

        Raises:
            Refused: it cannot be passed on now.
        """
        writer = self._writer
        if writer is None or writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            if not call.id:
                return
            raise Refused("plugfleet: the upstream hbs does not answer")
        request = {"method": call.method, "params": call.params, "id": self._next + 1}
        try:
            line = encode(request)
        except (ValueError, RecursionError):
            # What it cannot read would make it close the connection, for everybody.
            if not call.id:
                return
            raise Refused("plugfleet: these params cannot be passed on") from None
        if call.id:
            if connection.forwarded >= _MOST_OF_ONE or len(self._waiting) >= _MOST_WAITING:
                raise Refused("plugfleet: too many calls wait for the upstream hbs")
            connection.forwarded += 1
            until = asyncio.get_running_loop().time() + ANSWER
            self._waiting[self._next + 1] = (connection, call.id, until)
        self._next += 1
        writer.write(line + b"\n")

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._connected()
                pause = _FIRST_PAUSE
            except asyncio.CancelledError:
                self._lose()
                raise
            except _Broken as broken:
                if broken.worked:
                    pause = _FIRST_PAUSE
                log.warning("the upstream hbs is away", reason=str(broken), again_in=pause)
            self._lose()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connected(self) -> None:
        """Be connected until that ends.

        Raises:
            _Broken: always; says why.
        """
        where = f"{self._host}:{self._port}"
        worked = False
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(self._host, self._port, limit=_LONGEST_ANSWER), DIAL
            )
        except (OSError, TimeoutError) as error:
            raise _Broken(f"{where}: {error or 'no answer'}", worked) from None
        self._writer = writer
        self._heard = asyncio.get_running_loop().time()
        AGENT_UPSTREAM_UP.set(1)
        try:
            while True:
                line = await self._line(reader)
                self._heard = asyncio.get_running_loop().time()
                self._pass_back(line)
                self._give_up_overdue()
                worked = True
        except (OSError, ValueError, Garbage) as error:
            raise _Broken(f"{where}: {error or 'no answer to our call'}", worked) from None
        finally:
            self._writer = None
            writer.transport.abort()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        """The next answer.

        Raises:
            OSError: it said nothing in time, though a call waits; or the connection ended.
        """
        while True:
            reading = asyncio.ensure_future(reader.readline())
            try:
                while not reading.done():
                    await asyncio.wait([reading], timeout=ANSWER / 4)
                    if not reading.done():
                        self._give_up_overdue()
            finally:
                if not reading.done():
                    reading.cancel()
            line = reading.result()
            if not line.endswith(b"\n"):
                # What it said of an answer before that is no line, and would spoil the agent's next one.
                raise OSError("it closed the connection")
            if not line.isspace():
                return line

    def _give_up_overdue(self) -> None:
        """Refuse calls that have waited for too long.

        Raises:
            OSError: nothing at all was heard meanwhile, so the upstream itself hangs.
        """
        moment = asyncio.get_running_loop().time()
        while (number := next(iter(self._waiting), None)) is not None:
            if self._waiting[number][2] >= moment:
                return
            if moment - self._heard > ANSWER:
                raise OSError("no answer in time")
            self._refuse(*self._waiting.pop(number)[:2])

    def _pass_back(self, line: bytes) -> None:
        """Hand an answer to whoever waits for it, with the id that he gave."""
        found = _ID_FIRST.match(line)
        if found is not None:
            number, rest = int(found[1]), line[found.end() :]
        else:
            number, rest = _taken_apart(line)
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        connection, given, _ = waiting
        connection.forwarded -= 1
        connection.reply(b'{"id":%b,%b' % (given, rest))

    def _lose(self) -> None:
        """Refuse all that wait."""
        AGENT_UPSTREAM_UP.set(0)
        waiting, self._waiting = self._waiting, {}
        for connection, given, _ in waiting.values():
            self._refuse(connection, given)

    def _refuse(self, connection: Connection, given: bytes) -> None:
        connection.forwarded -= 1
        connection.reply(refusal(given, "plugfleet: the upstream hbs does not answer"))


def _taken_apart(line: bytes) -> tuple[int, bytes]:
    """The id of an answer and all that follows it, from one that Go's encoder did not write.

    Raises:
        Garbage: it is none.
    """
    try:
        message = json.loads(line)
        number = message["id"]
        rest = encode({"result": message["result"], "error": message["error"]})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Garbage("no JSON-RPC") from None
    if type(number) is not int:
        raise Garbage("an answer to no call")
    return number, rest[1:] + b"\n"


class _Broken(Exception):
    """The connection could not be opened, or ended; `worked`: it had answered before."""

    def __init__(self, reason: str, worked: bool) -> None:
        super().__init__(reason)
        self.worked = worked
