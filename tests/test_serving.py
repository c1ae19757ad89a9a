"""One accepted connection: served in one thread, stopped from another."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
from greenlet import GreenletExit
from wire import DEADLINE, ClientSocket, Running, frame, pair, tls_contexts, wait_until, ws_request

from syncws.budgets import OverBudget
from syncws.errors import ConnectionClosed, HandshakeError
from syncws.opening import accept_on
from syncws.options import Options
from syncws.serving import ServedConnection, end_websocket, log_refusal
from syncws.transport import SocketTransport, Transport
from syncws.transport_tls import TLSTransport

CLOSE = 8
GOING_AWAY = b"\x03\xe9"


class Connection(ServedConnection):
    """A connection that does what a test wants."""

    def __init__(self, transport: Transport, act: Callable[[Connection, float | None], None]) -> None:
        super().__init__(transport, Options(open_timeout=DEADLINE, close_timeout=DEADLINE))
        self.transport = transport
        self.act = act

    def _serve(self, deadline: float | None) -> None:
        self.act(self, deadline)


def read(connection: Connection, deadline: float | None) -> None:
    assert deadline is not None
    while connection.transport.recv(deadline):
        connection._set_busy(True)


def become_websocket(connection: Connection, deadline: float | None) -> None:
    ws = accept_on(connection.transport, connection._options, deadline)
    connection._attach(ws)
    with pytest.raises(ConnectionClosed):
        ws.receive()


def test_serve_waits_for_the_client_and_closes() -> None:
    with pair() as (sock, client), Running(Connection(SocketTransport(sock), lambda *_: None).serve) as running:
        assert client.read_to_end() == b""
        assert running.running
        client.close()
        running.result()
        assert sock.fileno() == -1


def test_connection_that_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    def fail(connection: Connection, deadline: float | None) -> None:
        raise ConnectionResetError("reset by peer")

    caplog.set_level(logging.DEBUG, "syncws")
    with pair() as (sock, _):
        Connection(SocketTransport(sock), fail).serve()
        assert sock.fileno() == -1
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_handshake_that_does_not_succeed(caplog: pytest.LogCaptureFixture) -> None:
    def fail(connection: Connection, deadline: float | None) -> None:
        raise HandshakeError("no such thing", status=404)

    caplog.set_level(logging.INFO, "syncws")
    with pair() as (sock, _):
        Connection(SocketTransport(sock), fail).serve()
        assert sock.fileno() == -1
    assert "with 404: no such thing" in caplog.text


def test_a_mistake_of_our_own_gives_back_the_socket() -> None:
    def fail(connection: Connection, deadline: float | None) -> None:
        raise ZeroDivisionError

    with pair() as (sock, _):
        with pytest.raises(ZeroDivisionError):
            Connection(SocketTransport(sock), fail).serve()
        assert sock.fileno() == -1


def test_tls_handshake_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")
    server_context, client_context = tls_contexts()
    with pair() as (sock, client):
        wrapped = server_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with Running(Connection(TLSTransport(wrapped), read).serve):
            with client_context.wrap_socket(client.sock, server_hostname="localhost") as secure:
                secure.sendall(b"hello")
    assert caplog.records == []
    # A client that speaks something else.
    with pair() as (sock, client):
        wrapped = server_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        Connection(TLSTransport(wrapped), read).serve()
    assert "TLS handshake failed" in caplog.text
    assert ssl.SSLError.__name__ not in caplog.text


def test_stop_drops_an_idle_connection() -> None:
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), read)
        with Running(connection.serve):
            connection.stop(1001, "bye")
            assert client.read_to_end() == b""
        # Once it is over, there is nothing left to stop.
        connection.stop(1001, "bye")
        connection.abort()


def test_stop_lets_a_busy_connection_go_on() -> None:
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), read)
        with Running(connection.serve) as running:
            client.send(b"begin")
            wait_until(lambda: connection._busy)
            connection.stop(1001, "bye")
            client.send(b"end")
            assert running.running
            # When it is not busy any more, it is dropped.
            connection._set_busy(False)
            assert client.read_to_end() == b""


def test_abort_drops_a_busy_connection() -> None:
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), read)
        with Running(connection.serve):
            client.send(b"begin")
            wait_until(lambda: connection._busy)
            connection.abort()
            assert client.read_to_end() == b""


def test_stop_closes_a_websocket() -> None:
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), become_websocket)
        with Running(connection.serve):
            client.send(ws_request())
            assert client.read_head()[0] == 101
            wait_until(lambda: connection._ws)
            connection.stop(1001, "bye")
            assert client.read_frame() == (CLOSE, GOING_AWAY + b"bye")
            client.send(frame(CLOSE, GOING_AWAY))
            assert client.read_to_end() == b""
            client.close()


def test_stop_before_it_is_a_websocket() -> None:
    ready, stopped = threading.Event(), threading.Event()

    def act(connection: Connection, deadline: float | None) -> None:
        connection._set_busy(True)
        ready.set()
        assert stopped.wait(DEADLINE)
        become_websocket(connection, deadline)

    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), act)
        with Running(connection.serve):
            assert ready.wait(DEADLINE)
            connection.stop(1001, "bye")
            connection.stop(1012, "too late")
            stopped.set()
            client.send(ws_request())
            assert client.read_head()[0] == 101
            assert client.read_frame()[1][:2] == GOING_AWAY
            client.close()


def test_abort_drops_a_websocket() -> None:
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), become_websocket)
        with Running(connection.serve):
            client.send(ws_request())
            assert client.read_head()[0] == 101
            wait_until(lambda: connection._ws)
            connection.abort()
            assert client.read_to_end() == b""


def test_end_of_a_thread_that_nobody_catches() -> None:
    def fail(connection: Connection, deadline: float | None) -> None:
        connection._attach(accept_on(connection.transport, connection._options, deadline))
        raise KeyboardInterrupt

    with pair() as (sock, client):
        client.send(ws_request())
        with pytest.raises(KeyboardInterrupt):
            Connection(SocketTransport(sock), fail).serve()
        assert sock.fileno() == -1
        assert client.read_head()[0] == 101
        assert client.read_to_end() == b""


@pytest.mark.parametrize(
    ("error", "code", "level"),
    [
        (None, 1000, None),
        (ConnectionClosed(1006), 1011, "ERROR"),  # of a connection that is none of the server's
        (ValueError("secret"), 1011, "ERROR"),
        (SystemExit(1), 1011, "ERROR"),
        (GreenletExit(), 1001, None),
    ],
)
def test_end_of_a_websocket(
    error: BaseException | None, code: int, level: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "syncws")
    with pair() as (sock, client):
        client.send(ws_request("/chat"))
        ws = accept_on(SocketTransport(sock), Options(), None)
        with Running(lambda: end_websocket(ws, error)):
            assert client.read_head()[0] == 101
            opcode, payload = client.read_frame()
            assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
            assert b"secret" not in payload
            client.send(frame(CLOSE, payload[:2]))
            assert client.read_to_end() == b""
            client.close()
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert all((record.exc_info is not None) == (level == "ERROR") for record in caplog.records)


@pytest.mark.parametrize("own", [True, False], ids=["own", "foreign"])
def test_end_of_a_websocket_whose_connection_is_closed(own: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "syncws")
    with pair() as (sock, client), pair() as (other_sock, other_client):
        client.send(ws_request("/chat"))
        ws = accept_on(SocketTransport(sock), Options(), None)
        other_client.send(ws_request("/upstream"))
        other = accept_on(SocketTransport(other_sock), Options(), None)
        error = ConnectionClosed(1006)
        error.websocket = ws if own else other
        with Running(lambda: end_websocket(ws, error)):
            assert client.read_head()[0] == 101
            opcode, payload = client.read_frame()
            assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1000 if own else 1011)
            client.send(frame(CLOSE, payload[:2]))
            client.close()
        other.abort()
    [record] = caplog.records
    assert record.levelname == ("DEBUG" if own else "ERROR")
    assert (record.exc_info is None) == own


@pytest.mark.parametrize(("status", "level"), [(403, "WARNING"), (400, "INFO"), (0, "INFO")])
def test_log_of_a_refusal(status: int, level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")
    log_refusal(HandshakeError("because of this", status=status), ("10.0.0.1", 1234))
    [record] = caplog.records
    assert record.levelname == level
    assert "10.0.0.1" in record.getMessage()
    assert "because of this" in record.getMessage()


def test_log_of_what_is_over_budget(caplog: pytest.LogCaptureFixture) -> None:
    # There may be very many of them, and one line has told already.
    caplog.set_level(logging.DEBUG, "syncws")
    log_refusal(OverBudget(429), ("10.0.0.1", 1234))
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_remote_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with ClientSocket(socket.create_connection(listener.getsockname())) as client:
            sock, address = listener.accept()
            connection = Connection(SocketTransport(sock), read)
            assert connection.remote_address == address == client.sock.getsockname()
            sock.close()
