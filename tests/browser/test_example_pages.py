"""The pages of examples/ in Chromium, as their docstrings say to try them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from example_programs import running
from support import require_module

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    """A browser's profile that does not ask for icons, which these pages have not."""
    context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    return context


def opened(context: BrowserContext, url: str) -> Page:
    """Open a page, and wait for its WebSocket."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("ws.readyState == WebSocket.OPEN")
    return page


def test_etf_ticker(context: BrowserContext) -> None:
    with running("etf_ticker.py") as url:
        pages = opened(context, url), opened(context, url)
        for page in pages:
            for fund in ("BONDS", "METALS", "WORLD"):
                row = page.locator(f"#{fund}")
                row.wait_for()
                assert re.fullmatch(rf"{fund}\d+\.\d\d\d+", row.text_content() or "")
        before = pages[0].locator("#funds").text_content()
        pages[0].wait_for_function("(before) => funds.textContent != before", arg=before)
    for page in pages:
        page.get_by_role("status").filter(has_text="closed (1001").wait_for()


def test_flask_dashboard_plots_the_load(context: BrowserContext) -> None:
    require_module("flask")
    with running("flask_dashboard.py") as url:
        page = opened(context, url)
        points = "line.getAttribute('points')?.split(' ').length ?? 0"
        page.wait_for_function(f"{points} >= 2")
        page.get_by_role("button", name="Give it some work").click()
        page.wait_for_function("Number(percent.textContent) > 3")
        # The line is where the values are, counted from the top.
        heights = page.evaluate("line.points.numberOfItems && Array.from(line.points, (point) => point.y)")
        values = page.evaluate("values")
        assert heights == pytest.approx([100 - min(value, 100) for value in values[: len(heights)]], abs=0.01)
        threads = int(page.locator("#threads").text_content() or "")
        opened(context, url)
        page.wait_for_function(f"Number(threads.textContent) > {threads}")
    page.get_by_role("status").filter(has_text="Closed (1001").wait_for()


# Through a canvas of our own: Chromium warns of what is read from the page's many times.
PIXEL = """([x, y]) => {
    const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    pixel.drawImage(board, -x, -y);
    return Array.from(pixel.getImageData(0, 0, 1, 1).data);
}"""


def wait_for_pixel(page: Page, place: tuple[int, int], colour: list[int]) -> None:
    page.wait_for_function(f"({PIXEL})({list(place)}).join() == '{','.join(map(str, colour))}'")


def test_drawing_board_is_shared(context: BrowserContext) -> None:
    with running("drawing_board.py") as url:
        ann, bob = opened(context, url), opened(context, url)
        ann.get_by_label("Colour").fill("#ff8001")
        ann.get_by_label("Width").fill("20")
        box = ann.locator("#board").bounding_box()
        assert box
        ann.mouse.move(box["x"] + 101, box["y"] + 101)
        ann.mouse.down()
        ann.mouse.move(box["x"] + 301, box["y"] + 201, steps=5)
        ann.mouse.move(box["x"] + 2000, box["y"] + 201)  # off the board
        ann.mouse.up()
        ann.mouse.move(box["x"] + 301, box["y"] + 400)  # nothing is pressed
        for page in (ann, bob):
            for place in [(100, 100), (300, 200), (700, 200)]:
                wait_for_pixel(page, place, [255, 128, 1, 255])
            assert page.evaluate(PIXEL, [300, 399]) == [0, 0, 0, 0]
        late = opened(context, url)
        wait_for_pixel(late, (300, 200), [255, 128, 1, 255])
        bob.get_by_role("button", name="Clear").click()
        for page in (ann, bob, late):
            wait_for_pixel(page, (300, 200), [0, 0, 0, 0])
        bob.evaluate("ws.send('nonsense')")
        bob.get_by_role("status").filter(has_text="Closed (1008").wait_for()


def test_upload_shows_how_far_it_is(context: BrowserContext, tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000
    file = tmp_path / "file"
    file.write_bytes(content)
    with running("upload.py") as url:
        page = opened(context, url)
        page.evaluate("seen = []; ws.addEventListener('message', () => seen.push(bar.value))")
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("status").filter(has_text=hashlib.sha256(content).hexdigest()).wait_for()
        seen = page.evaluate("seen")
        assert seen == sorted(seen)
        assert len(set(seen)) > 10
        assert page.get_by_role("progressbar").evaluate("(bar) => bar.value") == 100
        page.evaluate("ws.send('nonsense')")
        page.get_by_role("status").filter(has_text="first send").wait_for()
        page.get_by_label("File").set_input_files({"name": "empty", "mimeType": "text/plain", "buffer": b""})
        page.get_by_role("status").filter(has_text=f"0 bytes, SHA-256 {hashlib.sha256().hexdigest()}").wait_for()
    page.get_by_role("status").filter(has_text="closed (1001").wait_for()


def test_progress_bar(context: BrowserContext) -> None:
    with running("progress_bar.py") as url:
        page = opened(context, url)
        status = page.get_by_role("status")
        page.get_by_label("Primes below").fill("20000")
        page.get_by_role("button", name="Count").click()
        status.filter(has_text="2262 primes below 20000").wait_for()
        assert page.get_by_role("progressbar").evaluate("(bar) => bar.value") == 100
        page.get_by_label("Primes below").fill("10000000")
        page.get_by_role("button", name="Count").click()
        page.wait_for_function("bar.value > 0 && bar.value < 100")
        page.get_by_role("button", name="Cancel").click()
        status.filter(has_text="when it was cancelled").wait_for()
        page.get_by_label("Primes below").fill("many")
        page.get_by_role("button", name="Count").click()
        status.filter(has_text="send a number").wait_for()


def test_bottle_terminal(context: BrowserContext) -> None:
    require_module("bottle")
    with running("bottle_terminal.py") as url:
        page = opened(context, url)
        output = page.get_by_role("log")
        for line, last in [
            ("count", "5"),
            ("rm -rf /", "'rm -rf /' is none of them."),
            ("<b>", "'<b>' is none of them."),
        ]:
            page.get_by_label("Command").fill(line)
            page.get_by_label("Command").press("Enter")
            output.filter(has_text=last).wait_for()
        assert (output.text_content() or "").startswith("$ count\n1\n2\n3\n4\n5\n$ rm -rf /\nThe commands are ")


def test_question_bot(context: BrowserContext) -> None:
    require_module("bottle")
    with running("question_bot.py") as url:
        page = opened(context, url)
        answers = page.get_by_role("log").get_by_role("listitem")
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Join").click()
        answers.filter(has_text="Hello, Ann.").wait_for()
        for question, answer in [("who am I?", "You are Ann."), ("What is 6 * 7?", "It is 42.")]:
            page.get_by_label("Question").fill(question)
            page.get_by_role("button", name="Ask").click()
            answers.filter(has_text=answer).wait_for()
        page.evaluate("ws.send('nonsense')")
        answers.filter(has_text="Send me ").wait_for()
