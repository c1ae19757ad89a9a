"""Plots of a comparison, as SVG: a panel for each cell, a bar for each server.

Bars are medians; the thin line at a bar goes from the slowest round to the fastest. A bar with an arrow behind its
number is cut off. Results of fewer than three rounds are called a trial. The same results give the same files.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from cells import Cell, named

__all__ = ["TRIAL", "Results", "bars_of", "frames_in", "is_trial", "kind_of", "name_of", "number", "plot"]

Results = dict[str, Any]  # what compare.py has written

TRIAL = "A trial run, too short to mean anything."
_ENOUGH = 3  # rounds
_WIDTH, _MARGIN, _LABELS, _NUMBERS = 720, 16, 206, 84  # pixels
_BAR, _PITCH, _HEAD, _GAP = 14, 21, 34, 14
# A paper of its own, because the theme of a page can be another than the system's.
_STYLE = """\
svg{--paper:#fff;--ink:#1f2328;--soft:#59636e;--ours:#0969da;--others:#8c959f;--line:#d1d9e0}
@media(prefers-color-scheme:dark){svg{--paper:#131416;--ink:#e6edf3;--soft:#9aa4af;--ours:#58a6ff;--others:#6e7681;--line:#3d444d}}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}
.head{font-weight:600;font-size:14px}
.small{font-size:11px}
.soft{fill:var(--soft)}
.ours-name{font-weight:600}
.theirs{fill:var(--others)}
.ours{fill:var(--ours)}
.limit{fill:none;stroke:var(--others);stroke-dasharray:3 2}
.paper{fill:var(--paper);stroke:var(--line)}
.spread{stroke:var(--ink);stroke-width:1.5}"""


class Bar(NamedTuple):
    """What came out for a server."""

    peer: str
    median: float
    slowest: float
    fastest: float


def plot(results: Results, cells: Sequence[str] | None = None) -> str:
    """Return the plot as an SVG file.

    :param cells: the names of those to be shown; ``None``: all.
    """
    parts: list[str] = []
    words: list[str] = []
    top = _MARGIN
    for cell in cells or list(results["cells"]):
        bars = bars_of(results, cell)
        parts += _panel(results, named(cell), bars, top)
        words.append(f"{cell}: " + ", ".join(f"{name_of(results, bar.peer)} {bar.median:.0f}" for bar in bars) + ".")
        top += _HEAD + _PITCH * len(bars) + _GAP
    for line in _small_print(results):
        parts.append(f'<text class="soft small" x="{_MARGIN}" y="{top + 8}">{escape(line)}</text>')
        top += 16
    height = top + _MARGIN // 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" role="img" aria-labelledby="title words">',
            f'<title id="title">WebSocket servers side by side, {escape(results["python"])}</title>',
            f'<desc id="words">{escape(" ".join(words))}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def bars_of(results: Results, cell: str) -> list[Bar]:
    """Return what was measured in a cell, the best first."""
    found = [Bar(peer, statistics.median(each), min(each), max(each)) for peer, each in results["cells"][cell].items()]
    return sorted(found, key=lambda bar: bar.median if named(cell).less_is_better else -bar.median)


def _panel(results: Results, cell: Cell, bars: Sequence[Bar], top: int) -> list[str]:
    room = _WIDTH - 2 * _MARGIN - _LABELS - _NUMBERS
    # The limit may be so far away that nothing could be told from the others; then its bar is cut off.
    most = max([1.0, *(bar.fastest for bar in bars if not _is_limit(bar.peer))])
    scale = room / most
    left = _MARGIN + _LABELS
    unit = f"{cell.unit}, less is better" if cell.less_is_better else cell.unit
    lines = [
        f'<text class="head" x="{_MARGIN}" y="{top + 16}">{escape(cell.name)}'
        f'<tspan class="soft" font-weight="400"> – {unit}</tspan></text>'
    ]
    for index, bar in enumerate(bars):
        y = top + _HEAD + _PITCH * index
        about = results["peers"][bar.peer]
        kind = "limit" if _is_limit(bar.peer) else "ours" if bar.peer.startswith("syncws") else "theirs"
        slowest, median, fastest = (scale * min(most, value) for value in (bar.slowest, bar.median, bar.fastest))
        label = number(bar.median) + (" →" if bar.fastest > most else "")
        lines += [
            f'<text class="{kind}-name" x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(_short(bar.peer))}'
            f'<tspan class="soft" font-weight="400">, {kind_of(bar.peer, about)}</tspan></text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{median:.1f}" height="{_BAR}" rx="2"/>',
            f'<path class="spread" d="M{left + slowest:.1f} {y + _BAR / 2}H{left + fastest:.1f}"/>',
            f'<text class="soft" x="{left + fastest + 6:.1f}" y="{y + 11}">{label}</text>',
        ]
    return lines


def _small_print(results: Results) -> list[str]:
    ours = results["peers"].get("syncws")
    about = f"; syncws {ours['versions']['syncws']}, frames in {frames_in('syncws', ours)}" if ours else ""
    rounds = f"Medians of {results['rounds']} rounds; the lines go from the slowest round to the fastest."
    return [f"{results['python']}, {results['system']}{about}.", TRIAL if is_trial(results) else rounds]


def is_trial(results: Results) -> bool:
    """Whether there were too few rounds."""
    return bool(results["rounds"] < _ENOUGH)


def name_of(results: Results, peer: str) -> str:
    """Return how a server is called in a sentence, with its version."""
    versions = [] if _is_limit(peer) else list(results["peers"][peer]["versions"].values())
    return " ".join([_short(peer), *versions[:1]])


def kind_of(peer: str, about: Results) -> str:
    """Return what a connection is; of those without a protocol, that."""
    if _is_limit(peer):
        return "no protocol"
    return "pure Python" if peer.endswith(", pure Python") else str(about["runs_on"])


def frames_in(peer: str, about: Results) -> str:
    """Return what frames are read and written by."""
    if _is_limit(peer):
        return "none"
    return "compiled code" if about["compiled"] else "plain Python"


def number(value: float) -> str:
    """Return a number with three digits that mean something, and narrow spaces between thousands."""
    if value < 100:
        return f"{value:.3g}"
    digits = max(len(str(int(value))) - 3, 0)
    return f"{round(value, -digits):,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _short(peer: str) -> str:
    """Return the name without what stands beside it anyway, such as the event loop."""
    return peer.partition(",")[0]


def _is_limit(peer: str) -> bool:
    """Whether it speaks no protocol."""
    return peer.startswith("raw ")
