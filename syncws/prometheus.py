"""The figures of a server for Prometheus. Needs prometheus_client.

.. code-block:: python

    from prometheus_client import REGISTRY
    from syncws.prometheus import ServerCollector

    REGISTRY.register(ServerCollector(server))

Nothing is measured between two scrapes; at a scrape, the figures that :meth:`syncws.WebSocketServer.stats` returns are
put into metrics. Any thread may collect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from .stats import Latencies, ServerStats

try:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    hint = f"syncws.prometheus needs the package prometheus_client: pip install 'syncws[prometheus]' ({error})"
    raise ImportError(hint, name=error.name) from error

__all__ = ["ServerCollector"]


class _Server(Protocol):
    """What is used of a server."""

    def stats(self) -> ServerStats: ...


class ServerCollector(Collector):
    """Collects the figures of a server, or of several ones.

    :param server: a :class:`syncws.WebSocketServer`, a :class:`syncws.WSGIServer` or one of those of
        ``syncws.gevent``; or a mapping from names to servers, for a process with several: each of its samples then
        has a label ``server`` with the name.
    """

    def __init__(self, server: _Server | Mapping[str, _Server]) -> None:
        self._servers: Mapping[str, _Server] = server if isinstance(server, Mapping) else {"": server}
        self._labels: Sequence[str] = ("server",) if isinstance(server, Mapping) else ()

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without their samples, for a registry that looks for names that are taken."""
        return self._metrics({})

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._metrics({name: server.stats() for name, server in self._servers.items()})

    def _metrics(self, servers: Mapping[str, ServerStats]) -> list[Metric]:
        metrics = _Metrics(self._labels)
        for name, stats in servers.items():
            metrics.add([name] if self._labels else [], stats)
        return metrics.all


class _Metrics:
    """The metrics of one scrape.

    :param labels: the names of the labels that each sample has.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._open = GaugeMetricFamily("syncws_connections_open", "Open WebSockets.", labels=labels)
        self._opened = CounterMetricFamily("syncws_connections_opened", "WebSockets opened.", labels=labels)
        self._rejected = CounterMetricFamily(
            "syncws_handshakes_rejected", "Clients refused, by reason.", labels=[*labels, "reason"]
        )
        self._closed = CounterMetricFamily(
            "syncws_connections_closed", "WebSockets that ended, by close code.", labels=[*labels, "code"]
        )
        self._messages = CounterMetricFamily(
            "syncws_messages", "Messages received and sent.", labels=[*labels, "direction"]
        )
        self._bytes = CounterMetricFamily(
            "syncws_bytes", "Bytes of frames received and sent, with their headers.", labels=[*labels, "direction"]
        )
        self._backlog = GaugeMetricFamily("syncws_backlog_bytes", "Bytes that wait to be sent.", labels=labels)
        self._latency = HistogramMetricFamily(
            "syncws_ping_latency_seconds", "Round-trip times of pings.", labels=labels
        )

    @property
    def all(self) -> list[Metric]:
        """All of them."""
        return list(vars(self).values())

    def add(self, labels: list[str], stats: ServerStats) -> None:
        """Add the samples of a server.

        :param labels: the values of its labels.
        """
        self._open.add_metric(labels, stats.open)
        self._opened.add_metric(labels, stats.opened)
        for reason, count in stats.rejected.items():
            self._rejected.add_metric([*labels, reason], count)
        for code, count in stats.closed.items():
            self._closed.add_metric([*labels, str(code)], count)
        self._messages.add_metric([*labels, "received"], stats.messages_received)
        self._messages.add_metric([*labels, "sent"], stats.messages_sent)
        self._bytes.add_metric([*labels, "received"], stats.bytes_received)
        self._bytes.add_metric([*labels, "sent"], stats.bytes_sent)
        self._backlog.add_metric(labels, stats.backlog)
        self._latency.add_metric(labels, _buckets(stats.latencies), stats.latencies.total)


def _buckets(latencies: Latencies) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus writes them."""
    return [("+Inf" if bound == math.inf else str(bound), count) for bound, count in latencies.buckets.items()]
