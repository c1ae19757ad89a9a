"""syncws.client: connections to servers that others wrote, and what comes of those that misbehave."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from proxies import TIMEOUT, drain, read_head, scripted, tunnel_proxy
from support import require_module
from websockets.exceptions import ConnectionClosed as PeerClosed
from websockets.sync.server import Server, ServerConnection, serve, unix_serve

import syncws.client
import syncws.client_body
from syncws.client import connect
from syncws.descriptor import PureDescriptor
from syncws.errors import ConnectionClosed, HandshakeError
from syncws.protocol.handshake import accept_value

Script = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["http", "https", "socks", "all", "no"]:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def describe_and_echo(ws: ServerConnection) -> None:
    """Tell the client what its request was, then send back what it sends."""
    assert ws.request is not None
    with contextlib.suppress(PeerClosed):
        ws.send(json.dumps([ws.request.path, list(ws.request.headers.raw_items())]))
        for message in ws:
            ws.send(message)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Any]:
    """Run a server of the package websockets; yields its address."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()
    finally:
        server.shutdown()
        thread.join()


def peer(**options: Any) -> contextlib.AbstractContextManager[Any]:
    return running(serve(describe_and_echo, "127.0.0.1", 0, **options))


def received_request(ws: syncws.client.WebSocket) -> tuple[str, dict[str, str]]:
    """The path and the header fields that the server says it got."""
    message = ws.receive(timeout=TIMEOUT)
    assert isinstance(message, str)
    path, fields = json.loads(message)
    return path, dict(fields)


def assert_works(ws: syncws.client.WebSocket) -> None:
    with ws:
        received_request(ws)
        ws.send("wörds")
        assert ws.receive(timeout=TIMEOUT) == "wörds"
        ws.send(b"\x00\xff")
        assert ws.receive(timeout=TIMEOUT) == b"\x00\xff"


def answering(answer: bytes, *, ends: bool = True) -> Script:
    """A server that gives this answer to whatever request; it then ends, or waits for the client to do that."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        if ends:
            drain(sock)
        else:
            wait_for_end(sock)

    return script


def wait_for_end(sock: socket.socket) -> None:
    """Wait until the client has closed its socket; a failure if it does not."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass


def response(status: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]).encode() + body


def switching(sock: socket.socket, *fields: str) -> bytes:
    """Read a request; return the answer that accepts it."""
    head = read_head(sock)
    key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_value(key)}", *fields, "", ""]).encode()


# --- The connection that is asked for ---


def test_plain_connection() -> None:
    with peer() as (host, port):
        ws = connect(f"ws://{host}:{port}/ch%C3%A4t?room=1")
        assert ws.path == "/ch%C3%A4t"
        assert ws.remote_address == (host, port)
        path, fields = received_request(ws)
        assert path == "/ch%C3%A4t?room=1"
        assert fields["Host"] == f"{host}:{port}"
        assert fields["User-Agent"] == "syncws"
        assert not {"Origin", "Authorization", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} & fields.keys()
        ws.close(3000, "enough")
        assert (ws.close_code, ws.close_reason) == (3000, "enough")


def test_messages() -> None:
    with peer() as (host, port):
        assert_works(connect(f"ws://{host}:{port}", timeout=None))


def test_subprotocol_and_compression() -> None:
    with (
        peer(subprotocols=["b", "c"]) as (host, port),
        connect(f"ws://{host}:{port}", subprotocols=["a", "b"], compression=True) as ws,
    ):
        assert ws.subprotocol == "b"
        assert ws.extensions[0].startswith("permessage-deflate")
        assert received_request(ws)[1]["Sec-WebSocket-Protocol"] == "a, b"
        ws.send("x" * 10_000)
        assert ws.receive(timeout=TIMEOUT) == "x" * 10_000


def test_extra_headers() -> None:
    with peer() as (host, port):
        headers = {"Origin": "https://example.com", "Cookie": "a=1", "user-agent": "test"}
        with connect(f"ws://{host}:{port}", headers=headers) as ws:
            fields = received_request(ws)[1]
            assert "User-Agent" not in fields
            assert headers.items() <= fields.items()


def test_userinfo_is_sent_as_basic_authentication() -> None:
    with peer() as (host, port):
        with connect(f"ws://üser:p%40ss@{host}:{port}") as ws:
            scheme, _, value = received_request(ws)[1]["Authorization"].partition(" ")
            assert (scheme, base64.b64decode(value).decode()) == ("Basic", "üser:p@ss")
        with connect(f"ws://user:pass@{host}:{port}", headers=[("authorization", "Bearer token")]) as ws:
            fields = received_request(ws)[1]
            assert fields["authorization"] == "Bearer token"
            assert "Authorization" not in fields


def test_options_hold_for_the_connection() -> None:
    with peer() as (host, port), connect(f"ws://{host}:{port}", max_message_size=1000) as ws:
        received_request(ws)
        ws.send(b"x" * 1001)
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive(timeout=TIMEOUT)
        assert caught.value.code == 1009


def test_ipv6() -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with running(serve(describe_and_echo, sock=listener)) as address, connect(f"ws://[::1]:{address[1]}/") as ws:
        assert received_request(ws)[1]["Host"] == f"[::1]:{address[1]}"


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with running(unix_serve(describe_and_echo, path)):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        with connect("ws://localhost/x", sock=sock) as ws:
            path, fields = received_request(ws)
            assert (path, fields["Host"]) == ("/x", "localhost")
        assert sock.fileno() == -1


def test_frame_in_the_packet_of_the_answer() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(switching(sock) + b"\x81\x02hi\x88\x02\x03\xe8")
        drain(sock)

    with scripted(script) as port:
        assert list(connect(f"ws://127.0.0.1:{port}/")) == ["hi"]


def test_answer_byte_by_byte_after_an_interim_response() -> None:
    def script(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + switching(sock) + b"\x88\x00":
            sock.sendall(bytes([byte]))
        drain(sock)

    with scripted(script) as port:
        assert list(connect(f"ws://127.0.0.1:{port}/")) == []


# --- TLS ---


def test_tls(authority: trustme.CA, client_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(ssl=server_context(authority, "localhost")) as address:
        assert_works(connect(f"wss://localhost:{address[1]}/", ssl=client_context))
        resolve_to(monkeypatch, address)
        assert_works(connect("wss://localhost./", ssl=client_context))


def test_tls_verifies_with_the_systems_authorities(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with peer(ssl=server_context(authority, "127.0.0.1")) as (host, port):
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(f"wss://{host}:{port}/")
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert_works(connect(f"wss://{host}:{port}/"))


def test_tls_checks_the_name(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    context = server_context(authority, "server.example")
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, context: names.append(name)
    with peer(ssl=context) as (_, port):
        with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
            connect(f"wss://localhost:{port}/", ssl=client_context)
        assert_works(connect(f"wss://localhost:{port}/", ssl=client_context, server_hostname="server.example"))
    assert names == ["localhost", "server.example"]


def test_given_socket_for_tls(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    with peer(ssl=server_context(authority, "localhost")) as address:
        assert_works(connect("wss://localhost/", ssl=client_context, sock=socket.create_connection(address)))
        sock = client_context.wrap_socket(socket.create_connection(address), server_hostname="localhost")
        assert_works(connect("wss://localhost/", sock=sock))


def test_tls_to_a_server_without_it() -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        drain(sock)

    with scripted(script) as port, pytest.raises(ssl.SSLError):
        connect(f"wss://127.0.0.1:{port}/")


def test_no_tls_to_a_server_with_it(authority: trustme.CA) -> None:
    with (
        peer(ssl=server_context(authority, "localhost")) as (host, port),
        pytest.raises((HandshakeError, ConnectionResetError)),
    ):
        connect(f"ws://{host}:{port}/")


# --- The network fails ---


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_refused() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://127.0.0.1:{unused_port()}/")


def test_unknown_host() -> None:
    with pytest.raises(socket.gaierror):
        connect("ws://no-such-host.invalid/")


def test_reset() -> None:
    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with scripted(script) as port, pytest.raises(ConnectionResetError):
        connect(f"ws://127.0.0.1:{port}/")


@contextlib.contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """An address that does not answer to a TCP connection: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [(*kind, address) for address in addresses])


def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with peer() as address, silent_address() as silent:
        refusing = ("127.0.0.1", unused_port())
        resolve_to(monkeypatch, refusing, address)
        assert_works(connect("ws://several.example/"))
        resolve_to(monkeypatch, silent, address)
        assert_works(connect("ws://several.example/", timeout=1.0))
        resolve_to(monkeypatch, silent, refusing)
        with pytest.raises(ConnectionRefusedError):
            connect("ws://several.example/", timeout=0.5)


# --- The deadline ---


def test_timeout_of_the_tcp_connection() -> None:
    with silent_address() as (host, port):
        message = rf"ws://{host}:{port}/ was not open within 0.1 s; the TCP connection to {host} port {port} took"
        with pytest.raises(TimeoutError, match=message):
            connect(f"ws://user:secret@{host}:{port}/", timeout=0.1)


@pytest.mark.parametrize(
    ("scheme", "step"), [("ws", "the server's answer to the opening handshake"), ("wss", "the TLS handshake with 127")]
)
def test_timeout_of_a_silent_server(scheme: str, step: str) -> None:
    with scripted(wait_for_end) as port, pytest.raises(TimeoutError, match=rf"{step}.* took too long"):
        connect(f"{scheme}://127.0.0.1:{port}/", timeout=0.1)


def test_timeout_holds_for_all_steps_together() -> None:
    # Two redirects and then an answer without an end: no single wait is long.
    def redirect(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(response("302 Found", "Location: /again"))
        wait_for_end(sock)

    def trickle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(b"x")
                sock.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1):
                        return

    with (
        scripted(redirect, redirect, trickle) as port,
        pytest.raises(TimeoutError, match=r"the server's answer .* took too long"),
    ):
        connect(f"ws://127.0.0.1:{port}/", timeout=0.3, max_redirects=2)


def test_timeout_of_zero() -> None:
    with pytest.raises(TimeoutError, match="within 0 s"):
        connect("ws://127.0.0.1/", timeout=0)


def gives_up(*args: Any) -> int:
    """The system call of an operating system that gives up, as when packets are not acknowledged for minutes."""
    raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")


def test_timeout_of_the_operating_system_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", gives_up)
    with pytest.raises(TimeoutError) as caught:
        connect("ws://127.0.0.1/")
    assert caught.value.errno == errno.ETIMEDOUT


def test_timeout_of_the_operating_system_on_an_open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        monkeypatch.setattr("syncws.transport.Descriptor", PureDescriptor)
        monkeypatch.setattr(socket.socket, "send", gives_up)
        # Not a TimeoutError: those are for the timeouts of this library.
        with pytest.raises(ConnectionAbortedError) as caught:
            connect("ws://localhost/", sock=sock)
        assert caught.value.errno == errno.ETIMEDOUT
        assert sock.fileno() == -1


# --- The server refuses ---


def test_refusal_by_status() -> None:
    def forbid(ws: ServerConnection, request: Any) -> Any:
        return ws.respond(403, "you are not on the list\n")

    with (
        peer(process_request=forbid) as (host, port),
        pytest.raises(HandshakeError, match=r"the server answered 403 'Forbidden' instead of 101") as caught,
    ):
        connect(f"ws://user:secret@{host}:{port}/x")
    assert caught.value.status == 403
    assert ("Content-Type", "text/plain; charset=utf-8") in caught.value.headers
    assert caught.value.body == b"you are not on the list\n"
    assert str(caught.value).startswith(f"ws://{host}:{port}/x: ")


CHUNKED = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (response("401 Unauthorized", body=b"x" * 1023), b"x" * 1023),
        (response("401 Unauthorized", body=b"x" * 1024), b"x" * 1024),
        (response("401 Unauthorized", body=b"x" * 100_000), b"x" * 1024),
        (response("404 Not Found", body=b"no") + b"rest", b"no"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n" + b"x" * 5000, b"x" * 1024),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nshort", b"short"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (CHUNKED + b"4\r\nover\r\n5\r\nload \r\n0\r\n\r\n", b"overload "),
        (CHUNKED + b"4\r\nover\r\nnonsense\r\n", b"over"),
        (CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n", b"x" * 1024),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_body_of_a_refusal(answer: bytes, body: bytes) -> None:
    # The answer whole, and in two packets at the end of its head.
    end_of_head = answer.index(b"\r\n\r\n") + 4

    def in_two_parts(sock: socket.socket) -> None:
        read_head(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(answer[:end_of_head])
        with contextlib.suppress(ConnectionError):
            sock.sendall(answer[end_of_head:])
        drain(sock)

    for script in (answering(answer), in_two_parts):
        with scripted(script) as port, pytest.raises(HandshakeError) as caught:
            connect(f"ws://127.0.0.1:{port}/")
        assert caught.value.status == int(answer[9:12])
        assert caught.value.body == body


@pytest.mark.parametrize("timeout", [0.2, None])
def test_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    # The head has said what happened: that the rest is missing must not hide it.
    monkeypatch.setattr(syncws.client_body, "_BODY_WAIT", 10.0 if timeout else 0.2)
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf"
    with scripted(answering(answer, ends=False)) as port, pytest.raises(HandshakeError) as caught:
        connect(f"ws://127.0.0.1:{port}/", timeout=timeout)
    assert (caught.value.status, caught.value.body) == (403, b"half")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "not a valid HTTP response"),
        (b"HTTP/1.1 101 Switching Pro", "not a valid HTTP response"),
        (b"HTTP/1.1 101 x\r\nX: " + b"x" * 70_000, "not a valid HTTP response"),
    ],
)
def test_no_http_response(answer: bytes, message: str) -> None:
    with scripted(answering(answer)) as port, pytest.raises(HandshakeError, match=message) as caught:
        connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="], "Sec-WebSocket-Accept"),
        (["Sec-WebSocket-Protocol: other"], "subprotocol 'other'"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], "not offered"),
    ],
)
def test_unacceptable_answer(fields: list[str], message: str) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(switching(sock, *fields))
        wait_for_end(sock)

    with scripted(script) as port, pytest.raises(HandshakeError, match=message) as caught:
        connect(f"ws://127.0.0.1:{port}/", subprotocols=["chat"])
    assert caught.value.status == 101
    assert ("Upgrade", "websocket") in caught.value.headers
    assert caught.value.body == b""


# --- Redirects ---


@contextlib.contextmanager
def redirecting(status: int, location: str, **options: Any) -> Iterator[int]:
    """A server that redirects every path but /end; yields its port, which ``{port}`` in the location stands for."""

    def redirect(ws: ServerConnection, request: Any) -> Any:
        if request.path == "/end":
            return None
        answer = ws.respond(status, "moved")
        answer.headers["Location"] = location.format(port=ws.socket.getsockname()[1])
        return answer

    with peer(process_request=redirect, **options) as (_, port):
        yield port


def test_redirects_are_refused_by_default() -> None:
    with (
        redirecting(302, "/end") as port,
        pytest.raises(HandshakeError, match=r"302, a redirect to '/end'; .*max_redirects") as caught,
    ):
        connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.status == 302
    assert ("Location", "/end") in caught.value.headers
    assert caught.value.body == b"moved"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/end", "end", "ws://127.0.0.1:{port}/end", "http://127.0.0.1:{port}/end#x"])
def test_redirects_are_followed_on_request(status: int, location: str) -> None:
    with (
        redirecting(status, location) as port,
        connect(f"ws://user:pass@127.0.0.1:{port}/", max_redirects=1, headers={"Cookie": "a=1"}) as ws,
    ):
        path, fields = received_request(ws)
        assert ws.path == path == "/end"
        assert fields["Cookie"] == "a=1"
        assert fields["Authorization"].startswith("Basic ")


def test_too_many_redirects() -> None:
    with (
        redirecting(302, "/again") as port,
        pytest.raises(HandshakeError, match=r"redirect to '/again'.*max_redirects"),
    ):
        connect(f"ws://127.0.0.1:{port}/", max_redirects=3)


@pytest.mark.parametrize("status", [300, 304])
def test_other_3xx_are_no_redirects(status: int) -> None:
    with redirecting(status, "/end") as port, pytest.raises(HandshakeError, match=f"answered {status}") as caught:
        connect(f"ws://127.0.0.1:{port}/", max_redirects=1)
    assert caught.value.status == status


def test_redirect_without_location() -> None:
    with (
        scripted(answering(response("302 Found"))) as port,
        pytest.raises(HandshakeError, match="answered 302 'Found' instead of 101"),
    ):
        connect(f"ws://127.0.0.1:{port}/", max_redirects=1)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "mailto:x", "ws://h:0/", "http://[/"])
def test_redirect_to_something_else(location: str) -> None:
    with (
        redirecting(302, location) as port,
        pytest.raises(HandshakeError, match="which is not a WebSocket URI") as caught,
    ):
        connect(f"ws://127.0.0.1:{port}/", max_redirects=1)
    assert caught.value.status == 302


def test_credentials_stay_with_their_origin() -> None:
    headers = [("Authorization", "Bearer token"), ("cookie", "a=1"), ("X-Kept", "yes")]
    with peer() as (host, other), redirecting(307, f"ws://{host}:{other}/end") as port:
        with connect(f"ws://127.0.0.1:{port}/", headers=headers, max_redirects=1) as ws:
            fields = received_request(ws)[1]
        assert fields["X-Kept"] == "yes"
        assert not {"authorization", "cookie"} & {name.lower() for name in fields}
        with connect(f"ws://user:pass@127.0.0.1:{port}/", max_redirects=1) as ws:
            assert "Authorization" not in received_request(ws)[1]


def test_redirect_from_ws_to_wss(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    with peer(ssl=server_context(authority, "localhost")) as (_, secure):
        with redirecting(301, f"https://localhost:{secure}/end") as port:
            assert_works(connect(f"ws://127.0.0.1:{port}/", max_redirects=1, ssl=client_context))
        # The name that was given is the first server's, not that of the one that it redirects to.
        context = server_context(authority, "first.example")
        with redirecting(301, f"wss://localhost:{secure}/end", ssl=context) as port:
            uri = f"wss://127.0.0.1:{port}/"
            assert_works(connect(uri, max_redirects=1, ssl=client_context, server_hostname="first.example"))


def test_redirect_to_wss_on_the_same_host_keeps_the_name(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    with (
        peer(ssl=server_context(authority, "server.example")) as (host, secure),
        redirecting(301, f"wss://{host}:{secure}/end") as port,
    ):
        uri = f"ws://{host}:{port}/"
        assert_works(connect(uri, max_redirects=1, ssl=client_context, server_hostname="server.example"))


def test_redirect_from_wss_to_ws_is_refused(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    with (
        redirecting(302, "ws://localhost/", ssl=server_context(authority, "localhost")) as port,
        pytest.raises(HandshakeError, match="a redirect from wss to ws://localhost/: not secure"),
    ):
        connect(f"wss://localhost:{port}/", max_redirects=1, ssl=client_context)


# --- Proxies ---


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks5", "socks4a", "socks4"])
def test_proxies(authority: trustme.CA, client_context: ssl.SSLContext, scheme: str) -> None:
    require_module("python_socks")
    with tunnel_proxy() as proxy:
        url = f"{scheme}://{proxy.address()}"
        with peer() as (host, port):
            assert_works(connect(f"ws://{host}:{port}/", proxy=url))
        with peer(ssl=server_context(authority, "localhost")) as (host, port):
            assert_works(connect(f"wss://localhost:{port}/", proxy=url, ssl=client_context))
        assert len(proxy.requests) == 2


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    require_module("python_socks")
    with tunnel_proxy(("user", "pass")) as proxy, peer() as (host, port):
        monkeypatch.setenv("http_proxy", f"http://{proxy.address(userinfo='user:pass@')}")
        assert_works(connect(f"ws://{host}:{port}/"))
        assert proxy.requests == [("http", host, port, "user:pass")]
        assert_works(connect(f"ws://{host}:{port}/", proxy=None))
        assert_works(connect(f"ws://{host}:{port}/", sock=socket.create_connection((host, port))))
        monkeypatch.setenv("no_proxy", host)
        assert_works(connect(f"ws://{host}:{port}/"))
        assert len(proxy.requests) == 1


def test_proxy_written_by_others() -> None:
    require_module("python_socks")
    require_module("proxy")
    import proxy

    with (
        proxy.Proxy(["--hostname", "127.0.0.1", "--port", "0", "--num-workers", "1", "--num-acceptors", "1"]) as other,
        peer() as (host, port),
    ):
        assert_works(connect(f"ws://{host}:{port}/", proxy=f"http://127.0.0.1:{other.flags.port}"))


def test_refusal_by_the_proxy() -> None:
    require_module("python_socks")
    with (
        scripted(answering(response("302 Found", "Location: ws://captive.example/"))) as port,
        pytest.raises(HandshakeError, match=r"the proxy http://.* did not connect to server.example:80") as caught,
    ):
        connect("ws://server.example/", proxy=f"http://127.0.0.1:{port}", max_redirects=5)
    assert caught.value.status == 302


def test_proxy_that_is_not_there() -> None:
    require_module("python_socks")
    with pytest.raises(ConnectionRefusedError):
        connect("ws://server.example/", proxy=f"socks5h://127.0.0.1:{unused_port()}")


def test_proxy_that_is_silent() -> None:
    require_module("python_socks")
    with (
        scripted(wait_for_end) as port,
        pytest.raises(TimeoutError, match=rf"the answer of the proxy http://127.0.0.1:{port} took too long"),
    ):
        connect("ws://server.example/", proxy=f"http://127.0.0.1:{port}", timeout=0.1)


# --- Wrong use ---


@pytest.mark.parametrize(
    ("uri", "arguments", "error", "message"),
    [
        ("http://localhost/", {}, ValueError, "begins with ws://"),
        (None, {}, TypeError, "must be a str"),
        ("ws://localhost/", {"headers": {"X": "a\r\nY: b"}}, ValueError, "character '\\\\r'"),
        ("ws://localhost/", {"headers": {"Host": "other"}}, ValueError, "cannot be set by hand"),
        ("ws://localhost/", {"subprotocols": "chat"}, TypeError, "must be a sequence"),
        ("ws://localhost/", {"timeout": -1}, ValueError, "must be at least 0"),
        ("ws://localhost/", {"timeout": "10"}, TypeError, "must be a number"),
        ("ws://localhost/", {"open_timeout": 1}, TypeError, "has timeout in the place of open_timeout"),
        ("ws://localhost/", {"origins": None}, TypeError, "option of servers"),
        ("ws://localhost/", {"compresion": True}, TypeError, "no option 'compresion'"),
        ("ws://localhost/", {"max_redirects": -1}, ValueError, "at least 0"),
        ("ws://localhost/", {"max_redirects": True}, TypeError, "must be an int, not True"),
        ("ws://localhost/", {"max_redirects": None}, TypeError, "must be an int"),
        ("ws://localhost/", {"ssl": ssl.create_default_context()}, ValueError, "for wss:// only"),
        ("ws://localhost/", {"server_hostname": "x"}, ValueError, "for wss:// only"),
        ("wss://localhost/", {"ssl": True}, TypeError, "must be an ssl.SSLContext"),
        ("ws://localhost/", {"proxy": "ftp://proxy"}, ValueError, "proxy's URL begins with"),
        ("ws://localhost/", {"proxy": False}, TypeError, "proxy must be a URL"),
    ],
)
def test_wrong_arguments(uri: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        connect(uri, **arguments)


@pytest.mark.parametrize("arguments", [{"proxy": "http://proxy"}, {"max_redirects": 1}])
def test_arguments_that_do_not_go_with_a_socket(arguments: dict[str, Any]) -> None:
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="sock"):
            connect("ws://localhost/", sock=sock, **arguments)
        assert sock.fileno() != -1
