"""syncws.proxy: which proxy is used, and what comes of asking it for a connection."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
import threading
import time

import pytest
from proxies import TIMEOUT, drain, read_head, scripted, tunnel_proxy
from support import require_module

from syncws.errors import HandshakeError
from syncws.proxy import Proxy, choose_proxy, open_tunnel, time_left
from syncws.uri import parse_uri

VARIABLES = ["http", "https", "socks", "all", "no", "ws", "wss"]


@pytest.fixture(autouse=True)
def needs_python_socks() -> None:
    require_module("python_socks")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def soon() -> float:
    return time.monotonic() + TIMEOUT


def echo_once(sock: socket.socket) -> None:
    sock.sendall(sock.recv(100))


def assert_echoes(sock: socket.socket) -> None:
    with sock:
        sock.settimeout(TIMEOUT)
        sock.sendall(b"through the tunnel")
        assert sock.recv(100) == b"through the tunnel"


# --- choose_proxy ---


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("HTTP://Proxy.Example/", Proxy("http", "proxy.example", 80)),
        ("proxy:8080", Proxy("http", "proxy", 8080)),
        ("socks5://proxy", Proxy("socks5", "proxy", 1080)),
        ("socks5h://user:p%40ss@[::1]:9050", Proxy("socks5h", "::1", 9050, ("user", "p@ss"))),
        ("socks4://proxy", Proxy("socks4", "proxy", 1080)),
        ("socks4a://user@proxy:1?x#y", Proxy("socks4a", "proxy", 1, ("user", ""))),
        ("http://user:pässword@proxy", Proxy("http", "proxy", 80, ("user", "pässword"))),
    ],
)
def test_given_proxy(url: str, proxy: Proxy) -> None:
    assert choose_proxy(parse_uri("ws://server/"), url) == proxy


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://proxy:1", "proxy: a proxy's URL begins with http://, socks4://.*, not with 'https'"),
        ("", "proxy: the host is missing"),
        ("http://:3128", "proxy: the host is missing"),
        ("http://proxy:port", "proxy: port 'port'"),
        ("http://user:näme€@proxy", "HTTP proxies do not take"),
        ("socks5://user:näme@proxy", "SOCKS5 proxies do not take"),
        ("socks5://user@proxy", "SOCKS5 proxy takes a user name and a password of 1 to 255"),
        (f"socks5://user:{'p' * 256}@proxy", "1 to 255"),
    ],
)
def test_bad_proxy_url(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_proxy(parse_uri("ws://server/"), url)


@pytest.mark.parametrize("proxy", [False, 8080, b"http://proxy"])
def test_proxy_of_another_type(proxy: object) -> None:
    with pytest.raises(TypeError, match=r"proxy must be a URL, True .* or None"):
        choose_proxy(parse_uri("ws://server/"), proxy)  # type: ignore[arg-type]


def test_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_proxy(parse_uri("ws://server/"), True) is None
    monkeypatch.setenv("http_proxy", "http://proxy")
    assert choose_proxy(parse_uri("ws://server/"), None) is None


@pytest.mark.parametrize(
    ("uri", "variables", "url"),
    [
        ("ws://server/", {"http_proxy": "http://a", "https_proxy": "http://b", "all_proxy": "http://c"}, "http://a:80"),
        ("wss://server/", {"http_proxy": "http://a", "HTTPS_PROXY": "http://b:1"}, "http://b:1"),
        ("wss://server/", {"http_proxy": "http://a"}, None),
        ("ws://server/", {"https_proxy": "http://b"}, None),
        ("ws://server/", {"all_proxy": "socks5h://c", "socks_proxy": "socks5://d"}, "socks5://d:1080"),
        ("wss://server/", {"ALL_PROXY": "socks5h://c"}, "socks5h://c:1080"),
        ("ws://server/", {"all_proxy": "c:3128"}, "http://c:3128"),
        ("ws://server/", {"all_proxy": "http://c", "no_proxy": "server"}, None),
        ("ws://a.server/", {"all_proxy": "http://c", "no_proxy": "x, server"}, None),
        ("ws://server:81/", {"all_proxy": "http://c", "no_proxy": "server:81"}, None),
        ("ws://server:81/", {"all_proxy": "http://c", "no_proxy": "server:82"}, "http://c:80"),
        ("ws://[::1]:81/", {"all_proxy": "http://c", "no_proxy": "::1"}, None),
        ("ws://[::1]:81/", {"all_proxy": "http://[::2]", "no_proxy": "[::2]"}, "http://[::2]:80"),
        ("ws://[::1]:81/", {"all_proxy": "http://c", "no_proxy": "[::1]"}, None),
        ("ws://server/", {"all_proxy": "http://c", "no_proxy": "*"}, None),
    ],
)
def test_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, uri: str, variables: dict[str, str], url: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = choose_proxy(parse_uri(uri), True)
    assert (str(proxy) if proxy else None) == url


def test_bad_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "ftp://user:secret@proxy")
    with pytest.raises(ValueError, match=r"https_proxy of the environment: .*not with 'ftp'") as caught:
        choose_proxy(parse_uri("wss://server/"), True)
    assert "secret" not in str(caught.value)


def test_without_python_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("python_socks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "python_socks", None)
    uri = parse_uri("ws://user:secret@server/")
    assert choose_proxy(uri, True) is None
    with pytest.raises(ImportError, match=r"pip install 'syncws\[proxy\]'; or pass proxy=None") as caught:
        choose_proxy(uri, "http://user:secret@proxy")
    assert "through the proxy http://proxy:80" in str(caught.value)
    assert "secret" not in str(caught.value)


# --- open_tunnel ---


@pytest.mark.parametrize(
    ("scheme", "host", "asked"),
    [
        ("http", "localhost", ("http", "localhost")),
        ("http", "127.0.0.1", ("http", "127.0.0.1")),
        ("socks5", "localhost", ("socks5", "127.0.0.1")),
        ("socks5h", "localhost", ("socks5", "localhost")),
        ("socks4", "localhost", ("socks4", "127.0.0.1")),
        ("socks4a", "localhost", ("socks4", "localhost")),
    ],
)
def test_tunnel(scheme: str, host: str, asked: tuple[str, str]) -> None:
    with scripted(echo_once) as port, tunnel_proxy() as server:
        proxy = Proxy(scheme, "127.0.0.1", server.server_address[1])
        assert_echoes(open_tunnel(connected(proxy.port), proxy, host, port, soon()))
        assert server.requests == [(*asked, port, "")]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_tunnel_to_an_ipv6_address(scheme: str) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener, tunnel_proxy() as server:
        proxy = Proxy(scheme, "127.0.0.1", server.server_address[1])
        with open_tunnel(connected(proxy.port), proxy, "::1", listener.getsockname()[1], soon()):
            listener.settimeout(TIMEOUT)
            listener.accept()[0].close()
        assert server.requests[0][1] == "::1"


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_user_name_and_password(scheme: str) -> None:
    with scripted(echo_once) as port, tunnel_proxy(("user", "pass:word")) as server:
        proxy = Proxy(scheme, "127.0.0.1", server.server_address[1], ("user", "pass:word"))
        assert_echoes(open_tunnel(connected(proxy.port), proxy, "127.0.0.1", port, None))
        assert server.requests[0][3] == "user:pass:word"


@pytest.mark.parametrize(
    ("scheme", "status", "message"),
    [
        ("http", 407, "the proxy http://127.0.0.1:[0-9]+ did not connect to server:80: '407 Proxy Auth.*Required'"),
        ("socks5", 0, "the proxy socks5h://127.0.0.1:[0-9]+ did not connect to server:80: '.*authentication failure'"),
    ],
)
def test_wrong_password(scheme: str, status: int, message: str) -> None:
    with tunnel_proxy(("user", "right")) as server:
        name = "socks5h" if scheme == "socks5" else scheme
        proxy = Proxy(name, "127.0.0.1", server.server_address[1], ("user", "wrong"))
        sock = connected(proxy.port)
        with pytest.raises(HandshakeError, match=message) as caught:
            open_tunnel(sock, proxy, "server", 80, soon())
        assert caught.value.status == status
        assert sock.fileno() == -1


def test_a_proxy_whose_answer_has_a_name_that_is_not_utf8() -> None:
    def answer(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"\x05\x00")
        sock.recv(100)
        sock.sendall(b"\x05\x00\x00\x03\x02\xff\xff\x7a\x7a")

    with scripted(answer) as port:
        with pytest.raises(HandshakeError, match=r"did not connect to server:80: .*utf-8") as caught:
            open_tunnel(connected(port), Proxy("socks5h", "127.0.0.1", port), "server", 80, soon())
        assert caught.value.status == 0


def test_bytes_behind_the_answer_belong_to_the_tunnel() -> None:
    def answer(sock: socket.socket) -> None:
        assert read_head(sock).startswith("CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nthe server speaks first")

    with scripted(answer) as port:
        sock = open_tunnel(connected(port), Proxy("http", "127.0.0.1", port), "server", 80, soon())
        with sock:
            assert sock.recv(100) == b"the server speaks first"


@pytest.mark.parametrize(
    ("scheme", "answer", "message"),
    [
        ("http", b"", "closed the connection without a whole answer"),
        ("http", b"HTTP/1.1 200 OK\r\n", "closed the connection without a whole answer"),
        ("http", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "head of more than 16384 bytes"),
        ("http", b"SSH-2.0\r\n\r\n", "did not connect to server:80"),
        ("http", b"HTTP/1.1 502 \x1b[2J\xff\r\n\r\n", r"'502 \\x1b\[2J\\udcff'"),
        ("socks5h", b"", "did not connect to server:80"),
        ("socks5h", b"\x05\xff", "did not connect to server:80"),
        ("socks5h", b"\x05\x00\x05\x05\x00", "[Cc]onnection refused by destination host"),
        ("socks4a", b"\x00\x5b" + bytes(6), "[Rr]equest rejected"),
        ("socks4a", b"HTTP/1.1 400 Bad Request\r\n\r\n", "did not connect to server:80"),
    ],
)
def test_refusals_and_nonsense(scheme: str, answer: bytes, message: str) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(answer)
        drain(sock)

    with scripted(script) as port:
        with pytest.raises(HandshakeError, match=message) as caught:
            open_tunnel(connected(port), Proxy(scheme, "127.0.0.1", port), "server", 80, soon())
        str(caught.value).encode()


def test_random_answers_raise_documented_errors() -> None:
    chance = random.Random(6455)
    for _ in range(200):
        scheme = chance.choice(["http", "socks4a", "socks5h"])
        start = {"http": b"HTTP/1.1 ", "socks4a": b"\x00\x5a", "socks5h": b"\x05\x00\x05\x00\x00"}[scheme]
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(start[: chance.randrange(len(start) + 1)] + chance.randbytes(chance.randrange(30)))
            theirs.shutdown(socket.SHUT_WR)
            with contextlib.suppress(HandshakeError):
                open_tunnel(ours, Proxy(scheme, "proxy", 1), "server", 80, soon()).close()


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks4a"])
def test_deadline_counts_for_all_waits_together(scheme: str) -> None:
    # A proxy that sends a byte of an endless answer now and then: no single wait is long.
    stop = threading.Event()

    def trickle(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            sock.sendall({"http": b"HTTP/1.1 200 OK\r\nX: ", "socks5h": b"\x05", "socks4a": b"\x00"}[scheme])
            while not stop.wait(0.01):
                if scheme == "http":
                    sock.sendall(b"x")

    with scripted(trickle) as port:
        sock = connected(port)
        try:
            with pytest.raises(TimeoutError, match="timed out"):
                open_tunnel(sock, Proxy(scheme, "127.0.0.1", port), "server", 80, time.monotonic() + 0.2)
        finally:
            stop.set()
        assert sock.fileno() == -1


def test_name_that_cannot_be_looked_up() -> None:
    with tunnel_proxy() as server:
        proxy = Proxy("socks4", "127.0.0.1", server.server_address[1])
        with pytest.raises(socket.gaierror):
            open_tunnel(connected(proxy.port), proxy, "no-such-host.invalid", 80, soon())


def test_lost_connection() -> None:
    def reset(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with scripted(reset) as port, pytest.raises(ConnectionResetError):
        open_tunnel(connected(port), Proxy("http", "127.0.0.1", port), "server", 80, soon())


def test_time_left() -> None:
    assert time_left(None) is None
    left = time_left(time.monotonic() + 1000)
    assert left is not None
    assert 0 < left <= 1000
    with pytest.raises(TimeoutError):
        time_left(time.monotonic() - 1)
