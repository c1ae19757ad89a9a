"""Chromium, and the demo that it opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browser.pages import opened
from commands import DEADLINE, Server, running
from support import require_module, require_tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
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
def complaints() -> Iterator[list[str]]:
    """What the browser's pages complain about; it fails the test, unless the test takes it out of the list."""
    complaints: list[str] = []
    yield complaints
    assert complaints == []


@pytest.fixture
def context(browser: Browser, complaints: list[str]) -> Iterator[BrowserContext]:
    """A browser's profile."""
    context = browser.new_context()
    context.set_default_timeout(DEADLINE * 1000)
    context.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


@pytest.fixture
def page(context: BrowserContext, demo: Server) -> Page:
    return opened(context, demo)
