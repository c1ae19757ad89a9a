"""WSGIServer as plain HTTP: ``requests``, curl, and a sample app under ``wsgiref.validate``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from interop.peers import Authority
from support import require_module, require_tool
from wire import DEADLINE, Running

import syncws

MIB = 2**20
LARGE = bytes(range(256)) * 8 * 4096


class App:
    """A WSGI app of a few pages; ``ports`` has the client's port of each request."""

    def __init__(self, directory: Path) -> None:
        self.ports: list[str] = []
        self.lock = threading.Lock()
        self.file = directory / "large.bin"
        self.file.write_bytes(LARGE)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self.lock:
            self.ports.append(environ.get("REMOTE_PORT", ""))
        page = getattr(self, "page_" + environ["PATH_INFO"].strip("/"))
        result: Iterable[bytes] = page(environ, start_response)
        return result

    def page_hello(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]

    def page_chunked(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start : start + 100_000]

    def page_written(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"one ")
        write(b"two ")
        return [b"three"]

    def page_file(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(LARGE)))])
        return FileWrapper(self.file.open("rb"), 65536)

    def page_digest(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        digest, size, body = hashlib.sha256(), 0, environ["wsgi.input"]
        left = int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH") else None
        while piece := body.read(65536 if left is None else min(left - size, 65536)):
            digest.update(piece)
            size += len(piece)
        text = f"{size} {digest.hexdigest()}".encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]

    def page_lines(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        count = str(len(environ["wsgi.input"].readlines())).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(count)))])
        return [count]

    def page_refused(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("413 Content Too Large", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [b"no\n"]

    def page_gone(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("204 No Content", [])
        return []


def digest(data: bytes) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


@pytest.fixture(params=[False, True], ids=["plain", "validated"])
def url(app: App, request: pytest.FixtureRequest) -> Iterator[str]:
    """The app's server; with and without wsgiref.validate, which answers 500 if server or app break a rule."""
    served: Any = validator(app) if request.param else app
    with syncws.WSGIServer(("127.0.0.1", 0), served) as server, Running(server.serve_forever):
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def session() -> Iterator[Any]:
    require_module("requests")
    import requests

    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize(
    ("page", "body"),
    [("hello", b"hello"), ("chunked", LARGE), ("written", b"one two three"), ("file", LARGE), ("gone", b"")],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_download(session: Any, url: str, method: str, page: str, body: bytes) -> None:
    answer = session.request(method, f"{url}/{page}", timeout=DEADLINE)
    assert answer.ok
    assert answer.content == (b"" if method == "HEAD" else body)


def test_connection_is_kept_alive(session: Any, url: str, app: App) -> None:
    for _ in range(3):
        assert session.get(f"{url}/hello", timeout=DEADLINE).content == b"hello"
        assert session.head(f"{url}/chunked", timeout=DEADLINE).ok
        assert session.get(f"{url}/chunked", timeout=DEADLINE).content == LARGE
        assert session.get(f"{url}/gone", timeout=DEADLINE).status_code == 204
        assert session.post(f"{url}/digest", data=LARGE, timeout=DEADLINE).text == digest(LARGE)
        assert session.post(f"{url}/digest", data=iter([b"a", b"bc"]), timeout=DEADLINE).ok
        assert session.post(f"{url}/hello", data=b"not read by the app", timeout=DEADLINE).content == b"hello"
    assert len(app.ports) == 21
    assert len(set(app.ports)) == 1


def test_connection_is_closed_on_request(session: Any, url: str, app: App) -> None:
    for _ in range(2):
        answer = session.get(f"{url}/chunked", headers={"Connection": "close"}, timeout=DEADLINE)
        assert answer.content == LARGE
        assert answer.headers["Connection"] == "close"
    assert len(set(app.ports)) == 2


@pytest.mark.parametrize("size", [0, 1, 65536, 8 * MIB])
def test_upload(session: Any, url: str, size: int) -> None:
    body = LARGE[:size]
    assert session.post(f"{url}/digest", data=body, timeout=DEADLINE).text == digest(body)


def test_chunked_upload(session: Any, app: App) -> None:
    # Not under wsgiref.validate: only wsgi.input_terminated, which PEP 3333 does not have, tells that it may be read.
    with syncws.WSGIServer(("127.0.0.1", 0), app) as server, Running(server.serve_forever):
        url = f"http://127.0.0.1:{server.server_address[1]}"
        pieces = [LARGE[start : start + 70_000] for start in range(0, len(LARGE), 70_000)]
        assert session.post(f"{url}/digest", data=iter(pieces), timeout=DEADLINE).text == digest(LARGE)
        assert session.post(f"{url}/lines", data=iter([b"a\nb", b"c\n", b"d"]), timeout=DEADLINE).text == "3"
        server.shutdown()


def test_https(session: Any, app: App, authority: Authority) -> None:
    with syncws.WSGIServer(("127.0.0.1", 0), app, ssl=authority.server) as server, Running(server.serve_forever):
        session.verify = authority.authority_file
        url = f"https://127.0.0.1:{server.server_address[1]}"
        assert session.get(f"{url}/chunked", timeout=DEADLINE).content == LARGE
        assert session.post(f"{url}/digest", data=LARGE, timeout=DEADLINE).text == digest(LARGE)
        assert len(set(app.ports)) == 1
        session.close()
        server.shutdown()


def curl(*arguments: str, data: bytes = b"") -> str:
    command = shutil.which("curl")
    require_tool("curl", command)
    assert command is not None
    limits = ["--silent", "--show-error", "--noproxy", "*", "--max-time", str(DEADLINE)]
    done = subprocess.run([command, *limits, *arguments], input=data, capture_output=True, timeout=2 * DEADLINE)
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_curl_waits_for_100_continue(url: str, app: App, framing: str, request: pytest.FixtureRequest) -> None:
    if framing == "chunked" and "validated" in request.node.name:
        framing = "Content-Length"
    fields = ["-H", "Expect: 100-continue"] + (["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else [])
    # Curl goes on by itself after this time, which is more than it may take.
    patient = ["--expect100-timeout", str(2 * DEADLINE)]
    output = curl("-v", *patient, *fields, "--data-binary", "@-", f"{url}/digest", data=LARGE)
    assert "< HTTP/1.1 100 Continue" in output
    assert digest(LARGE) in output


def test_curl_is_refused_before_it_sends_a_body(url: str) -> None:
    patient = ["--expect100-timeout", str(2 * DEADLINE)]
    output = curl("-v", *patient, "-H", "Expect: 100-continue", "--data-binary", "@-", f"{url}/refused", data=LARGE)
    assert "100 Continue" not in output
    assert "< HTTP/1.1 413 Content Too Large" in output
    assert output.count("HTTP/1.1 413") == 1


def test_curl_http_1_0(url: str) -> None:
    assert curl("--http1.0", f"{url}/written") == "one two three"


def test_curl_asks_for_h2c(url: str) -> None:
    assert curl("--http2", f"{url}/hello") == "hello"
