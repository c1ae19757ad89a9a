"""``syncws trace`` between Chromium and a server that is not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import DEADLINE
from support import require_module
from traces import SESSION, tracing
from wire import Running, wait_until

from syncws.trace import annotated, read_recording, render_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = b"<!DOCTYPE html><title>A page</title>"
TALK = """url => new Promise((resolve, reject) => {
    const ws = new WebSocket(url, ["chat"]);
    ws.onopen = () => ws.send("Grüße, Grüße, Grüße, Grüße, Grüße, Grüße");
    ws.onmessage = (event) => { ws.close(4000, "enough"); ws.onclose = (close) => resolve([event.data, close.code]); };
    ws.onerror = () => reject("it does not open");
})"""


@contextlib.contextmanager
def foreign_server() -> Iterator[int]:
    """A server of the package websockets, with a page, which takes only that page's connections; its port."""
    require_module("websockets")
    from websockets.datastructures import Headers
    from websockets.http11 import Request, Response
    from websockets.sync.server import serve

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    def answer(connection: Any, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            host = request.headers["Host"]
            return None if request.headers["Origin"] == f"http://{host}" else connection.respond(403, "foreign\n")
        fields = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE))), ("Connection", "close")]
        return Response(200, "OK", Headers(fields), PAGE)

    with serve(echo, "127.0.0.1", 0, process_request=answer, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        with Running(server.serve_forever):
            yield server.socket.getsockname()[1]
            server.shutdown()


@pytest.mark.parametrize("through_the_proxy", [False, True], ids=["page of the server", "page through the proxy"])
def test_chromium_and_a_server_that_is_not_ours(browser: Browser, tmp_path: Path, through_the_proxy: bool) -> None:
    output = tmp_path / "out"
    with foreign_server() as port, tracing(f"ws://127.0.0.1:{port}/", output) as (_, url):
        context = browser.new_context()
        context.set_default_timeout(DEADLINE * 1000)
        page = context.new_page()
        page.goto(url.replace("ws", "http", 1) if through_the_proxy else f"http://127.0.0.1:{port}/")
        assert page.evaluate(TALK, url) == ["Grüße, Grüße, Grüße, Grüße, Grüße, Grüße", 4000]
        wait_until(lambda: output.read_text().count("close, 8 bytes: 4000") == 2)
        context.close()
    text = output.read_text()
    assert "PROBLEM: " not in text.replace("PROBLEM: the connection ends", "")
    assert text.count("Grüße, Grüße") >= 4
    assert "the message is compressed" in text, "Chromium and websockets agree to permessage-deflate"
    assert f"Origin: http://127.0.0.1:{port}\n" in text
    assert "Sec-WebSocket-Protocol: chat" in text
    assert 'close, 8 bytes: 4000 "enough"' in text
    assert ("Content-Type: text/html" in text) is through_the_proxy


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_session(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    """It needs no script and no other file, opens by keyboard, and does not scroll sideways on a phone."""
    with open(SESSION / "session.jsonl") as file:
        (tmp_path / "page.html").write_text(render_html(annotated(read_recording(file)), "A session"))
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": 360, "height": 640}, java_script_enabled=False, offline=True
    )
    context.set_default_timeout(DEADLINE * 1000)
    requests: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "A session"
    assert not page.get_by_text("what the server has made of the key").is_visible()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").wait_for()
    assert len(requests) == 1
    context.close()
    # Layout is measured in a context with scripts.
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 640})
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
