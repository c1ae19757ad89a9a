"""The demo page in Chromium: somebody else's WebSocket client, and what a person sees of it."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from commands import DEADLINE, Server, running
from support import require_module, require_tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Text and what it stands on, as custom properties of the page.
TEXT_COLOURS = [
    ("text", "card"),
    ("text", "sunken"),
    ("soft", "card"),
    ("soft", "page"),
    ("soft", "sunken"),
    ("accent", "card"),
    ("accent", "sunken"),
    ("accent", "accent-soft"),
    ("on-accent", "accent"),
    ("good", "card"),
    ("wait", "card"),
    ("bad", "sunken"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_module("playwright")
    chromium = shutil.which("chromium")
    require_tool("chromium, a browser", chromium)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's profile; what its pages complain about fails the test."""
    context = browser.new_context()
    context.set_default_timeout(DEADLINE * 1000)
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


@pytest.fixture
def page(context: BrowserContext, demo: Server) -> Page:
    return opened(context, demo)


def opened(context: BrowserContext, demo: Server) -> Page:
    """Open the page, and wait until its echo is connected."""
    page = context.new_page()
    page.goto(demo.url)
    wait_for_state(page.locator("#echo"), "open")
    return page


def wait_for_state(panel: Locator, state: str) -> None:
    panel.get_by_role("status").filter(has_text=re.compile(f"^{state}$")).wait_for()


def say(panel: Locator, label: str, text: str) -> None:
    panel.get_by_label(label, exact=True).fill(text)
    panel.get_by_role("button", name="Send", exact=True).click()


def join(page: Page, name: str) -> Locator:
    chat = page.locator("#chat")
    chat.get_by_label("Your name").fill(name)
    chat.get_by_role("button", name="Join").click()
    wait_for_state(chat, "open")
    return chat


def lines(panel: Locator, kind: str) -> Locator:
    """The lines of the panel's log that are sent, received, info or error."""
    return panel.locator(f".log .{kind}")


# What the page does.


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


@pytest.mark.parametrize(
    "button, code, reason, shown",
    [
        ("Close from this page", "1000", "", "Last close: 1000 (normal closure), clean."),
        ("Close from this page", "4001", "lunch", "Last close: 4001 (for applications), clean."),
        ("Let the server close", "1011", "broken", "Last close: 1011 (internal error), reason “broken”, clean."),
        ("Let the server close", "3000", "", "Last close: 3000 (registered or library code), clean."),
    ],
)
def test_close_codes(page: Page, button: str, code: str, reason: str, shown: str) -> None:
    echo = page.locator("#echo")
    echo.get_by_label("Close code").fill(code)
    echo.get_by_label("Reason").fill(reason)
    echo.get_by_role("button", name=button).click()
    wait_for_state(echo, "closed")
    # RFC 6455, 5.5.1: the answer to a close frame has its code; whether it repeats the reason is left open.
    assert (echo.locator("output").text_content() or "").replace(", reason “lunch”", "") == shown
    assert echo.get_by_role("button", name="Send", exact=True).get_attribute("aria-disabled") == "true"
    echo.get_by_role("button", name="Connect", exact=True).click()
    wait_for_state(echo, "open")
    say(echo, "Message", "again")
    lines(echo, "received").filter(has_text="again").wait_for()


def test_close_codes_that_cannot_be_sent(page: Page) -> None:
    echo = page.locator("#echo")
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


def test_server_that_stops_says_so(context: BrowserContext) -> None:
    with running("demo", "--port", "0") as demo:
        page = opened(context, demo)
        chat = join(page, "Ada")
        assert demo.stop(signal.SIGTERM) == 0
        for panel in (page.locator("#echo"), chat):
            wait_for_state(panel, "closed")
            assert "Last close: 1001 (going away)" in (panel.locator("output").text_content() or "")


def test_chat_between_two_tabs(context: BrowserContext, demo: Server) -> None:
    ada = join(opened(context, demo), "Ada")
    grace = join(opened(context, demo), "Grace")
    for tab in (ada, grace):
        tab.get_by_text("In the chat: Ada, Grace", exact=True).wait_for()
    say(ada, "Message to everybody", "Hello <i>Grace</i>")
    assert lines(grace, "received").locator(".text").text_content() == "Ada: Hello <i>Grace</i>"
    lines(ada, "sent").filter(has_text="Hello").wait_for()
    say(grace, "Message to everybody", "Hello Ada")
    assert lines(ada, "received").locator(".text").text_content() == "Grace: Hello Ada"
    grace.get_by_role("button", name="Leave").click()
    wait_for_state(grace, "closed")
    lines(ada, "info").filter(has_text="Grace left").wait_for()
    ada.get_by_text("In the chat: Ada", exact=True).wait_for()
    assert "1000" in (grace.locator("output").text_content() or "")


def test_same_name_in_two_tabs(context: BrowserContext, demo: Server) -> None:
    join(opened(context, demo), "Twin")
    second = join(opened(context, demo), "Twin")
    lines(second, "info").filter(has_text="Twin 2 joined").wait_for()
    assert second.get_by_label("Your name").input_value() == "Twin 2"


def test_page_loads_nothing_from_elsewhere(context: BrowserContext, demo: Server) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(context, demo)
    join(page, "Ada")
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith("data:")] == [demo.url]


# How it can be used.


def test_keyboard_is_enough(page: Page) -> None:
    echo = page.locator("#echo")
    for _ in range(3):  # the button to disconnect, the log, the message
        page.keyboard.press("Tab")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    lines(echo, "received").filter(has_text="typed").wait_for()
    assert focused(page) == "INPUT text"
    chat = page.locator("#chat")
    chat.get_by_label("Your name").focus()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    wait_for_state(chat, "open")
    page.keyboard.type("from the keyboard")
    page.keyboard.press("Enter")
    lines(chat, "sent").filter(has_text="from the keyboard").wait_for()


def test_focus_is_kept_when_a_button_cannot_be_used(page: Page) -> None:
    echo = page.locator("#echo")
    button = echo.get_by_role("button", name="Close from this page")
    button.focus()
    page.keyboard.press("Enter")
    wait_for_state(echo, "closed")
    assert focused(page) == "BUTTON "
    page.keyboard.press("Enter")
    lines(echo, "error").filter(has_text="Not connected").wait_for()


def focused(page: Page) -> object:
    return page.evaluate("`${document.activeElement.tagName} ${document.activeElement.name}`")


def test_screen_reader_finds_names_and_news(page: Page) -> None:
    for name in ("Echo", "Chat"):
        panel = page.get_by_role("region", name=name, exact=True)
        assert panel.get_by_role("status", name=f"{name} connection").count() == 1
        assert panel.get_by_role("log", name=f"{name} messages").count() == 1
    unnamed = page.evaluate(
        "Array.from(document.querySelectorAll('input, select, button'))"
        ".filter((control) => !(control.textContent.trim() || control.labels?.length)).length"
    )
    assert unnamed == 0
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(page: Page, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    names = sorted({name for pair in TEXT_COLOURS for name in pair})
    values = page.evaluate(
        "(names) => names.map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name))",
        names,
    )
    luminances = dict(zip(names, map(luminance, values), strict=True))
    contrasts = {pair: contrast(luminances[pair[0]], luminances[pair[1]]) for pair in TEXT_COLOURS}
    assert {pair: value for pair, value in contrasts.items() if value < 4.5} == {}


def luminance(colour: str) -> float:
    """Relative luminance of a colour like #0b6b74."""
    channels = [value / 255 for value in bytes.fromhex(colour.strip().removeprefix("#"))]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_fits_every_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    say(page.locator("#echo"), "Message", 300 * "x")
    lines(page.locator("#echo"), "received").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
