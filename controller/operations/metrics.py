"""What Prometheus reads of this process; gauges of the fleet are counted when it asks."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

REGISTRY = CollectorRegistry()

REQUEST_SECONDS = Histogram(
    "plugfleet_http_request_seconds",
    "Time to answer a request.",
    ("method", "route", "status"),
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
