"""Gauges of the whole fleet for Prometheus, counted in the database at the moment of a scrape.

Every controller that shares a database tells the same numbers here: sum them over none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from controller.agents.models import AgentRow, UnknownHost
from controller.catalog.models import ReleaseRow
from controller.database.base import now
from controller.deployments.models import Deployment, Status
from controller.fleet.models import Host, HostState
from controller.operations.metrics import REGISTRY


def page(session: Session) -> bytes:
    """All metrics, in Prometheus's text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(_Fleet(session))
    return generate_latest(registry)


class _Fleet(Collector):
    """Counts hosts, deployments and heartbeats."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: a registry that asks for names would count everything twice."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        yield from self._hosts()
        yield from self._heartbeats()
        yield from self._agents()
        yield from self._deployments()
        release = self._session.scalar(select(func.max(ReleaseRow.number)))
        yield _gauge("plugfleet_release", "Number of the newest release; 0 is none.", release or 0)

    def _hosts(self) -> Iterator[GaugeMetricFamily]:
        text = "Hosts, by their state against their plan."
        yield self._by(Host.state, HostState, "plugfleet_hosts", text)

    def _heartbeats(self) -> Iterator[GaugeMetricFamily]:
        beats = select(Host.last_heartbeat).where(Host.last_heartbeat.is_not(None))
        total = self._session.scalar(select(func.count(Host.id))) or 0
        heard = self._session.scalar(select(func.count(Host.last_heartbeat))) or 0
        yield _gauge(
            "plugfleet_hosts_without_heartbeat",
            "Hosts whose agent has never sent a heartbeat.",
            total - heard,
        )
        lag = GaugeMetricFamily(
            "plugfleet_heartbeat_lag_seconds",
            "Time since the last heartbeat of the hosts that sent one; quantile 1 is the oldest.",
            labels=["quantile"],
        )
        for quantile, place in (("0.5", heard // 2), ("1", 0)):
            moment = self._session.scalar(
                beats.order_by(Host.last_heartbeat).offset(place).limit(1)
            )
            if moment is not None:
                lag.add_metric([quantile], _since(moment))
        yield lag

    def _agents(self) -> Iterator[GaugeMetricFamily]:
        unknown = self._session.scalar(select(func.count(UnknownHost.id))) or 0
        yield _gauge(
            "plugfleet_unknown_hosts", "Hosts that send heartbeats and that nobody made.", unknown
        )
        claimed = select(func.count(AgentRow.host_id)).where(AgentRow.claimed_by != "")
        yield _gauge(
            "plugfleet_claimed_hosts",
            "Hosts in whose names another address sends heartbeats.",
            self._session.scalar(claimed) or 0,
        )
        withheld = select(func.count(AgentRow.host_id)).where(AgentRow.withheld != "")
        yield _gauge(
            "plugfleet_withheld_hosts",
            "Hosts that are not told all of their bindings, as their agents would die of it.",
            self._session.scalar(withheld) or 0,
        )

    def _deployments(self) -> Iterator[GaugeMetricFamily]:
        text = "Deployments on record, by status."
        yield self._by(Deployment.status, Status, "plugfleet_deployments", text)
        queue = select(func.count(), func.min(Deployment.created))
        queued = queue.where(Deployment.status == Status.QUEUED.value)
        waiting, oldest = self._session.execute(queued).one()
        yield _gauge("plugfleet_queue_length", "Deployments that wait.", waiting)
        yield _gauge(
            "plugfleet_queue_oldest_seconds",
            "How long the oldest of them has been waiting.",
            _since(oldest) if oldest else 0,
        )

    def _by(
        self,
        column: InstrumentedAttribute[str],
        values: Iterable[StrEnum],
        name: str,
        text: str,
    ) -> GaugeMetricFamily:
        """How many rows have each of the values, 0 too; the label is called as the column."""
        counted: dict[str, int] = {
            value: number
            for value, number in self._session.execute(
                select(column, func.count()).group_by(column)
            )
        }
        gauge = GaugeMetricFamily(name, text, labels=[column.key])
        for value in values:
            gauge.add_metric([value.value], counted.get(value.value, 0))
        return gauge


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _since(moment: datetime) -> float:
    """Seconds since then; 0 where a clock went back meanwhile."""
    return max(0.0, (now() - moment).total_seconds())
