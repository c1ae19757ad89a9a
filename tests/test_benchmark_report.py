"""What the documentation shows of the benchmarks is made from the results that are in the tree."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmark_modules import ROOT, module

SVG = "{http://www.w3.org/2000/svg}"


report = module("report")
PEERS = module("peers").PEERS
IMAGES = ROOT / "docs" / "images"
PLOTS = sorted(path.name for path in IMAGES.glob(report.IMAGES.format("*")))

RESULTS = {
    "date": "2026-01-31",
    "python": "CPython 3.11.0",
    "system": "Linux on x86_64, 2 cores",
    "rounds": 3,
    "seconds": 0.5,
    "peers": {
        "syncws": {"runs_on": "threads", "versions": {"syncws": "1.2"}, "compiled": False},
        "websockets.sync": {"runs_on": "threads", "versions": {"websockets": "17.4"}, "compiled": True},
        "websockets, uvloop": {
            "runs_on": "uvloop",
            "versions": {"websockets": "17.4", "uvloop": "1"},
            "compiled": True,
        },
        "raw threads": {"runs_on": "threads", "versions": {}, "compiled": False},
    },
    "cells": {
        "many & small": {
            "syncws": [300.0, 100.0, 204.0],
            "websockets.sync": [100.0, 100.0, 100.0],
            "websockets, uvloop": [0.0, 0.0, 0.0],
            "raw threads": [43210.0, 54321.0, 65432.0],
        },
        "2 connections x large": {"syncws": [1.0], "websockets.sync": [2.0], "websockets, uvloop": [0.0]},
    },
    "load": {"many & small": 0.42},
}
MEMORY = {"an idle connection": {"syncws": [33.3, 20.0], "websockets.sync": [70.4, 70.4], "raw threads": [23.2, 23.2]}}
HANDSHAKES = {
    "opened and closed, 16 connections at a time": {"syncws": [520.0, 500.0], "websockets.sync": [200.0, 200.0]}
}


def test_documentation_is_made_from_the_results_in_the_tree(tmp_path: Path) -> None:
    (tmp_path / "explanation").mkdir()
    written = report.write(json.loads((ROOT / "benchmarks" / "results.json").read_text()), tmp_path)
    assert sorted(path.name for path in written if path.suffix == ".svg") == PLOTS, "run benchmarks/report.py"
    for path in written:
        in_tree = ROOT / "docs" / path.relative_to(tmp_path)
        assert in_tree.read_text() == path.read_text(), "run benchmarks/report.py"


@pytest.mark.parametrize("file", PLOTS)
def test_plots_are_small_and_can_be_read_aloud(file: str) -> None:
    path = IMAGES / file
    assert path.stat().st_size < 100_000
    svg = ET.parse(path).getroot()
    assert svg.get("role") == "img"
    for name in svg.get("aria-labelledby", "").split():
        (element,) = (each for each in svg.iter() if each.get("id") == name)
        assert element.text


def texts(svg: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]


def test_plot_has_bars_of_medians_from_the_fastest_to_the_slowest() -> None:
    svg = ET.fromstring(report.plot(RESULTS))
    assert texts(svg) == [
        "many & small – messages per second",
        *("raw threads, no protocol", "54\u202f300 →"),
        *("syncws, threads", "204"),
        *("websockets.sync, threads", "100"),
        *("websockets, uvloop", "0"),
        "2 connections x large – messages per second",
        *("websockets.sync, threads", "2"),
        *("syncws, threads", "1"),
        *("websockets, uvloop", "0"),
        "CPython 3.11.0, Linux on x86_64, 2 cores; syncws 1.2, frames in plain Python.",
        "Medians of 3 rounds; the lines go from the slowest round to the fastest.",
    ]
    bars = [(rect.get("class"), float(rect.get("width", ""))) for rect in svg.iter(f"{SVG}rect")][1:]
    assert [kind for kind, _ in bars] == ["limit", "ours", "theirs", "theirs", "theirs", "ours", "theirs"]
    assert bars[4][1] == pytest.approx(2 * bars[5][1])
    words = svg.find(f"{SVG}desc")
    assert words is not None and words.text is not None
    assert words.text.startswith("many & small: raw threads 54321, syncws 1.2 204, websockets.sync 17.4 100, ")


def test_plot_of_some_cells_and_without_us() -> None:
    results = copy.deepcopy(RESULTS)
    del results["peers"]["syncws"], results["cells"]["2 connections x large"]["syncws"]  # type: ignore[attr-defined]
    found = texts(ET.fromstring(report.plot(results, ["2 connections x large"])))
    assert found[0] == "2 connections x large – messages per second"
    assert found[-2] == "CPython 3.11.0, Linux on x86_64, 2 cores."
    assert len(found) == 7


def test_table() -> None:
    text = report.table(RESULTS)
    assert (
        "CPython 3.11.0, Linux on x86_64, 2 cores, 2026-01-31: the medians of 3 rounds of 0.5 s. "
        "The load generator used at most 42% of its core.\n"
    ) in text
    assert "What is to be shown" not in text
    rows = [re.split(r"\n +- ?", row.strip()) for row in text.partition("stub-columns")[2].split("* -")[1:]]
    rows[-1] = [cell.partition("\n")[0] for cell in rows[-1]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["Server", "Frames in", "many & small", "2 × large"],
        ["syncws 1.2, threads", "plain Python", "204", "1"],
        ["websockets.sync 17.4, threads", "compiled code", "100", "2"],
        ["websockets 17.4, uvloop", "compiled code", "0", "0"],
        ["raw threads, no protocol", "none", "54\u202f300", ""],
        ["syncws / websockets.sync", "", "2.0", "0.5"],
    ]
    assert text.endswith("\nVersions: syncws 1.2, uvloop 1, websockets 17.4.\n")


def test_results_of_a_smoke_test_are_called_a_trial() -> None:
    results = {**RESULTS, "rounds": 2}
    trial = "A trial run, too short to mean anything."
    assert f".. warning:: {trial}\n" in report.table(results)
    assert texts(ET.fromstring(report.plot(results)))[-1] == trial
    assert trial not in report.table(RESULTS) + report.plot(RESULTS)


def rows_of(text: str, caption: str) -> list[list[str]]:
    block = text.partition(f".. list-table:: {caption}")[2].partition("\n\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"\n +- ?", row)] for row in block.split("* - ")[1:]]


def test_targets_and_groups(tmp_path: Path) -> None:
    (tmp_path / "explanation").mkdir()
    results = {**RESULTS, "cells": {**MEMORY, **HANDSHAKES}}
    written = report.write(results, tmp_path)
    assert [path.name for path in written] == [
        "performance-results.inc",
        "performance-other.svg",
        "performance-used.svg",
        "performance-small.svg",
    ]
    text = written[0].read_text()
    assert rows_of(text, "What is to be shown")[:2] == [
        ["opened and closed, 16 connections at a time", "syncws", "≥ 2.5 × websockets.sync", "2.55", "reached"],
        ["an idle connection", "syncws", "≤ 27 KiB per connection", "26.6", "reached"],
    ]
    memory = rows_of(text, "What is used")
    assert memory == [
        ["Server", "Frames in", "an idle connection"],
        ["syncws 1.2, threads", "plain Python", "26.6"],
        ["websockets.sync 17.4, threads", "compiled code", "70.4"],
        ["raw threads, no protocol", "none", "23.2"],
    ]
    assert texts(ET.parse(written[2]).getroot())[:4] == [
        "an idle connection – KiB per connection, less is better",
        *("raw threads, no protocol", "23.2"),
        "syncws, threads",
    ]


def test_same_server_in_another_build() -> None:
    peer = {"runs_on": "threads", "versions": {"syncws": "1.2"}, "compiled": False}
    results = {**RESULTS, "peers": {"syncws, pure Python": peer}, "cells": {"some": {"syncws, pure Python": [5.0]}}}
    assert texts(ET.fromstring(report.plot(results)))[1] == "syncws, pure Python"
    assert "syncws 1.2, pure Python\n" in report.table(results)
