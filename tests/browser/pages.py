"""What the tests of the demo page share: how a person finds the parts of the page and uses them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from commands import Server
from support import require_tool

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["axe_source", "frames", "join", "lines", "opened", "say", "tab_to", "wait_for_state"]


def opened(context: BrowserContext, demo: Server) -> Page:
    """Open the page, and wait until its connections are there and the first handshake is shown."""
    page = context.new_page()
    page.goto(demo.url)
    for panel in ("#echo", "#ticker", "#inspector"):
        wait_for_state(page.locator(panel), "open")
    page.locator("#inspector").get_by_role("heading", name="Opening handshake: the response").wait_for()
    return page


def wait_for_state(panel: Locator, state: str) -> None:
    panel.locator(".state").filter(has_text=re.compile(f"^{state}$")).wait_for()


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


def frames(page: Page, *texts: str) -> Locator:
    """The rows of the inspector that have all of these texts."""
    found = page.locator("#inspector .frame")
    for text in texts:
        found = found.filter(has_text=text)
    return found


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is on what the selector finds."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def axe_source() -> str:
    """The script of the npm package axe-core, looked for where Node.js would."""
    listed = filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))
    places = [Path(__file__).with_name("node_modules"), *map(Path, listed)]
    found = [path for place in places if (path := place / "axe-core" / "axe.min.js").is_file()]
    require_tool("the npm package axe-core (npm install --no-save --prefix tests/browser axe-core@4)", found)
    return found[0].read_text(encoding="utf-8")
