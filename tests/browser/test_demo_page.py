"""The demo page in Chromium: somebody else's WebSocket client, and what a person sees of it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from browser.pages import join, lines, opened, say, wait_for_state
from commands import Server, running

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# Echo.


def test_echo(page: Page) -> None:
    echo = page.locator("#echo")
    for number, text in enumerate(["hello", "Grüße 🙂", "<b>not bold</b>", ""]):
        say(echo, "Message", text)
        reply = lines(echo, "received").nth(number)
        reply.wait_for()
        assert reply.locator(".text").text_content() == text
        assert re.fullmatch(r"\d+\.\d ms", reply.locator(".note").text_content() or "")


def test_echo_of_bytes(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_label("Send as").select_option("binary")
    say(echo, "Message", "Aé")
    reply = lines(echo, "received").first
    reply.wait_for()
    assert reply.locator(".text").text_content() == "41 c3 a9"
    assert (reply.locator(".note").text_content() or "").startswith("3 B, ")


def test_ping_and_fragments(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_role("button", name="Ping").click()
    lines(echo, "received").filter(has_text="The pong came after").wait_for()
    echo.get_by_role("button", name="Fragments").click()
    lines(echo, "received").filter(has_text="one message in five frames").wait_for()


def test_compression_takes_another_handshake(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_label("Compression").check()
    lines(echo, "info").filter(has_text="connected").nth(1).wait_for()
    say(echo, "Message", "hello")
    lines(echo, "received").filter(has_text="hello").wait_for()
    assert page.locator("#banner").is_hidden()


@pytest.mark.parametrize(
    "button, code, reason, shown",
    [
        ("Close from this page", "1000", "", "Last close: 1000 (normal closure)."),
        ("Close from this page", "4001", "lunch", "Last close: 4001 (for applications)."),
        ("Let the server close", "1011", "broken", "Last close: 1011 (internal error), “broken”."),
        ("Let the server close", "3000", "", "Last close: 3000 (registered or library code)."),
    ],
)
def test_close_codes(page: Page, button: str, code: str, reason: str, shown: str) -> None:
    echo = page.locator("#echo")
    echo.get_by_text("Close with a code").click()
    echo.get_by_label("Close code").fill(code)
    echo.get_by_label("Reason").fill(reason)
    echo.get_by_role("button", name=button).click()
    # Not "reconnecting": somebody wanted it.
    wait_for_state(echo, "closed")
    # RFC 6455, 5.5.1: the answer to a close frame has its code; whether it repeats the reason is left open.
    assert (echo.locator("output").text_content() or "").replace(", “lunch”", "") == shown
    assert echo.get_by_role("button", name="Send", exact=True).get_attribute("aria-disabled") == "true"
    echo.get_by_role("button", name="Connect", exact=True).click()
    wait_for_state(echo, "open")
    say(echo, "Message", "again")
    lines(echo, "received").filter(has_text="again").wait_for()


def test_close_codes_that_cannot_be_sent(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_text("Close with a code").click()
    echo.get_by_label("Close code").fill("1005")
    echo.get_by_role("button", name="Close from this page").click()
    lines(echo, "error").filter(has_text="1005").wait_for()
    echo.get_by_role("button", name="Let the server close").click()
    lines(echo, "received").filter(has_text="cannot close like that").wait_for()
    wait_for_state(echo, "open")


@pytest.mark.parametrize(
    "script, expected",
    [
        ("socket.close(4002, 'mine')", [4002, None, True]),
        ("socket.close()", [1005, "", True]),
        ("socket.send('/close 4003 yours')", [4003, "yours", True]),
        ("socket.send('x'.repeat(1048577))", [1009, None, True]),
    ],
)
def test_close_codes_as_javascript_sees_them(page: Page, script: str, expected: list[object]) -> None:
    code, reason, clean = page.evaluate(
        f"""() => new Promise((resolve) => {{
            const socket = new WebSocket(new URL("echo", location.href.replace("http", "ws")));
            socket.onopen = () => {{ {script}; }};
            socket.onclose = (event) => resolve([event.code, event.reason, event.wasClean]);
        }})"""
    )
    assert [code, reason if expected[1] is not None else None, clean] == expected


# Chat.


def test_chat_between_two_tabs(context: BrowserContext, demo: Server) -> None:
    ada = join(opened(context, demo), "Ada")
    grace = join(opened(context, demo), "Grace")
    for tab in (ada, grace):
        tab.locator(".people li").nth(1).wait_for()
        assert tab.locator(".people li").all_text_contents() == ["Ada", "Grace"]
    say(ada, "Message to everybody", "Hello <i>Grace</i>")
    assert lines(grace, "received").locator(".text").text_content() == "Ada Hello <i>Grace</i>"
    lines(ada, "sent").filter(has_text="Hello").wait_for()
    say(grace, "Message to everybody", "Hello Ada")
    assert lines(ada, "received").locator(".text").text_content() == "Grace Hello Ada"
    grace.get_by_role("button", name="Leave").click()
    wait_for_state(grace, "closed")
    lines(ada, "info").filter(has_text="Grace left").wait_for()
    grace.get_by_text("You are not in the chat.").wait_for()
    assert ada.locator(".people li").all_text_contents() == ["Ada"]
    assert "1000" in (grace.locator("output").text_content() or "")


def test_same_name_in_two_tabs(context: BrowserContext, demo: Server) -> None:
    join(opened(context, demo), "Twin")
    second = join(opened(context, demo), "Twin")
    lines(second, "info").filter(has_text="Twin 2 joined").wait_for()
    assert second.get_by_label("Your name").input_value() == "Twin 2"


# Ticker.

NEW_LINE = "(before) => document.querySelector('.price-line').getAttribute('points') !== before"


def test_line_of_the_ticker_moves(page: Page) -> None:
    line = page.locator("#ticker .price-line")
    line.wait_for()
    before = line.get_attribute("points") or ""
    assert len(before.split()) == 60
    words = page.locator("#ticker svg").get_attribute("aria-label") or ""
    assert re.fullmatch(
        r"Line of the last 60 prices, between \d+\.\d\d and \d+\.\d\d; the newest is \d+\.\d\d, .* \d+\.\d\d\.", words
    )
    page.wait_for_function(NEW_LINE, arg=before)
    assert page.locator("#ticker svg").get_attribute("aria-label") != words
    assert re.fullmatch(r"\d+\.\d\d", page.locator("#ticker [data-part=price]").text_content() or "")


def test_ticker_pauses(page: Page) -> None:
    ticker = page.locator("#ticker")
    ticker.get_by_role("button", name="Pause").click()
    ticker.get_by_role("button", name="Resume").click()
    before = ticker.locator(".price-line").get_attribute("points")
    page.wait_for_function(NEW_LINE, arg=before)


def test_ticker_as_a_table(page: Page) -> None:
    ticker = page.locator("#ticker")
    ticker.get_by_text("The last ten as a table").click()
    assert ticker.locator("tbody tr").count() == 10


# The server goes and comes back.


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, "1001 (going away)"), (signal.SIGKILL, "1006")])
def test_page_reconnects_by_itself(
    context: BrowserContext, complaints: list[str], number: signal.Signals, code: str
) -> None:
    with running("demo", "--port", "0") as demo:
        port = demo.url.rstrip("/").rpartition(":")[2]
        page = opened(context, demo)
        chat = join(page, "Ada")
        demo.stop(number)
        banner, news = page.locator("#banner"), page.locator("#news")
        banner.filter(has_text="The server cannot be reached.").wait_for()
        news.filter(has_text="Connection lost. The page tries again").wait_for(state="attached")
        for panel in (page.locator("#echo"), chat):
            wait_for_state(panel, "reconnecting")
            assert code in (panel.locator("output").text_content() or "")
        banner.filter(has_text=re.compile(r"Trying again in \d+ s\.")).wait_for()
    with running("demo", "--port", port):
        for panel in (page.locator("#echo"), chat, page.locator("#ticker"), page.locator("#inspector")):
            wait_for_state(panel, "open")
        news.filter(has_text="Connected again.").wait_for(state="attached")
        say(page.locator("#echo"), "Message", "back")
        lines(page.locator("#echo"), "received").filter(has_text="back").wait_for()
        assert chat.locator(".people li").all_text_contents() == ["Ada"]
    # The browser itself tells of each try that failed, as it should.
    refused = [text for text in complaints if "ERR_CONNECTION_REFUSED" in text or "ERR_CONNECTION_RESET" in text]
    assert refused == complaints
    complaints.clear()


def test_whoever_disconnects_stays_so(context: BrowserContext, complaints: list[str]) -> None:
    with running("demo", "--port", "0") as demo:
        page = opened(context, demo)
        echo = page.locator("#echo")
        demo.stop(signal.SIGTERM)
        wait_for_state(echo, "reconnecting")
        echo.get_by_role("button", name="Disconnect").click()
        wait_for_state(echo, "closed")
        page.get_by_role("button", name="Try now").click()
        wait_for_state(page.locator("#ticker"), "reconnecting")
        wait_for_state(echo, "closed")
    page.close()
    complaints.clear()


def test_page_loads_nothing_from_elsewhere(context: BrowserContext, demo: Server) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(context, demo)
    join(page, "Ada")
    page.wait_for_load_state("networkidle")
    assert demo.url in asked
    assert [url for url in asked if not url.startswith(demo.url)] == []
