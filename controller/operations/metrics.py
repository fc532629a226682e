"""What Prometheus reads of this process; gauges of the fleet are counted when it asks (fleetmetrics)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

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
