"""Links of the documentation lead somewhere, as far as that can be said without a network.

Those from page to page in docs/ are Sphinx's to check (``tox -e docs``). Here are those of the Markdown files, to files
and to headings; and the addresses of the web, which have to be well-formed. They are not fetched: the tests need no
network, and do not fail when somebody else's server does.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from pathlib import Path

import pytest
from docs_blocks import PAGES, ROOT

MARKDOWN = [page for page in PAGES if page.endswith(".md")]
# [text](target), [text](target "title"), [name]: target, <img src="target">, <source srcset="target">
LINK = re.compile(r"""\]\(\s*([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|\b(?:src|srcset|href)="([^"]+)\"""", re.MULTILINE)
ADDRESS = re.compile(r"""\bhttps?://[^\s<>"'`]+""")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LITERAL = re.compile(r"(`+)[^`]+\1")


def headings(text: str) -> set[str]:
    """The anchors of a Markdown file, as code hosts make them."""
    found = re.findall(r"^#+ +(.*?) *$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def links(text: str) -> list[str]:
    return [next(filter(None, found)) for found in LINK.findall(FENCED.sub("", text))]


def addresses(text: str) -> list[str]:
    # What a sentence or markup puts behind an address is none of it.
    return [address.rstrip(".,;:!?*_)]}…") for address in ADDRESS.findall(LITERAL.sub("", text))]


def check_link(file: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    linked = file.parent / urllib.parse.unquote(path) if path else file
    assert linked.exists(), f"{file.name}: {target}"
    assert linked.resolve().is_relative_to(ROOT), f"{file.name}: {target} is outside of the project"
    if anchor and linked.suffix == ".md":
        assert anchor in headings(linked.read_text()), f"{file.name}: {target}"


def check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    host = parts.hostname or ""
    assert parts.port is None or parts.port > 0
    if not re.fullmatch(r"(?i)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", host):
        ipaddress.ip_address(host)


@pytest.mark.parametrize("page", MARKDOWN)
def test_links_of_markdown_lead_somewhere(page: str) -> None:
    for target in links((ROOT / page).read_text()):
        if not re.match(r"https?:|mailto:", target):
            check_link(ROOT / page, target)


@pytest.mark.parametrize("page", PAGES)
def test_addresses_of_the_web_are_well_formed(page: str) -> None:
    for address in addresses((ROOT / page).read_text()):
        check_address(address)


def test_links_are_found() -> None:
    text = 'A [file](docs/a.rst "title"), ![image](b.svg)\n<img src="c.png">\n\n[d]: d.md#e\n\n```sh\n[no](no)\n```\n'
    assert links(text) == ["docs/a.rst", "b.svg", "c.png", "d.md#e"]
    assert addresses("(see http://a.example/b, https://c.example.)") == ["http://a.example/b", "https://c.example"]
    assert headings("# A `heading`: 1\n\n## Two  \n\n```sh\n# none\n```\n") == {"a-heading-1", "two"}


@pytest.mark.parametrize("target", ["missing.md", "README.md#missing", "#missing", "../elsewhere"])
def test_links_to_nothing(target: str) -> None:
    with pytest.raises(AssertionError):
        check_link(ROOT / "README.md", target)


@pytest.mark.parametrize("address", ["http://", "http://a b", "http://-a.example", "http://a..b", "http://a:port/"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check_address(address)


def test_addresses_that_are_good() -> None:
    for address in (
        "http://localhost:3000",
        "http://[::1]:80/a?b#c",
        "https://www.example.com",
        "http://127.0.0.1:8000/",
    ):
        check_address(address)
