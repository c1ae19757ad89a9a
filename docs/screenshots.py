"""Take the pictures of the demo page that README.md and these pages show: ``python docs/screenshots.py``.

It needs Chromium and the package playwright (``pip install 'syncws[test]'``), and writes docs/images/demo-*.png: the
page in light and in dark, and on a phone. The fonts are those of the machine: with Inter and JetBrains Mono
installed, the pictures look as those that are checked in. pngquant, if it is there, makes them half as large.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).with_name("images")
LARGEST = 200_000  # bytes: what a reader of README.md should have to load
# Name, width and height in CSS pixels, colours, and how many pixels of the picture are one of CSS.
PICTURES = [
    ("demo-light", 1440, 1070, "light", 1.25),
    ("demo-dark", 1440, 1070, "dark", 1.25),
    ("demo-phone", 390, 844, "light", 2.0),
]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run the demo as its users do, and give its address."""
    command = [sys.executable, "-m", "syncws", "demo", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.terminate()


def join(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()
    page.locator("#chat [data-state=open]").wait_for()


def say(page: Page, panel: str, label: str, text: str) -> None:
    section = page.locator(panel)
    section.get_by_label(label, exact=True).fill(text)
    section.get_by_label(label, exact=True).press("Enter")
    section.locator(".log p").filter(has_text=text).last.wait_for()


def talk(page: Page, friend: Page) -> None:
    """Have a conversation with somebody."""
    join(page, "Ada")
    join(friend, "Grace")
    say(page, "#chat", "Message to everybody", "Good morning, Grace!")
    page.locator("#chat .sent").filter(has_text="Good morning").wait_for()
    say(friend, "#chat", "Message to everybody", "Ada! Do you see the frames?")
    say(page, "#chat", "Message to everybody", "Every single bit.")
    page.bring_to_front()  # a browser is in no hurry with a tab that nobody sees
    page.locator("#echo").get_by_role("button", name="Ping").click()
    page.locator("#echo").get_by_text("The pong came").wait_for()
    say(page, "#echo", "Message", "Grüße")
    say(page, "#echo", "Message", "Hello")
    page.locator("#echo .received").filter(has_text="Hello").wait_for()


def take(browser: Browser, url: str, name: str, width: int, height: int, scheme: str, scale: float) -> Path:
    context = browser.new_context(
        # Small at first: to draw it all after each message takes a processor longer than the message does.
        viewport={"width": 390, "height": 400},
        color_scheme=scheme,  # type: ignore[arg-type]
        device_scale_factor=scale,
    )
    page, friend = context.new_page(), context.new_page()
    for tab in (page, friend):
        tab.goto(url)
        tab.locator("#echo [data-state=open]").wait_for()
    talk(page, friend)
    page.set_viewport_size({"width": width, "height": height})
    page.locator(".frame.client").filter(has_text="Hello").click()
    page.locator(".detail").evaluate("(detail) => detail.blur()")
    page.mouse.move(0, 0)
    first = "#inspector" if width < 600 else "body"
    page.locator(first).evaluate("(section) => section.scrollIntoView()")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    context.close()
    if pngquant := shutil.which("pngquant"):
        subprocess.run([pngquant, "--force", "--skip-if-larger", "--strip", "--output", path, path], check=True)
    return path


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or sys.exit("chromium was not found")
    with serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            path = take(browser, url, *picture)
            print(f"{path}: {path.stat().st_size} bytes")
            if path.stat().st_size > LARGEST:
                sys.exit(f"{path} has more than {LARGEST} bytes: take fewer pixels, or install pngquant")
        browser.close()


if __name__ == "__main__":
    main()
