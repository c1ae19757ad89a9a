"""The demo page's inspector in Chromium: what really passed, taken apart bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser.pages import frames, join, lines, opened, say, wait_for_state
from commands import Server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page


def detail(page: Page) -> Locator:
    return page.get_by_role("region", name="The chosen frame")


def rows(table: Locator) -> dict[str, list[str]]:
    """The cells of each row of a table, by its first one."""
    cells = [row.locator("th, td").all_text_contents() for row in table.locator("tbody tr").all()]
    return {first: others for first, *others in cells}


def test_bits_of_a_frame(page: Page) -> None:
    say(page.locator("#echo"), "Message", "Hello")
    frames(page, "echo", "from the client", "Hello").click()
    shown = detail(page)
    shown.get_by_role("heading", name="text frame, 5 B").wait_for()
    bits = shown.locator(".bit-group")
    # RFC 6455, 5.2, and the frame of 5.7 that everybody begins with.
    assert bits.locator(".label").all_text_contents() == [
        *("FIN", "RSV1", "RSV2", "RSV3", "opcode", "MASK", "payload length", "masking key")
    ]
    digits = [text.strip() for text in bits.locator(".digits").all_text_contents()]
    assert digits[:-1] == ["1", "0", "0", "0", "0001", "1", "0000101"]
    parts = rows(shown.locator("table.parts"))
    assert list(parts) == bits.locator(".label").all_text_contents()
    assert parts["payload length"][0] == "5"
    assert parts["MASK"][2] == "§ 5.1"
    assert (
        shown.locator("table.parts a").first.get_attribute("href")
        == "https://www.rfc-editor.org/rfc/rfc6455#section-5.2"
    )
    unmasked = rows(shown.locator("table.xor"))
    assert unmasked["payload"] == ["48", "65", "6c", "6c", "6f"]
    assert unmasked["as ASCII"] == list("Hello")
    for wire, key, plain in zip(unmasked["on the wire"], unmasked["masking key"], unmasked["payload"], strict=True):
        assert int(wire, 16) ^ int(key, 16) == int(plain, 16)
    assert digits[-1].split() == unmasked["masking key"][:4]


def test_answer_is_not_masked(page: Page) -> None:
    say(page.locator("#echo"), "Message", "Hello")
    frames(page, "echo", "from the server", "Hello").click()
    shown = detail(page)
    shown.get_by_role("heading", name="text frame, 5 B").wait_for()
    assert shown.get_by_text("masking key", exact=True).count() == 0
    shown.get_by_text("48 65 6c 6c 6f", exact=True).wait_for()
    shown.get_by_text("81 05 48 65 6c 6c 6f", exact=True).wait_for()


def test_handshake_is_shown_at_first(page: Page) -> None:
    shown = detail(page)
    shown.get_by_text("✓ That is what it has answered.").wait_for()
    steps = [step.locator("code").text_content() or "" for step in shown.locator(".steps li").all()]
    assert len(steps[0]) == 24
    assert steps[1] == steps[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert len(bytes.fromhex(steps[2])) == 20
    assert rows(shown.locator("table.fields"))["Sec-WebSocket-Accept"][0] == steps[3]
    frames(page, "GET /echo").click()
    shown.get_by_role("heading", name="Opening handshake: the request").wait_for()
    assert rows(shown.locator("table.fields"))["Sec-WebSocket-Key"][0] == steps[0]


def test_control_frames_and_fragments(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_role("button", name="Ping").click()
    frames(page, "echo", "pong", "still there?").click()
    detail(page).get_by_role("heading", name="pong frame").wait_for()
    echo.get_by_role("button", name="Fragments").click()
    frames(page, "continuation").nth(4).wait_for()
    frames(page, "continuation").first.click()
    assert rows(detail(page).locator("table.parts"))["FIN"][0] == "0"
    echo.get_by_text("Close with a code").click()
    echo.get_by_label("Reason").fill("enough")
    echo.get_by_role("button", name="Close from this page").click()
    frames(page, "echo", "from the client", "4000 enough").click()
    detail(page).get_by_text("close code: 4000, for applications, with the reason “enough”").wait_for()


def test_compressed_frames(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_label("Compression").check()
    lines(echo, "info").filter(has_text="connected").nth(1).wait_for()
    say(echo, "Message", 20 * "ha")
    frames(page, "echo", "from the client", "hahaha").click()
    assert rows(detail(page).locator("table.parts"))["RSV1"][0] == "1"
    detail(page).get_by_role("heading", name="Payload, compressed").wait_for()
    detail(page).get_by_text(20 * "ha", exact=True).wait_for()


def test_long_frames(page: Page) -> None:
    say(page.locator("#echo"), "Message", 70_000 * "x")
    frames(page, "echo", "from the server", "70000 B").click()
    parts = rows(detail(page).locator("table.parts"))
    assert parts["payload length"][0] == "127"
    assert parts["extended payload length"][0] == "70000"
    detail(page).get_by_text("Longer than what is shown here.").wait_for()


def test_tabs_do_not_see_each_others_frames(context: BrowserContext, demo: Server) -> None:
    ada, grace = opened(context, demo), opened(context, demo)
    say(ada.locator("#echo"), "Message", "for nobody else")
    say(grace.locator("#echo"), "Message", "something")
    frames(ada, "for nobody else").nth(1).wait_for()
    frames(grace, "something").nth(1).wait_for()
    assert frames(grace, "for nobody else").count() == 0


def test_filters(page: Page) -> None:
    join(page, "Ada")
    say(page.locator("#echo"), "Message", "hello")
    frames(page, "chat", "welcome").wait_for()
    inspector = page.locator("#inspector")
    for name in ("echo", "ticker"):
        inspector.get_by_role("checkbox", name=name).uncheck()
    assert set(inspector.locator(".frame:visible .endpoint").all_text_contents()) == {"chat"}
    inspector.get_by_role("checkbox", name="echo").check()
    frames(page, "echo", "hello").first.wait_for()


def test_hold_and_clear(page: Page) -> None:
    inspector = page.locator("#inspector")
    inspector.get_by_role("checkbox", name="ticker").uncheck()
    inspector.get_by_role("button", name="Hold").click()
    say(page.locator("#echo"), "Message", "held back")
    lines(page.locator("#echo"), "received").filter(has_text="held back").wait_for()
    assert frames(page, "held back").count() == 0
    inspector.get_by_role("button", name="Go on").click()
    frames(page, "held back").nth(1).wait_for()
    inspector.get_by_role("button", name="Clear").click()
    assert inspector.locator(".frame:visible").count() == 0
    wait_for_state(inspector, "open")
