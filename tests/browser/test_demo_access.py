"""The demo page for everybody: by keyboard, with a screen reader, on a phone, in light and in dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.pages import axe_source, frames, join, lines, opened, say, tab_to, wait_for_state
from commands import Server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SCHEMES = ["light", "dark"]
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 1000)}
# Text and what it stands on, as custom properties of the page.
TEXT_COLOURS = [
    *(("text", place) for place in ("card", "sunken", "accent-soft")),
    *(("soft", place) for place in ("card", "page", "sunken", "accent-soft")),
    *(("accent", place) for place in ("card", "sunken", "accent-soft")),
    ("on-accent", "accent"),
    *((state, "card") for state in ("good", "wait", "bad")),
    ("bad", "sunken"),
    ("bad", "bad-soft"),
    *((part, place) for part in ("fin", "opcode", "mask", "length", "payload") for place in ("card", f"{part}-soft")),
    *((part, "sunken") for part in ("fin", "mask", "length", "payload", "client", "server")),
    *((part, "accent-soft") for part in ("fin", "mask", "length", "payload", "client", "server")),
]


def test_keyboard_is_enough(page: Page) -> None:
    echo = page.locator("#echo")
    tab_to(page, "#echo [name=text]")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    lines(echo, "received").filter(has_text="typed").wait_for()
    assert focused(page) == "INPUT text"
    tab_to(page, "#chat [name=name]")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    wait_for_state(page.locator("#chat"), "open")
    page.keyboard.type("from the keyboard")
    page.keyboard.press("Enter")
    lines(page.locator("#chat"), "sent").filter(has_text="from the keyboard").wait_for()
    tab_to(page, "#ticker [data-part=pause]")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Resume").wait_for()


def test_inspector_by_keyboard(page: Page) -> None:
    say(page.locator("#echo"), "Message", "typed")
    frames(page, "echo", "from the server", "typed").wait_for()
    page.get_by_role("checkbox", name="ticker").uncheck()
    tab_to(page, ".frame")
    page.keyboard.press("Home")
    assert "GET /echo" in text_of_focus(page)
    page.keyboard.press("ArrowUp")  # there is none
    page.keyboard.press("ArrowDown")
    assert "101 Switching Protocols" in text_of_focus(page)
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert "from the client" in text_of_focus(page) and "typed" in text_of_focus(page)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="text frame, 5 B").wait_for()
    assert page.evaluate("document.activeElement.dataset.part") == "detail"
    page.keyboard.press("Escape")
    assert "typed" in text_of_focus(page)
    # One stop for Tab, however many frames there are.
    assert page.locator(".frame[tabindex='0']").count() == 1


def test_focus_is_kept_when_a_button_cannot_be_used(page: Page) -> None:
    echo = page.locator("#echo")
    echo.get_by_text("Close with a code").click()
    echo.get_by_role("button", name="Close from this page").focus()
    page.keyboard.press("Enter")
    wait_for_state(echo, "closed")
    assert "Close from this page" in text_of_focus(page)
    page.keyboard.press("Enter")
    lines(echo, "error").filter(has_text="Not connected").wait_for()


def test_first_tab_skips_to_the_frames(page: Page) -> None:
    page.keyboard.press("Tab")
    assert text_of_focus(page) == "Skip to the frames"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "inspector"


def focused(page: Page) -> object:
    return page.evaluate("`${document.activeElement.tagName} ${document.activeElement.name}`")


def text_of_focus(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent"))


def test_screen_reader_finds_names_and_news(page: Page) -> None:
    for name in ("Echo", "Chat", "Ticker", "Frames"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
    for name in ("Echo messages", "Chat messages"):
        assert page.get_by_role("log", name=name).count() == 1
    assert page.get_by_role("status", name="News of the connections").count() == 1
    assert page.get_by_role("img", name="Line of the last 60 prices").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(context: BrowserContext, demo: Server, scheme: str, size: str) -> None:
    source = axe_source()
    page = opened(context, demo)
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert violations(page, source) == []
    # Everything opened, and something in every list.
    join(page, "Ada")
    say(page.locator("#chat"), "Message to everybody", "Good morning")
    say(page.locator("#echo"), "Message", "Hello")
    page.locator("#echo").get_by_text("Close with a code").click()
    page.get_by_text("The last ten as a table").click()
    page.locator("#echo").get_by_role("button", name="Close from this page").click()
    frames(page, "echo", "from the client", "Hello").click()
    page.evaluate("document.getElementById('banner').hidden = false")
    assert violations(page, source) == []


def violations(page: Page, source: str) -> list[str]:
    """What axe-core complains about. It is not loaded by the page, whose policy would not let it."""
    found = page.evaluate(f"async () => {{ {source}; return (await axe.run()).violations; }}")
    return [f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out(page: Page, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5, also for text that is not on the page now."""
    page.get_by_text(scheme.title(), exact=True).click()
    names = sorted({name for pair in TEXT_COLOURS for name in pair})
    values = page.evaluate(
        """(names) => names.map((name) => {
            const probe = document.body.appendChild(document.createElement("i"));
            probe.style.color = `var(--${name})`;
            const value = getComputedStyle(probe).color;
            probe.remove();
            return value.match(/\\d+/g).map(Number);
        })""",
        names,
    )
    luminances = dict(zip(names, map(luminance, values), strict=True))
    contrasts = {pair: contrast(luminances[pair[0]], luminances[pair[1]]) for pair in TEXT_COLOURS}
    assert {pair: value for pair, value in contrasts.items() if value < 4.5} == {}


def luminance(channels: list[int]) -> float:
    """Relative luminance of a colour."""
    values = [channel / 255 for channel in channels]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_chosen_colours_are_kept(context: BrowserContext, demo: Server) -> None:
    page = opened(context, demo)
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    page.get_by_text("Dark", exact=True).click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.get_by_label("Dark").is_checked()
    assert page.evaluate(background) == dark
    page.get_by_text("Auto", exact=True).click()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("width", [320, 390, 740, 1000, 1220, 1440])
def test_page_fits_every_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    say(page.locator("#echo"), "Message", 300 * "x")
    frames(page, "echo", "from the client", "xxx").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
