"""The code blocks of the documentation, found by reading its sources as text.

A block is a ``.. code-block:: LANGUAGE`` of a page in docs/, or what stands between fences of three backquotes in a
Markdown file. One that cannot be run has a comment above it that says why::

    .. not-run: needs a certificate of a public authority          (reStructuredText)
    <!-- not-run: needs a certificate of a public authority -->    (Markdown)
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "all_blocks", "blocks_of", "columns_of"]

ROOT = Path(__file__).resolve().parent.parent
# Files that a project may have or not have yet; a new page in docs/ is found by itself.
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("docs/**/*.rst"), *ROOT.glob("docs/**/*.inc"), *ROOT.glob("*.md")]
    if "_build" not in path.parts
)

_DIRECTIVE = re.compile(r"( *)\.\. (?:code-block|sourcecode|code)::(?: +(\S+))?")
_FENCE = re.compile(r"( *)```(\S*)")
_NOT_RUN = re.compile(r" *(?:\.\. not-run: (?P<rst>.+)|<!-- not-run: (?P<md>.+) -->)")
_TWO_COLUMNS = re.compile(r"# \S.*? {4,}(?=# syncws$)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block.

    :ivar line: the number of its first line of code in the page, from 1.
    :ivar not_run: why it is not run; ``None``: it is.
    """

    page: str
    line: int
    language: str
    code: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def all_blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages in some languages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, in order.

    :param page: the path from the root of the project, or an absolute one.
    """
    lines = (ROOT / page).read_text().splitlines()
    return list(_fenced(page, lines) if page.endswith(".md") else _directives(page, lines))


def columns_of(block: Block) -> list[str]:
    """Return the code of a block; of one that shows how to come from another package, that package's code and ours.

    Such a block has two columns, and its first line is ``# package    # syncws``.
    """
    lines = block.code.splitlines()
    columns = _TWO_COLUMNS.match(lines[0])
    if columns is None:
        return [block.code]
    middle = columns.end()
    return ["\n".join(line[:middle].rstrip() for line in lines), "\n".join(line[middle:] for line in lines)]


def _directives(page: str, lines: list[str]) -> Iterator[Block]:
    not_run = None
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _DIRECTIVE.fullmatch(line):
            begin, number = _body(lines, number, len(found[1]))
            code = textwrap.dedent("\n".join(lines[begin:number])).rstrip() + "\n"
            yield Block(page, begin + 1, found[2] or "", code, not_run)
        elif line.lstrip().startswith(">>> "):
            begin = number - 1
            while number < len(lines) and lines[number].strip():
                number += 1
            yield Block(page, begin + 1, "pycon", textwrap.dedent("\n".join(lines[begin:number])) + "\n", not_run)
        if line.strip():
            not_run = _reason(line)


def _body(lines: list[str], number: int, indent: int) -> tuple[int, int]:
    """Return where the code of a directive begins, behind its options, and where it ends."""
    while number < len(lines) and lines[number].strip():
        number += 1
    while number < len(lines) and not lines[number].strip():
        number += 1
    begin = number
    while number < len(lines) and (not lines[number].strip() or lines[number].startswith(" " * (indent + 1))):
        number += 1
    return begin, number


def _fenced(page: str, lines: list[str]) -> Iterator[Block]:
    not_run = None
    begin, fence = 0, None
    for number, line in enumerate(lines):
        if fence is None:
            if fence := _FENCE.fullmatch(line):
                begin = number + 1
            elif line.strip():
                not_run = _reason(line)
        elif line.strip() == "```":
            yield Block(page, begin + 1, fence[2], textwrap.dedent("\n".join(lines[begin:number])) + "\n", not_run)
            fence = not_run = None


def _reason(line: str) -> str | None:
    found = _NOT_RUN.fullmatch(line)
    return found and (found["rst"] or found["md"])
