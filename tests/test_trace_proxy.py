"""The proxy of ``syncws trace``: everything passes as it is, in both directions, and is reported."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import reset
from wire import DEADLINE, ClientSocket, Running, frame, tls_contexts, wait_until, ws_request

import syncws
from syncws.trace import Chunk, Frame, Handshake, Recorder, annotated
from syncws.trace.proxy import TraceProxy
from syncws.uri import parse_uri


@contextlib.contextmanager
def proxied(port: int, recorder: Recorder, *, scheme: str = "ws", **options: Any) -> Iterator[tuple[str, int]]:
    """A proxy to a port of this machine; its address."""
    target = parse_uri(f"{scheme}://localhost:{port}/")
    with TraceProxy(("127.0.0.1", 0), target, recorder, **options) as proxy:
        with Running(lambda: proxy.serve_forever(0.01)):
            yield proxy.server_address[:2]  # type: ignore[misc]
            proxy.stop()


@contextlib.contextmanager
def echo_server(**options: Any) -> Iterator[int]:
    """A server that sends every message back; its port."""

    def echo(ws: syncws.WebSocket) -> None:
        for message in ws:
            ws.send(message)

    with syncws.WebSocketServer(("127.0.0.1", 0), echo, **options) as server, Running(server.serve_forever):
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def raw_server(serve: Callable[[ClientSocket], None]) -> Iterator[int]:
    """A server of one connection, by hand; its port."""

    def run() -> None:
        sock, _ = listener.accept()
        with ClientSocket(sock) as connection:
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        with Running(run):
            yield listener.getsockname()[1]


def connect(address: tuple[str, int], **options: Any) -> syncws.WebSocket:
    return syncws.connect("ws://{}:{}/".format(*address), proxy=None, **options)


def of(recorder: Recorder, sender: str) -> bytes:
    return b"".join(chunk.data for chunk in recorder.chunks if chunk.sender == sender)


def test_both_sides_are_seen() -> None:
    recorder = Recorder()
    with echo_server() as port, proxied(port, recorder) as address:
        with connect(address) as ws:
            ws.send("a")
            assert ws.receive() == "a"
            ws.send(b"b" * 200000)
            assert ws.receive() == b"b" * 200000
        wait_until(lambda: sum(not chunk.data for chunk in recorder.chunks) == 2)
    items = list(annotated(recorder.chunks))
    names = [item.name if isinstance(item, Frame) else type(item).__name__ for item in items]
    assert names == [
        "Handshake", "Handshake", "text", "text", "binary", "binary", "close", "close", "End", "End"
    ]  # fmt: skip


def test_many_connections_at_once() -> None:
    recorder = Recorder()
    with echo_server() as port, proxied(port, recorder) as address:
        websockets = [connect(address) for _ in range(10)]
        for number, ws in enumerate(websockets):
            ws.send(f"{number}")
        assert [ws.receive() for ws in websockets] == [f"{number}" for number in range(10)]
        for ws in websockets:
            ws.close()
    assert {chunk.connection for chunk in recorder.chunks} == set(range(1, 11))


def test_what_is_wrong_passes_as_well() -> None:
    wrong = b"GET / HTTP/1.1\r\nbad field\r\n\r\n\x81\x05Hello\xff"
    seen: list[bytes] = []

    def serve(connection: ClientSocket) -> None:
        seen.append(connection.read(len(wrong)))
        connection.send(b"\x83\0 nonsense")
        assert connection.read_to_end() == b""

    recorder = Recorder()
    with raw_server(serve) as port, proxied(port, recorder) as address:
        with ClientSocket(socket.create_connection(address)) as client:
            client.send(wrong)
            assert client.read(11) == b"\x83\0 nonsense"
    assert seen == [wrong]
    assert of(recorder, "client") == wrong
    assert of(recorder, "server") == b"\x83\0 nonsense"


def test_a_side_that_ends_may_still_read() -> None:
    def serve(connection: ClientSocket) -> None:
        assert connection.read_to_end() == b"question"
        connection.send(b"answer")

    recorder = Recorder()
    with raw_server(serve) as port, proxied(port, recorder) as address:
        with ClientSocket(socket.create_connection(address)) as client:
            client.send(b"question")
            client.sock.shutdown(socket.SHUT_WR)
            assert client.read_to_end() == b"answer"


def test_bytes_pass_as_they_come() -> None:
    def serve(connection: ClientSocket) -> None:
        for size in (1, 2, 3):
            connection.send(connection.read(size))

    with raw_server(serve) as port, proxied(port, Recorder()) as address:
        with ClientSocket(socket.create_connection(address)) as client:
            for data in (b"\x81", b"ab", b"c\xff\n"):
                client.send(data)
                assert client.read(len(data)) == data


def test_an_unfinished_line_of_a_head_arrives_with_the_end() -> None:
    seen: list[bytes] = []
    with raw_server(lambda connection: seen.append(connection.read_to_end())) as port:
        with proxied(port, Recorder()) as address, ClientSocket(socket.create_connection(address)) as client:
            client.send(b"GET / HT")
            client.sock.shutdown(socket.SHUT_WR)
            assert client.read_to_end() == b""
    assert seen == [b"GET / HT"]


@pytest.mark.parametrize(("options", "host"), [({}, "localhost:{}"), ({"rewrite": False}, "{proxy}")])
def test_host_is_the_servers(options: dict[str, bool], host: str) -> None:
    recorder = Recorder()
    with echo_server(origins=None) as port, proxied(port, recorder, **options) as address:
        with ClientSocket(socket.create_connection(address)) as client:
            named = "{}:{}".format(*address)
            client.send(ws_request().replace(b"example.com", named.encode()), frame(8))
            assert client.read_head()[0] == 101
    item = next(item for item in annotated(recorder.chunks) if isinstance(item, Handshake))
    assert item.fields[0].value == host.format(port, proxy=named)


def test_pages_of_the_proxy_and_of_the_server_may_connect() -> None:
    with echo_server() as port, proxied(port, Recorder()) as address:
        for origin in (f"http://{address[0]}:{address[1]}", f"http://localhost:{port}"):
            with connect(address, headers={"Origin": origin}) as ws:
                ws.send("a")
                assert ws.receive() == "a"
        with pytest.raises(syncws.HandshakeError) as caught:
            connect(address, headers={"Origin": "http://elsewhere.example"})
        assert caught.value.status == 403


def test_a_page_of_strangers_whose_name_leads_to_the_proxy() -> None:
    with echo_server(origins=["http://localhost:*"]) as port, proxied(port, Recorder()) as address:
        name = f"evil.example:{address[1]}"
        with ClientSocket(socket.create_connection(address)) as client:
            client.send(
                ws_request("/", f"Origin: http://{name}").replace(b"Host: example.com", f"Host: {name}".encode())
            )
            assert client.read_head()[0] == 403


def test_tls_to_the_server() -> None:
    server_context, client_context = tls_contexts()
    recorder = Recorder()
    with echo_server(ssl=server_context) as port:
        with proxied(port, recorder, scheme="wss", context=client_context) as address:
            with connect(address) as ws:
                ws.send("secret")
                assert ws.receive() == "secret"
            wait_until(lambda: sum(not chunk.data for chunk in recorder.chunks) == 2)
    assert b"secret" in of(recorder, "server")


def test_a_certificate_that_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    server_context, _ = tls_contexts()
    with echo_server(ssl=server_context) as port, proxied(port, Recorder(), scheme="wss") as address:
        with pytest.raises(syncws.HandshakeError) as caught:
            connect(address)
    assert caught.value.status == 502
    assert "cannot connect to wss://localhost" in caplog.text
    assert ssl.SSLCertVerificationError is not None


def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    recorder = Recorder()
    with proxied(port, recorder) as address, ClientSocket(socket.create_connection(address)) as client:
        client.send(ws_request())
        status, _, body = client.read_response()
    assert status == 502
    assert body == f"cannot connect to ws://localhost:{port}/: Connection refused\n".encode()
    assert "Connection refused" in caplog.text
    assert recorder.chunks == []


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_lost_connection_is_passed_on(who: str) -> None:
    gone = threading.Event()

    def serve(connection: ClientSocket) -> None:
        connection.read(1)
        if who == "server":
            reset(connection.sock)
            return
        gone.wait(DEADLINE)
        # Whoever sends to a client that has gone is told.
        with contextlib.suppress(OSError):
            while True:
                connection.send(bytes(65536))

    recorder = Recorder()
    with raw_server(serve) as port, proxied(port, recorder) as address:
        client = ClientSocket(socket.create_connection(address))
        client.send(b"\x81")
        if who == "client":
            wait_until(lambda: recorder.chunks)
            reset(client.sock)
            gone.set()
        else:
            assert client.read_to_end() == b""
            client.close()
        wait_until(lambda: sum(not chunk.data for chunk in recorder.chunks) == 2)


def test_stop_drops_what_is_open() -> None:
    recorder = Recorder()
    with echo_server() as port:
        with proxied(port, recorder) as address:
            ws = connect(address)
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive(DEADLINE)
    assert [chunk.data for chunk in recorder.chunks][-2:] == [b"", b""]


def test_a_connection_that_comes_too_late_is_dropped() -> None:
    """Stopped while it was being connected."""
    recorder = Recorder()
    with echo_server() as port:
        proxy = TraceProxy(("127.0.0.1", 0), parse_uri(f"ws://localhost:{port}/"), recorder)
        with Running(lambda: proxy.serve_forever(0.01)):
            proxy.stop()
        one, two = socket.socketpair()
        proxy.finish_request(one, "test")
        assert two.recv(1) == b""
        two.close()
    assert recorder.chunks == []


def test_what_goes_wrong_with_a_connection_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def attach(self) -> Any:
            raise RuntimeError("no recorder")

    with echo_server() as port, proxied(port, Broken()) as address, caplog.at_level(logging.ERROR):
        with ClientSocket(socket.create_connection(address)) as client:
            assert client.read_to_end() == b""
        wait_until(lambda: "cannot serve" in caplog.text)
    assert "no recorder" in caplog.text


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    recorder = Recorder()
    with echo_server() as port, TraceProxy(("::1", 0), parse_uri(f"ws://127.0.0.1:{port}/"), recorder) as proxy:
        with Running(lambda: proxy.serve_forever(0.01)):
            with syncws.connect(f"ws://[::1]:{proxy.server_address[1]}/", proxy=None) as ws:
                ws.send("a")
                assert ws.receive() == "a"
            proxy.stop()
    assert recorder.chunks
    assert isinstance(recorder.chunks[0], Chunk)
