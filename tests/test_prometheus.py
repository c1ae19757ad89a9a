"""The metrics for Prometheus: scraped over HTTP from a server of our own, and read by Prometheus's own parser."""

from __future__ import annotations

import http.client
import importlib
import math
import sys
from typing import Any

import pytest
from servers import RunsOn, both, running
from support import require_module
from wire import wait_until

require_module("prometheus_client")

import prometheus_client  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

import syncws  # noqa: E402
from syncws.prometheus import ServerCollector  # noqa: E402
from syncws.stats import REASONS  # noqa: E402
from syncws.websocket import WebSocket  # noqa: E402

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def samples_of(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(server: Any) -> Samples:
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        return samples_of(response.read().decode())
    finally:
        connection.close()


def registry_for(collector: ServerCollector) -> prometheus_client.CollectorRegistry:
    registry = prometheus_client.CollectorRegistry(auto_describe=True)
    registry.register(collector)
    return registry


@both
def test_a_server_scraped_over_http(runs_on: RunsOn) -> None:
    with running(runs_on, "WebSocketServer", echo, ping_interval=0.1, max_connections=2) as server:
        app = prometheus_client.make_wsgi_app(registry_for(ServerCollector(server)))
        with running("threads", "WSGIServer", app) as metrics:
            before = scrape(metrics)
            assert before["syncws_connections_open", ()] == 0
            assert {labels[0][1] for name, labels in before if name == "syncws_handshakes_rejected_total"} == {*REASONS}

            uri = "ws://{}:{}/".format(*server.server_address)
            with syncws.connect(uri) as client, syncws.connect(uri):
                client.send("hello")
                assert client.receive() == "hello"
                with pytest.raises(syncws.HandshakeError):
                    syncws.connect(uri)
                wait_until(lambda: server.stats().latencies.count)
                wait_until(lambda: server.stats().bytes_sent)
                during = scrape(metrics)
            wait_until(lambda: not server.stats().open)
            after = scrape(metrics)
    assert during["syncws_connections_open", ()] == 2
    assert after["syncws_connections_open", ()] == 0
    assert after["syncws_connections_opened_total", ()] == 2
    assert after["syncws_connections_closed_total", (("code", "1000"),)] == 2
    assert after["syncws_handshakes_rejected_total", (("reason", "connections"),)] == 1
    assert during["syncws_backlog_bytes", ()] == 0
    for direction in ("received", "sent"):
        assert during["syncws_messages_total", (("direction", direction),)] == 1
        size = during["syncws_bytes_total", (("direction", direction),)]
        assert 0 < size < after["syncws_bytes_total", (("direction", direction),)]
    latency = "syncws_ping_latency_seconds"
    count = during[f"{latency}_count", ()]
    assert 1 <= count <= after[f"{latency}_count", ()]
    assert during[f"{latency}_sum", ()] > 0
    buckets = [(float(labels[0][1]), value) for (name, labels), value in during.items() if name == f"{latency}_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (math.inf, count)
    assert set(before) < set(after)


def test_registering_asks_for_nothing() -> None:
    class Untouched:
        def stats(self) -> Any:
            raise AssertionError("nobody has scraped")

    registry = registry_for(ServerCollector(Untouched()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(ServerCollector(Untouched()))


def test_several_servers_have_a_label() -> None:
    with running("threads", "WebSocketServer", echo) as one, running("threads", "WSGIServer", lambda *_: []) as two:
        with syncws.connect("ws://{}:{}/".format(*one.server_address)):
            wait_until(lambda: one.stats().open)
            registry = registry_for(ServerCollector({"chat": one, "site": two}))
            found = samples_of(prometheus_client.generate_latest(registry).decode())
    assert found["syncws_connections_open", (("server", "chat"),)] == 1
    assert found["syncws_connections_open", (("server", "site"),)] == 0
    assert found["syncws_messages_total", (("direction", "sent"), ("server", "site"))] == 0
    assert found["syncws_ping_latency_seconds_bucket", (("le", "+Inf"), ("server", "chat"))] == 0


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "syncws.prometheus")
    for name in ("prometheus_client", "prometheus_client.metrics_core"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs the package prometheus_client: pip install 'syncws\[prometheus\]'"):
        importlib.import_module("syncws.prometheus")
