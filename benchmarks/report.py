"""Table and plots of a comparison: ``python benchmarks/report.py [RESULTS]``.

Reads what ``compare.py --json benchmarks/results.json`` has written, and writes what the documentation shows of it:

- ``docs/explanation/performance-results.inc``: how it was measured, the plot, and the table;
- ``docs/images/performance.svg``: the plot;
- ``docs/images/performance-small.svg``: its first part, for the README.

The same results give the same files. Bars are medians; the thin line at a bar goes from the slowest round to the
fastest. A bar with an arrow behind its number is cut off. Results of fewer than three rounds are called a trial in all
three.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

__all__ = ["plot", "table", "write"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"

Results = dict[str, Any]

_BASE = "websockets.sync"
_TRIAL = "A trial run, too short to mean anything."
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


class _Bar(NamedTuple):
    peer: str
    median: float
    slowest: float
    fastest: float


def plot(results: Results, cells: list[str] | None = None) -> str:
    """Return the plot as an SVG file.

    :param results: what ``compare.py`` has written.
    :param cells: the parts of it to be shown; ``None``: all.
    """
    parts: list[str] = []
    words: list[str] = []
    top = _MARGIN
    for cell in cells or list(results["cells"]):
        bars = _bars(results, cell)
        parts += _panel(results, cell, bars, top)
        words.append(f"{cell}: " + ", ".join(f"{_name(results, bar.peer)} {bar.median:.0f}" for bar in bars) + ".")
        top += _HEAD + _PITCH * len(bars) + _GAP
    for line in _small_print(results):
        parts.append(f'<text class="soft small" x="{_MARGIN}" y="{top + 8}">{escape(line)}</text>')
        top += 16
    height = top + _MARGIN // 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" role="img" aria-labelledby="title words">',
            f'<title id="title">Messages per second of WebSocket echo servers, {escape(results["python"])}</title>',
            f'<desc id="words">{escape(" ".join(words))}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def table(results: Results) -> str:
    """Return what the page on performance includes, as reStructuredText."""
    cells = results["cells"]
    best = ", ".join(
        f"{_name(results, bar.peer)} {_number(bar.median)}" for bar in _bars(results, next(iter(cells)))[:3]
    )
    lines = [
        ".. Made by benchmarks/report.py; do not edit.",
        "",
        f"{results['python']}, {results['system']}, {results['date']}: the medians of {results['rounds']} rounds of "
        f"{results['seconds']:g} s.",
        "",
        *([f".. warning:: {_TRIAL}", ""] if results["rounds"] < _ENOUGH else []),
        ".. image:: /images/performance.svg",
        f"    :alt: Messages per second of each server; the table has the numbers. {next(iter(cells))}: {best}.",
        "",
        ".. list-table:: Messages per second; 64 × 32 B are 64 connections, each with messages of 32 bytes",
        "    :header-rows: 1",
        "    :stub-columns: 1",
        "",
        *_row(["Server", "Frames in", *(re.sub(" connections? x ", " × ", cell) for cell in cells)]),
    ]
    for peer, about in results["peers"].items():
        rates = [_number(statistics.median(cells[cell][peer])) if peer in cells[cell] else "" for cell in cells]
        lines += _row([f"{_name(results, peer)}, {_kind(about)}", _frames(about), *rates])
    if {"syncws", _BASE} <= set(results["peers"]):
        ratios = [f"{_ratio(rates):.1f}" for rates in cells.values()]
        lines += _row([f"syncws / {_BASE}", "", *ratios])
    versions = {name: number for about in results["peers"].values() for name, number in about["versions"].items()}
    lines += ["", "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + "."]
    return "\n".join(lines) + "\n"


def write(results: Results, docs: Path) -> None:
    """Write the three files below a directory."""
    (docs / "images").mkdir(exist_ok=True)
    (docs / "explanation" / "performance-results.inc").write_text(table(results))
    (docs / "images" / "performance.svg").write_text(plot(results))
    (docs / "images" / "performance-small.svg").write_text(plot(results, list(results["cells"])[:1]))


def _bars(results: Results, cell: str) -> list[_Bar]:
    """Return what was measured in a cell, the fastest first."""
    found = [_Bar(peer, statistics.median(each), min(each), max(each)) for peer, each in results["cells"][cell].items()]
    return sorted(found, key=lambda bar: -bar.median)


def _panel(results: Results, cell: str, bars: list[_Bar], top: int) -> list[str]:
    room = _WIDTH - 2 * _MARGIN - _LABELS - _NUMBERS
    # The limit may be so far away that nothing could be told from the others; then its bar is cut off.
    most = max(1, *(bar.fastest for bar in bars if results["peers"][bar.peer]["versions"]))
    scale = room / most
    left = _MARGIN + _LABELS
    lines = [
        f'<text class="head" x="{_MARGIN}" y="{top + 16}">{escape(cell)}'
        '<tspan class="soft" font-weight="400"> – messages per second</tspan></text>'
    ]
    for index, bar in enumerate(bars):
        y = top + _HEAD + _PITCH * index
        about = results["peers"][bar.peer]
        kind = "ours" if bar.peer.partition(".")[0] == "syncws" else "theirs" if about["versions"] else "limit"
        slowest, median, fastest = (scale * min(most, value) for value in (bar.slowest, bar.median, bar.fastest))
        number = _number(bar.median) + (" →" if bar.fastest > most else "")
        lines += [
            f'<text class="{kind}-name" x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(_short(bar.peer))}'
            f'<tspan class="soft" font-weight="400">, {_kind(about)}</tspan></text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{median:.1f}" height="{_BAR}" rx="2"/>',
            f'<path class="spread" d="M{left + slowest:.1f} {y + _BAR / 2}H{left + fastest:.1f}"/>',
            f'<text class="soft" x="{left + fastest + 6:.1f}" y="{y + 11}">{number}</text>',
        ]
    return lines


def _small_print(results: Results) -> list[str]:
    ours = results["peers"].get("syncws")
    about = f"; syncws {ours['versions']['syncws']}, frames in {_frames(ours)}" if ours else ""
    return [
        f"{results['python']}, {results['system']}{about}.",
        _TRIAL
        if results["rounds"] < _ENOUGH
        else f"Medians of {results['rounds']} rounds; the lines go from the slowest round to the fastest.",
    ]


def _short(peer: str) -> str:
    """Return the name without what stands beside it anyway: the event loop."""
    return peer.partition(",")[0]


def _name(results: Results, peer: str) -> str:
    """Return how a server is called in a sentence, with its version."""
    versions = list(results["peers"][peer]["versions"].values())
    return " ".join([_short(peer), *versions[:1]])


def _kind(about: dict[str, Any]) -> str:
    """Return what a connection is; what no package is, speaks no protocol either."""
    return str(about["runs_on"]) if about["versions"] else "no protocol"


def _frames(about: dict[str, Any]) -> str:
    if not about["versions"]:
        return "none"
    return "compiled code" if about["compiled"] else "plain Python"


def _ratio(rates: dict[str, list[float]]) -> float:
    """Return the median of the ratios of each round, which is less noisy than the ratio of the medians."""
    return statistics.median(
        ours / theirs for ours, theirs in zip(rates["syncws"], rates[_BASE], strict=True) if theirs
    )


def _number(value: float) -> str:
    """Return a number with three digits that mean something, and narrow spaces between thousands."""
    digits = max(len(str(int(value))) - 3, 0)
    return f"{round(value, -digits):,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _row(values: list[str]) -> list[str]:
    first, *others = (f"{value}".rstrip() for value in values)
    return [f"    * - {first}".rstrip(), *(f"      - {value}".rstrip() for value in others)]


def main() -> None:
    """Read the results and write the files."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    write(json.loads(path.read_text()), ROOT / "docs")


if __name__ == "__main__":
    main()
