"""Thousands of Falcon agents in one process: connections that ask as an agent does, and count what they meet.

They come from several loopback addresses: one address has too few ports.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

ADDRESSES = 20
HEAD = "0123456789abcdef0123456789abcdef01234567"


class Agent(asyncio.Protocol):
    """One agent: calls one after the other over a connection that stays open."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.name = f"host{number:05}.example.com"
        self.source = f"127.0.0.{number % ADDRESSES + 1}"
        self.transport: Any = None
        self.begun = 0.0
        self.id = 0
        self.rest = b""
        self.asks: list[str] = []
        self.answered_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.id = 0
        self.rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.asks:
            self.crowd.lost += 1
            self.asks = []

    def data_received(self, data: bytes) -> None:
        self.rest += data
        if not self.rest.endswith(b"\n"):
            return
        line, self.rest = self.rest, b""
        asked = self.asks.pop(0)
        self.answered_at = time.perf_counter()
        taken = (self.answered_at - self.begun) * 1000
        if not line.startswith(b'{"id":%d,' % (self.id - 1)) or not line.endswith(
            b'"error":null}\n'
        ):
            self.crowd.refused += 1
        elif asked == "Agent.MinePlugins":
            self.crowd.took.append(taken)
            if b'"Plugins":[]' in line:
                self.crowd.refused += 1
        self.crowd.calls += 1
        self.ask()

    def beat(self) -> None:
        """Send a heartbeat and the question that follows it."""
        if self.transport is None or self.asks:
            self.crowd.late += 1
            return
        self.asks = ["Agent.ReportStatus", "Agent.MinePlugins"]
        self.ask()

    def ask(self) -> None:
        """Send the next call, if there is one."""
        if not self.asks:
            return
        param = {"Hostname": self.name, "Checksum": ""}
        if self.asks[0] == "Agent.ReportStatus":
            param = {
                "Hostname": self.name,
                "IP": self.source,
                "AgentVersion": "0.3.x@9349180",
                "PluginVersion": HEAD,
            }
        line = {"method": self.asks[0], "params": [param], "id": self.id}
        self.id += 1
        self.begun = time.perf_counter()
        self.transport.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


class Crowd:
    """All agents, and what they met."""

    def __init__(self, count: int, port: int) -> None:
        self.port = port
        self.agents = [Agent(self, number) for number in range(count)]
        self.took: list[float] = []
        self.calls = self.refused = self.lost = self.late = 0

    async def connect(self) -> None:
        """Connect all that are not, a hundred at a time; goes on until each has."""
        gate = asyncio.Semaphore(100)

        async def one(agent: Agent) -> None:
            async with gate:
                while agent.transport is None:
                    try:
                        await asyncio.get_running_loop().create_connection(
                            lambda: agent, "127.0.0.1", self.port, local_addr=(agent.source, 0)
                        )
                    except OSError:
                        await asyncio.sleep(0.5)

        await asyncio.gather(*(one(agent) for agent in self.agents if agent.transport is None))

    async def beat_for(self, seconds: float, every: float) -> None:
        """Let each agent beat once in `every` seconds, spread evenly."""
        count = len(self.agents)
        began, sent = time.perf_counter(), 0
        passed = 0.0
        while passed < seconds:
            await asyncio.sleep(0.005)
            passed = min(seconds, time.perf_counter() - began)
            due = int(passed / every * count)
            for number in range(sent, due):
                self.agents[number % count].beat()
            sent = due
        await asyncio.sleep(2)

    def take(self) -> dict[str, Any]:
        """What was met since the last time."""
        self.took.sort()
        told = {
            "p50": self.took[len(self.took) // 2] if self.took else 0.0,
            "p99": self.took[int(len(self.took) * 0.99)] if self.took else 0.0,
            "worst": self.took[-1] if self.took else 0.0,
            "calls": self.calls,
            "bad": self.refused + self.lost,
            "late": self.late,
        }
        self.took = []
        self.calls = self.refused = self.lost = self.late = 0
        return told


def play(count: int, port: int, pipe: Any) -> None:
    """The agents' process: carries out what it is told, and reports."""
    asyncio.run(_play(Crowd(count, port), pipe))


async def _play(crowd: Crowd, pipe: Any) -> None:
    loop = asyncio.get_running_loop()
    while True:
        told, *arguments = await loop.run_in_executor(None, pipe.recv)
        if told == "connect":
            await crowd.connect()
        elif told == "beat":
            await crowd.beat_for(*arguments)
        elif told == "return":
            # Each connects again when it notices, and then has its turn within the interval.
            await crowd.connect()
            marks = time.perf_counter()
            for agent in crowd.agents:
                agent.beat()
            while any(agent.answered_at < marks or agent.asks for agent in crowd.agents):
                await asyncio.sleep(0.05)
        elif told == "end":
            return
        pipe.send(crowd.take())
