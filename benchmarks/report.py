"""Tables and plots of a comparison: ``python benchmarks/report.py [RESULTS]``.

Reads what ``compare.py --json benchmarks/results.json`` has written, and writes what the documentation shows of it:

- ``docs/explanation/performance-results.inc``: how it was measured, the plots, and the tables;
- ``docs/images/performance-messages.svg``, ``-other.svg``, ``-used.svg``: the plots, if there are results;
- ``docs/images/performance-small.svg``: the first part of the first, for the README.

The same results give the same files. Results of fewer than three rounds are called a trial in all of them.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from cells import CELLS, named
from plot import TRIAL, Results, bars_of, frames_in, is_trial, kind_of, name_of, number, plot

__all__ = ["IMAGES", "plot", "table", "write"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
IMAGES = "performance-{}.svg"

_BASE = "websockets.sync"
_GROUPS = {
    "messages": "Messages per second; 64 × 32 B are 64 connections, each with messages of 32 bytes",
    "other": "Per second: messages over TLS, compressed, and beside a thread that computes; connections; frames",
    "used": "What is used, less is better: KiB of the resident set for each connection, milliseconds",
}
_ALT = {
    "messages": "Messages per second of each server",
    "other": "What each server does in a second",
    "used": "Memory of an idle connection on each server, and the time that its import takes",
}


def table(results: Results) -> str:
    """Return what the page on performance includes, as reStructuredText."""
    busiest = max(results.get("load", {}).values(), default=0)
    load = f" The load generator used at most {busiest:.0%} of its core." if busiest else ""
    lines = [
        ".. Made by benchmarks/report.py; do not edit.",
        "",
        f"{results['python']}, {results['system']}, {results['date']}: the medians of {results['rounds']} rounds of "
        f"{results['seconds']:g} s.{load}",
        "",
        *([f".. warning:: {TRIAL}", ""] if is_trial(results) else []),
        *_targets(results),
    ]
    for group, cells in _grouped(results).items():
        lines += _figures(results, group, cells)
    versions = {name: version for about in results["peers"].values() for name, version in about["versions"].items()}
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "."]
    return "\n".join(lines) + "\n"


def write(results: Results, docs: Path) -> list[Path]:
    """Write the files below a directory; return them."""
    (docs / "images").mkdir(exist_ok=True)
    groups = _grouped(results)
    contents = {docs / "explanation" / "performance-results.inc": table(results)}
    for group, cells in groups.items():
        contents[docs / "images" / IMAGES.format(group)] = plot(results, cells)
    contents[docs / "images" / IMAGES.format("small")] = plot(results, list(results["cells"])[:1])
    for file, content in contents.items():
        file.write_text(content)
    return list(contents)


def _grouped(results: Results) -> dict[str, list[str]]:
    """Return the cells of each group that has any."""
    groups = {group: [cell for cell in results["cells"] if named(cell).group == group] for group in _GROUPS}
    return {group: cells for group, cells in groups.items() if cells}


def _targets(results: Results) -> list[str]:
    """Return the table of what is to be shown, and whether it is."""
    rows: list[str] = []
    for cell in (each for each in CELLS if each.name in results["cells"]):
        name = _brief(cell.name)
        for target in cell.targets:
            if (reached := target.reached(results["cells"][cell.name])) is None:
                continue
            measured = f"{reached.value:.2f}" if target.others else number(reached.value)
            rows += _row([name, target.ours, target.in_words(cell.unit), measured, str(reached)])
            name = ""
    head = _head("What is to be shown: ratios in one run, or the figures of the tables below")
    columns = _row(["", "Server", "Target", "Measured", ""])
    return [*head, *columns, *rows, ""] if rows else []


def _figures(results: Results, group: str, cells: Sequence[str]) -> list[str]:
    """Return the plot and the table of a group."""
    best = ", ".join(f"{name_of(results, bar.peer)} {number(bar.median)}" for bar in bars_of(results, cells[0])[:3])
    lines = [
        f".. image:: /images/{IMAGES.format(group)}",
        f"    :alt: {_ALT[group]}; the table has the numbers. {cells[0]}: {best}.",
        "",
        *_head(_GROUPS[group]),
        *_row(["Server", "Frames in", *map(_brief, cells)]),
    ]
    measured = [results["cells"][cell] for cell in cells]
    for peer, about in results["peers"].items():
        figures = [number(statistics.median(each[peer])) if peer in each else "" for each in measured]
        if any(figures):
            lines += _row([f"{name_of(results, peer)}, {kind_of(peer, about)}", frames_in(peer, about), *figures])
    if group != "used" and {"syncws", _BASE} <= set(results["peers"]):
        lines += _row([f"syncws / {_BASE}", "", *map(_ratio, measured)])
    return [*lines, ""]


def _head(caption: str) -> list[str]:
    return [f".. list-table:: {caption}", "    :header-rows: 1", "    :stub-columns: 1", ""]


def _brief(cell: str) -> str:
    """Return the name of a cell in fewer words."""
    return re.sub(" connections? x ", " × ", cell)


def _ratio(rates: dict[str, list[float]]) -> str:
    """Return the median of the ratios of each round, which is less noisy than the ratio of the medians."""
    pairs = zip(rates.get("syncws", ()), rates.get(_BASE, ()), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return f"{statistics.median(ratios):.1f}" if ratios else ""


def _row(values: Sequence[str]) -> list[str]:
    first, *others = (f"{value}".rstrip() for value in values)
    return [f"    * - {first}".rstrip(), *(f"      - {value}".rstrip() for value in others)]


def main() -> None:
    """Read the results and write the files."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    write(json.loads(path.read_text()), ROOT / "docs")


if __name__ == "__main__":
    main()
