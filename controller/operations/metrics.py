"""What Prometheus reads of this process; gauges of the fleet are counted when it asks (fleetmetrics)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()

# CPU seconds, resident memory, open files and start time of this process.
ProcessCollector(registry=REGISTRY)

REQUEST_SECONDS = Histogram(
    "plugfleet_http_request_seconds",
    "Time to answer a request.",
    ("method", "route", "status"),
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

RUN_SECONDS = Histogram(
    "plugfleet_run_seconds",
    "Time that a wave's run took on this controller.",
    registry=REGISTRY,
    buckets=(1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)

SCHEDULE_TURNS = Counter(
    "plugfleet_schedule_turns",
    "Turns of schedules that this controller took, by what came of them.",
    ("outcome",),
    registry=REGISTRY,
)

AGENT_CALLS = Counter(
    "plugfleet_agent_calls",
    "Calls of agents; `forwarded` are those that the upstream hbs answers.",
    ("method", "result"),
    registry=REGISTRY,
)

AGENT_CONNECTIONS = Gauge(
    "plugfleet_agent_connections", "Agents' connections that are open.", registry=REGISTRY
)

AGENT_CONNECTIONS_CLOSED = Counter(
    "plugfleet_agent_connections_closed",
    "Agents' connections that this controller refused or closed, and why.",
    ("reason",),
    registry=REGISTRY,
)

AGENT_UNWRITTEN_SECONDS = Gauge(
    "plugfleet_agent_unwritten_seconds",
    "How long heartbeats have been waiting to be written to the database; 0 while it keeps up.",
    registry=REGISTRY,
)

AGENT_UPSTREAM_UP = Gauge(
    "plugfleet_agent_upstream_up",
    "Whether the upstream hbs answers; 0 also where there is none.",
    registry=REGISTRY,
)
