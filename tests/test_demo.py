"""The demo app: its page and the files beside it, over the network with the clients of others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

import pytest
import requests
from commands import DEADLINE, Server, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

ENDPOINTS = ["echo", "chat", "ticker", "inspector"]
TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
FILES = sorted(file.name for file in resources.files("syncws.demo").iterdir() if file.name.rpartition(".")[2] in TYPES)


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


def url_of(demo: Server, file: str) -> str:
    return demo.url + ("" if file == "page.html" else file)


@pytest.mark.parametrize("file", FILES)
def test_files(demo: Server, file: str) -> None:
    response = requests.get(url_of(demo, file), timeout=DEADLINE)
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == TYPES[file.rpartition(".")[2]]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.content == resources.files("syncws.demo").joinpath(file).read_bytes()
    assert int(response.headers["Content-Length"]) == len(response.content)


def test_page(demo: Server) -> None:
    response = requests.get(demo.url, timeout=DEADLINE)
    assert response.text.startswith("<!doctype html>")
    assert "<title>syncws demo" in response.text


@pytest.mark.parametrize("file", FILES)
def test_files_need_nothing_from_elsewhere(demo: Server, file: str) -> None:
    response = requests.get(url_of(demo, file), timeout=DEADLINE)
    # Links that a person may follow, in "a" elements and to sections of RFCs, are no files that are needed.
    addresses = re.findall(r"""<(?:link|script|img)[^>]* (?:src|href)="([^"]*)""", response.text)
    addresses += re.findall(r"""(?:from|import|url\()\s*["']?([./]\S*?)["')]""", response.text)
    assert {address.lstrip("./") for address in addresses} <= set(FILES)
    # The browser enforces it: it may load nothing but what this server sends, and run nothing within the page.
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy


def test_page_has_no_code_or_style_in_it() -> None:
    page = resources.files("syncws.demo").joinpath("page.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", page)


def test_head_of_the_page(demo: Server) -> None:
    response = requests.head(demo.url, timeout=DEADLINE)
    assert response.status_code == 200
    assert int(response.headers["Content-Length"]) > 1000
    assert response.content == b""


def test_page_takes_no_other_method(demo: Server) -> None:
    response = requests.post(demo.url, data="x", timeout=DEADLINE)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["favicon.ico", "app.py", "__init__.py", "page.html", "../page.css"])
def test_other_paths_are_not_found(demo: Server, path: str) -> None:
    request = requests.Request("GET", demo.url).prepare()
    request.url = demo.url + path  # as it is, with its dots
    response = requests.Session().send(request, timeout=DEADLINE)
    assert response.status_code == 404
    assert "/echo, /chat, /ticker and /inspector" in response.text


@pytest.mark.parametrize("path", ENDPOINTS)
def test_endpoints_ask_for_an_upgrade(demo: Server, path: str) -> None:
    response = requests.get(demo.url + path, timeout=DEADLINE)
    assert response.status_code == 426
    assert response.headers["Upgrade"].lower() == "websocket"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_pages_of_others_are_refused(demo: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(demo.ws_url + path, origin="https://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
