"""Items as a page: one file that needs no other, light and dark, to be read with a keyboard and without a script.

What peers have sent is escaped. Any thread may call :func:`render_html`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from ..escapes import escaped
from .items import End, Frame, Handshake, Item, Problem
from .words import arrow, bit_patterns, payload_rows, pointed_at, shown_hex, summary, where, with_frames

__all__ = ["render_html"]

# How many bytes of a payload are shown.
_MOST = 256
_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --back: #fbfbfa; --faint: #5c6470; --line: #d5d9de;
  --client: #0b5c8a; --server: #7a2a8c; --bad: #a8141d; --code: #eef0f2; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #16181b; --faint: #a2abb6; --line: #3a4048;
  --client: #6fc3f2; --server: #d99bea; --bad: #ff8c8c; --code: #23272c; } }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; }
ol { list-style: none; margin: 0; padding: 0; }
li { border-top: 1px solid var(--line); padding: .35rem 0; }
summary, .row { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; padding: .2rem; }
summary { cursor: pointer; }
summary::before { content: "▸"; }
details[open] > summary::before { content: "▾"; }
summary:focus-visible { outline: 2px solid var(--client); }
.time, .section, .note { color: var(--faint); font-size: .875rem; }
.client { color: var(--client); } .server { color: var(--server); } .bad { color: var(--bad); }
.what { overflow-wrap: anywhere; }
code, td.code { font: .875rem/1.5 ui-monospace, monospace; background: var(--code); overflow-wrap: anywhere; }
mark { color: var(--back); background: var(--bad); padding: 0 .2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .4rem 0 .6rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .15rem .6rem .15rem 0; }
thead th { color: var(--faint); font-weight: normal; }
tbody th { font-weight: 600; }
td.section { white-space: nowrap; }
"""


def render_html(items: Iterable[Item], title: str = "Wire view") -> str:
    """Return items as a page of HTML, complete in itself.

    :param title: the title of the page.
    """
    name = escape(escaped(title))
    rows = "\n".join(_row(item, within) for item, within in with_frames(items))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{name}</h1>
<ol>
{rows}
</ol>
</main>
</body>
</html>
"""


def _row(item: Item, within: Frame | Handshake | None) -> str:
    bad = ' bad"><strong>Problem:</strong> ' if isinstance(item, Problem) else '">'
    line = (
        f'<span class="time">{item.time:.6f} s</span> <span class="note">#{item.connection}</span> '
        f'<span class="{item.sender}">{arrow(item)}</span> <span class="what{bad}{escape(summary(item))}</span>'
    )
    if isinstance(item, End):
        return f'<li><div class="row">{line}</div></li>'
    if isinstance(item, Problem):
        return f'<li><div class="row">{line}{_section(item.section)}</div>{_problem(item, within)}</li>'
    if isinstance(item, Frame):
        return f"<li><details><summary>{line}{_section(item.section)}</summary>{''.join(_frame(item))}</details></li>"
    return f"<li><details><summary>{line}</summary>{''.join(_head(item))}</details></li>"


def _section(section: str) -> str:
    return f' <span class="section">{escape(section)}</span>' if section else ""


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    # A region that scrolls has to be reached with the keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{", ".join(heads)}"><table><thead><tr>{cells}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tr(name: str, *cells: str, code: int = 0) -> str:
    """Return a row of a table; the first ``code`` cells behind the name are code."""
    columns = "".join(f"<td{' class=code' if number < code else ''}>{escape(c)}</td>" for number, c in enumerate(cells))
    return f'<tr><th scope="row">{escape(name)}</th>{columns}</tr>'


def _head(head: Handshake) -> Iterator[str]:
    if head.note:
        yield f'<p class="note">{escape(head.note)}</p>'
    rows = [_tr(escaped(each.name), escaped(each.value), each.note, each.section, code=1) for each in head.fields]
    yield _table(("Field", "Value", "What it is for", "Section"), rows)
    accept = head.accept
    if accept is not None:
        received = "nothing" if accept.received is None else escaped(accept.received)
        verdict = "right" if accept.ok else "wrong"
        rows = [
            _tr("key + GUID", escaped(accept.key) + accept.guid, code=1),
            _tr("its SHA-1", accept.sha1, code=1),
            _tr("in base64", accept.accept, code=1),
            _tr("received", f"{received} ({verdict})", code=1),
        ]
        yield _table(("Sec-WebSocket-Accept", "Value"), rows)


def _frame(frame: Frame) -> Iterator[str]:
    rows = [
        _tr(part.name, str(part.offset), pattern, part.value, part.meaning, part.section, code=3)
        for part, pattern in bit_patterns(frame.parts)
        if part.name != "payload data"
    ]
    yield _table(("Name", "Byte", "Bits", "Value", "Meaning", "Section"), rows)
    shown = [
        _tr(name, shown_hex(value, _MOST) if is_hex else value, code=1) for name, value, is_hex in payload_rows(frame)
    ]
    if shown:
        yield _table(("Payload", "Value"), shown)


def _problem(problem: Problem, within: Frame | Handshake | None) -> str:
    pointed = pointed_at(problem, within)
    shown = ""
    if pointed is not None:
        before, wrong, behind = pointed
        shown = f"<div><code>{before} <mark>{wrong}</mark> {behind}</code></div>"
    return f'<div class="note">{escape(where(problem))}</div>{shown}'
