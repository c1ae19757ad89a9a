"""A site with its WebSockets on a second port, behind the real nginx and HAProxy, as the documentation shows it.

The proxies run with the files of ``examples/``, in which only the ports are replaced. The first port is served by
waitress, which keeps connections to itself; the second by ``python -m syncws serve``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hosts.clients import Answer, ask, connect, opened
from hosts.runners import Host, Served, free_port, serving
from raw_client import CLOSE, TEXT, WS_FIELDS, frame, request
from support import require_tool

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
MIB = 2**20

WAITRESS = Host(
    "waitress",
    "",
    "waitress",
    "waitress --listen=127.0.0.1:{port} hosts.app:app",
    packages=("waitress",),
    ordinary=r"INFO waitress .*",
)
GRANIAN = Host(
    "granian",
    "",
    "Granian",
    "granian --interface wsgi --host 127.0.0.1 --port {port} hosts.app:app",
    packages=("granian",),
)
SECOND_PORT = Host(
    "second-port",
    "",
    "syncws",
    "syncws serve hosts.app:app --bind 127.0.0.1:{port}",
    ordinary=r"listening on .*|INFO .*",
)
# Only what a file of /etc/nginx/conf.d does not say: how nginx itself runs.
NGINX_CONF = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


class Site(NamedTuple):
    """The proxy, and the two servers behind it."""

    proxy: Served
    app: Served
    websockets: Served


def nginx(directory: Path, configured: Callable[[str], str]) -> Host:
    """nginx with the configuration of the documentation."""
    (directory / "site.conf").write_text(configured((EXAMPLES / "nginx.conf").read_text()))
    (directory / "nginx.conf").write_text(NGINX_CONF.format(directory=directory))
    return Host("nginx", "", "nginx", "-c {directory}/nginx.conf -e stderr", program=find("nginx"))


def haproxy(directory: Path, configured: Callable[[str], str]) -> Host:
    """HAProxy with the configuration of the documentation."""
    (directory / "haproxy.cfg").write_text(configured((EXAMPLES / "haproxy.cfg").read_text()))
    return Host("haproxy", "", "HAProxy", "-db -q -f {directory}/haproxy.cfg", program=find("haproxy"))


def find(program: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    require_tool(program, path)
    assert path is not None
    return path


PROXIES = {"nginx": nginx, "haproxy": haproxy}


@contextlib.contextmanager
def running_site(proxy: str, directory: Path, silence: str = "1h") -> Iterator[Site]:
    """The two servers, and a proxy in front of them.

    :param silence: how long the proxy lets a WebSocket be silent.
    """
    with serving(WAITRESS, directory) as app, serving(SECOND_PORT, directory) as second:
        port = free_port()

        def configured(text: str) -> str:
            for pattern, replacement in (
                (r"127\.0\.0\.1:8000", f"127.0.0.1:{app.address[1]}"),
                (r"127\.0\.0\.1:8001", f"127.0.0.1:{second.address[1]}"),
                (r"listen 80;", f"listen 127.0.0.1:{port};"),
                (r"bind :80\b", f"bind 127.0.0.1:{port}"),
                (r"\b1h\b", silence),
            ):
                text = re.sub(pattern, replacement, text)
            return text

        with serving(PROXIES[proxy](directory, configured), directory, port=port) as front:
            yield Site(front, app, second)


@pytest.fixture(scope="module", params=PROXIES)
def site(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Behind each of the proxies in turn."""
    with running_site(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_logged(request: Any) -> Iterator[None]:
    """No server logs anything in these tests, unless they ask for it."""
    yield
    if "site" in request.fixturenames:
        for served in request.getfixturevalue("site"):
            assert served.unexpected() == ""


def test_echo(site: Site) -> None:
    with connect(site.proxy, "/echo") as ws:
        for message in ("hello", b"\x00\xff", "x" * 100_000):
            ws.send(message)
            assert ws.receive() == message


def test_big_message(site: Site) -> None:
    message = bytes(range(256)) * (8 * MIB // 256)
    with connect(site.proxy, "/echo") as ws:
        ws.send(message)
        assert ws.receive() == message


def test_first_frame_with_the_request(site: Site) -> None:
    with opened(site.proxy, "/echo", glued=frame(TEXT, b"hello")) as client:
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (TEXT, b"hello")


def test_close_codes_pass_through(site: Site) -> None:
    with opened(site.proxy, "/close") as client:
        frames = [client.read_frame(), client.read_frame()]
        assert [each and each.payload for each in frames] == [b"last", (4321).to_bytes(2, "big") + b"done"]
        client.send(frame(CLOSE, (4321).to_bytes(2, "big")))
        assert client.read_to_end() == b""
    with opened(site.proxy, "/echo") as client:
        client.send(frame(CLOSE, (3456).to_bytes(2, "big")))
        assert client.read_close() == 3456


def test_plain_http_goes_to_the_first_port(site: Site) -> None:
    with site.proxy.connect() as client:
        response = ask(client, "GET / HTTP/1.1")
        assert (response.status, response.body) == (200, b"hello")
    # The two apps have a memory each: the handler runs on the second port only.
    with opened(site.proxy, "/closed?key=somebody") as client:
        assert client.read_frame() is not None
        assert site.proxy.get("/running") == site.app.get("/running") == "0"
        assert site.websockets.get("/running") == "1"
        assert site.proxy.get("/") == "hello"
        client.close_normally()


@pytest.mark.parametrize("status", [401, 404])
def test_refused_by_the_app(site: Site, status: int) -> None:
    with site.proxy.connect() as client:
        client.send(request(*WS_FIELDS, line=f"GET /{status} HTTP/1.1"))
        response = Answer.to(client)
        assert (response.status, response.body) == (status, b"not for you")


def test_origin_is_compared_with_the_host_that_the_proxy_sends_on(site: Site) -> None:
    port = site.proxy.address[1]
    fields = [f"Host: localhost:{port}", *WS_FIELDS[1:]]
    for scheme, origin, status in (
        ("http", f"localhost:{port}", 101),
        ("http", "localhost", 403),
        ("https", "evil.example", 403),
    ):
        with site.proxy.connect() as client:
            client.send(request(*fields, f"Origin: {scheme}://{origin}", line="GET /echo HTTP/1.1"))
            assert client.read_response().status == status
    entries = site.websockets.take_entries(r"evil\.example.*\n")
    assert entries.count("pass origins=") == 2, entries


def test_headers(site: Site) -> None:
    with connect(site.proxy, "/tell", subprotocols=["chat.v1"], headers={"Cookie": "user=me"}) as ws:
        assert ws.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
        told = json.loads(ws.receive())
    assert (told["cookie"], told["subprotocol"]) == ("user=me", "chat.v1")
    assert told["forwarded"] == "127.0.0.1"


@pytest.mark.parametrize("proxy", PROXIES)
def test_silence_is_what_the_timeout_of_the_configuration_is_about(proxy: str, tmp_path: Path) -> None:
    with running_site(proxy, tmp_path, silence="1s") as site, opened(site.proxy, "/closed?key=me") as client:
        assert client.read_frame() is not None
        assert client.read_to_end() == b""
        assert site.websockets.wait_for("/ended?key=me") == "ConnectionClosed 1006"


@pytest.mark.parametrize("host", [WAITRESS, GRANIAN], ids=lambda host: host.name)
def test_hosts_that_keep_the_connection_to_themselves_say_so(host: Host, tmp_path: Path) -> None:
    with serving(host, tmp_path) as served, served.connect() as client:
        client.send(request(*WS_FIELDS, line="GET /echo HTTP/1.1"))
        assert Answer.to(client).status == 500
        entry = served.take_entries(r"RuntimeError: .*\n")
        assert re.search(rf"RuntimeError: {host.title}.*python -m syncws serve.*howto/behind-a-proxy", entry), entry
