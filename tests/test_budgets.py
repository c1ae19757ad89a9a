"""What a server may have at the same time, counted; and what clients of both servers see of it."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_client import Entrance, both_servers
from raw_client import running as running_server
from wire import DEADLINE, ClientSocket, Running, get, tls_contexts, wait_until, ws_request

import syncws
from syncws.budgets import Budget, OverBudget, Place, Places
from syncws.bursts import Bursts
from syncws.forwarded import TrustedProxies
from syncws.protocol.headers import Headers

ONE, OTHER = ("192.0.2.1", 1000), ("192.0.2.2", 1000)
PROXY = ("10.0.0.1", 1000)
NO_FIELDS = Headers([])


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")


def places(trusted: Iterable[str] = (), **limits: int) -> Places:
    lock = threading.RLock()
    return Places(lock, Budget(**limits, trusted_proxies=TrustedProxies(trusted)), Bursts(lock))


def refused(take: Callable[[], object]) -> int:
    with pytest.raises(OverBudget) as caught:
        take()
    assert caught.value.headers == [("Retry-After", "5")]
    return caught.value.status


def forwarded(*addresses: str) -> Headers:
    return Headers([("X-Forwarded-For", ", ".join(addresses))])


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# The counts.


def test_no_limit() -> None:
    unlimited = Places(threading.RLock(), Budget(), Bursts(threading.RLock()))
    taken = [unlimited.take(ONE) for _ in range(50)]
    for place in taken:
        place.admit(NO_FIELDS)
        place.idle()
        place.leave()


def test_connections(caplog: pytest.LogCaptureFixture) -> None:
    two = places(max_connections=2)
    first, second = two.take(ONE), two.take("")
    second.admit(NO_FIELDS)
    for _ in range(3):
        assert refused(lambda: two.take(OTHER)) == 503
    first.leave()
    two.take(OTHER)
    assert refused(lambda: two.take(OTHER)) == 503
    assert [record.getMessage() for record in caplog.records] == [
        "refusing connections: the server has 2 connections, as many as there may be (max_connections)"
    ]


def test_handshakes(caplog: pytest.LogCaptureFixture) -> None:
    two = places(max_handshakes=2)
    first, second = two.take(ONE), two.take(ONE)
    assert refused(lambda: two.take(ONE)) == 503
    first.admit(NO_FIELDS)
    first.admit(NO_FIELDS)  # the next request of the same connection
    third = two.take(ONE)
    assert refused(lambda: two.take(ONE)) == 503
    first.leave()  # was through with its own
    assert refused(lambda: two.take(ONE)) == 503
    third.leave()
    two.take(ONE)
    second.leave()
    two.take(ONE)
    assert refused(lambda: two.take(ONE)) == 503
    assert [record.getMessage() for record in caplog.records] == [
        "refusing connections: the server has 2 handshakes in progress, as many as there may be (max_handshakes)"
    ]


@pytest.mark.parametrize(
    ("address", "same", "another", "name"),
    [
        (ONE, ("192.0.2.1", 9), OTHER, "192.0.2.1"),
        (("::ffff:192.0.2.1", 9, 0, 0), ONE, ("::ffff:192.0.2.2", 9, 0, 0), "192.0.2.1"),
        (("2001:db8::1", 9, 0, 0), ("2001:db8::ffff:1:2", 7, 0, 0), ("2001:db8:0:1::1", 9, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 9, 0, 2), ("fe80::2%eth0", 9, 0, 2), ("fe81::1%eth0", 9, 0, 2), "fe80::/64"),
    ],
)
def test_connections_of_one_address(
    address: Any, same: Any, another: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    two = places(max_connections_per_address=2)
    first = two.take(address)
    second = two.take(same)
    second.admit(forwarded("203.0.113.9"))  # nobody believes that
    second.idle()
    for _ in range(2):
        assert refused(lambda: two.take(address)) == 429
        assert refused(lambda: two.take(same)) == 429
    others = [two.take(another) for _ in range(2)]
    first.leave()
    two.take(same).leave()
    second.leave()
    for place in others:
        place.leave()
    assert not two._of_client, "addresses are forgotten"
    [record] = caplog.records
    reason = f"{name} has 2 connections, as many as there may be (max_connections_per_address)"
    assert record.getMessage() == f"refusing connections: {reason}"


def test_unix_sockets_have_no_address() -> None:
    one = places(max_connections_per_address=1)
    for _ in range(3):
        one.take("").admit(forwarded("203.0.113.9"))


def test_clients_of_a_proxy() -> None:
    one = places(["10.0.0.0/8", "unix"], max_connections_per_address=1)
    idle = [one.take(PROXY) for _ in range(5)]  # it may have as many as it needs
    first, second, third = idle[:3]
    first.admit(forwarded("203.0.113.9", "192.0.2.1"))
    assert refused(lambda: second.admit(forwarded("192.0.2.1"))) == 429
    assert refused(lambda: one.take(ONE)) == 429, "the same client, without a proxy"
    assert refused(lambda: one.take("").admit(forwarded("192.0.2.1", "10.2.2.2"))) == 429
    third.admit(forwarded("192.0.2.2"))
    # The next request may be another client's.
    first.idle()
    second.admit(forwarded("192.0.2.1"))
    assert refused(lambda: first.admit(forwarded("192.0.2.2"))) == 429
    first.admit(forwarded("192.0.2.3"))
    for place in idle:
        place.leave()
    assert not one._of_client
    one.take(ONE)


def test_proxies_without_a_limit_per_address() -> None:
    trusting = places(["10.0.0.0/8"], max_connections=3)
    for _ in range(3):
        trusting.take(PROXY).admit(forwarded("192.0.2.1"))
    assert not trusting._of_client


def test_a_place_is_given_back_once() -> None:
    taken = places(max_connections=1, max_connections_per_address=1)
    first = taken.take(ONE)
    first.leave()
    first.leave()
    second = taken.take(ONE)
    assert refused(lambda: taken.take(OTHER)) == 503
    second.leave()


def test_place_that_nobody_counts() -> None:
    place = Place()
    place.admit(NO_FIELDS)
    place.idle()
    place.leave()


# The servers.


def connect(address: Any, source: str = "127.0.0.1") -> ClientSocket:
    return ClientSocket(socket.create_connection(address[:2], DEADLINE, (source, 0)))


@contextlib.contextmanager
def opened(address: Any, *fields: str, source: str = "127.0.0.1") -> Iterator[ClientSocket]:
    with connect(address, source) as client:
        client.send(ws_request("/", *fields))
        assert client.read_head()[0] == 101
        yield client


def check_refused(client: ClientSocket, status: int) -> None:
    answered, headers, body = client.read_response()
    assert (answered, headers["retry-after"], headers["connection"]) == (status, "5", "close")
    assert body.endswith(b"try again later.\n")
    assert client.read_to_end() == b""


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


@both_servers
def test_refused_for_the_address(entrance: Entrance, caplog: pytest.LogCaptureFixture) -> None:
    with running_server(entrance, echo, max_connections_per_address=2) as server:
        address = server.server_address
        with opened(address), connect(address) as idle:
            for _ in range(3):
                with connect(address) as client:
                    check_refused(client, 429)
            with opened(address, source="127.0.0.2"):
                pass
            idle.close()
            wait_until(lambda: len(server._connections) == 1)
            with opened(address):
                pass
    assert errors(caplog) == [
        "refusing connections: 127.0.0.1 has 2 connections, as many as there may be (max_connections_per_address)"
    ]


@both_servers
def test_refused_for_the_address_behind_a_proxy(entrance: Entrance, caplog: pytest.LogCaptureFixture) -> None:
    field = "X-Forwarded-For: 203.0.113.9, 192.0.2.1"
    with running_server(entrance, echo, max_connections_per_address=1, trusted_proxies=["127.0.0.1"]) as server:
        address = server.server_address
        with opened(address, field):
            for _ in range(3):
                with connect(address) as client:
                    client.send(ws_request("/", field))
                    check_refused(client, 429)
            with connect(address) as client:
                client.send(get("/", "X-Forwarded-For: 192.0.2.1", method="HEAD"))
                assert client.read_response(head_only=True)[0] == 429
                assert client.read_to_end() == b""
            with opened(address, "X-Forwarded-For: 192.0.2.2"):
                pass
            # Not a proxy.
            with opened(address, field, source="127.0.0.2"):
                pass
        wait_until(lambda: not server._connections)
        with opened(address, field):
            pass
    assert errors(caplog) == [
        "refusing connections: 192.0.2.1 has 1 connections, as many as there may be (max_connections_per_address)"
    ]


def test_connection_of_a_proxy_serves_many_clients() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            assert go_on.wait(DEADLINE)
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {syncws.forwarded.client_address(environ, ['127.0.0.1'])}".encode()]

    options: Any = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    with _running(syncws.WSGIServer(("127.0.0.1", 0), app, **options)) as server:
        with connect(server.server_address) as first, connect(server.server_address) as second:
            for number in range(3):
                for client in first, second:
                    client.send(get("/", f"X-Forwarded-For: 192.0.2.{number}"))
                    assert client.read_response()[::2] == (200, f"127.0.0.1 192.0.2.{number}".encode())
                    # It is the client's until the response has been sent, which its end does not tell.
                    wait_until(lambda: not server._places._of_client)
            first.send(get("/slow", "X-Forwarded-For: 192.0.2.1"))
            assert entered.wait(DEADLINE)
            second.send(get("/", "X-Forwarded-For: 192.0.2.1"))
            check_refused(second, 429)
            go_on.set()
            assert first.read_response()[0] == 200


@contextlib.contextmanager
def _running(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with server:
        yield server
    thread.join(DEADLINE)


@both_servers
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_refused_for_handshakes_in_progress(entrance: Entrance, secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    server_context, client_context = tls_contexts()
    options: Any = {"ssl": server_context} if secure else {}
    with running_server(entrance, echo, max_handshakes=2, **options) as server:
        address = server.server_address

        def open_one() -> ClientSocket:
            client = connect(address)
            if secure:
                client.sock = client_context.wrap_socket(client.sock, server_hostname="localhost")
            client.send(ws_request())
            assert client.read_head()[0] == 101
            return client

        many = [open_one() for _ in range(4)]
        slow = [connect(address) for _ in range(2)]
        for client in slow:
            client.send(b"\x16\x03\x01" if secure else ws_request()[:-1])
        for _ in range(3):
            with connect(address) as client:
                if secure:
                    assert client.read_to_end() == b""
                else:
                    check_refused(client, 503)
        slow[0].close()
        wait_until(lambda: len(server._connections) == 5)
        many.append(open_one())
        for client in [*many, *slow]:
            client.close()
    assert errors(caplog) == [
        "refusing connections: the server has 2 handshakes in progress, as many as there may be (max_handshakes)"
    ]


def test_a_proxy_that_connects_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = syncws.WebSocketServer(path, echo, max_connections_per_address=1, trusted_proxies=["unix"])
    with _running(server):

        def answer(client: ClientSocket, address: str) -> int:
            client.sock.connect(path)
            client.send(ws_request("/", f"X-Forwarded-For: {address}"))
            return client.read_head()[0]

        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(ClientSocket(socket.socket(socket.AF_UNIX))) for _ in range(3)]
            assert answer(clients[0], "192.0.2.1") == 101
            assert answer(clients[1], "192.0.2.1") == 429
            assert answer(clients[2], "192.0.2.2") == 101


def test_a_client_of_a_proxy_counts_until_it_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not until the proxy has ended the connection."""
    over = threading.Event()
    monkeypatch.setattr("syncws.serving.hang_up", lambda transport: over.wait(DEADLINE))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"hi"]

    server = syncws.WSGIServer(("127.0.0.1", 0), app, max_connections_per_address=1, trusted_proxies=["127.0.0.1"])
    with server, Running(server.serve_forever), contextlib.ExitStack() as stack:

        def status() -> bytes:
            client = stack.enter_context(socket.create_connection(server.server_address, timeout=DEADLINE))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n")
            return client.recv(12)[9:]

        stack.callback(over.set)
        assert status() == b"200"
        wait_until(lambda: status() == b"200")
        over.set()
        server.shutdown()


def test_a_client_that_has_gone_before_it_is_served_is_not_served() -> None:
    served: list[str] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        served.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    server = syncws.WSGIServer(("127.0.0.1", 0), app)
    for _ in range(3):
        client = socket.create_connection(server.server_address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        client.close()  # with a reset
    with server, Running(server.serve_forever):
        with socket.create_connection(server.server_address, timeout=DEADLINE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12)[9:] == b"200"
        server.shutdown()
    assert served == ["GET"]
