"""What the documentation shows of the benchmarks is made from the results that are in the tree."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from commands import DEADLINE
from peers import eventually
from support import require_module

import syncws

ROOT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"
PLOTS = ["performance.svg", "performance-small.svg"]


def module(name: str) -> Any:
    # By its path, because there is another module of the same name among the tests.
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


report = module("report")
PEERS = module("peers").PEERS

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
}


@pytest.mark.parametrize("file", ["explanation/performance-results.inc", *(f"images/{name}" for name in PLOTS)])
def test_documentation_is_made_from_the_results_in_the_tree(tmp_path: Path, file: str) -> None:
    (tmp_path / "explanation").mkdir()
    report.write(json.loads((ROOT / "benchmarks" / "results.json").read_text()), tmp_path)
    wanted = (tmp_path / file).read_text()
    assert (ROOT / "docs" / file).read_text() == wanted, "run benchmarks/report.py"


@pytest.mark.parametrize("file", PLOTS)
def test_plots_are_small_and_can_be_read_aloud(file: str) -> None:
    path = ROOT / "docs" / "images" / file
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
    assert "CPython 3.11.0, Linux on x86_64, 2 cores, 2026-01-31: the medians of 3 rounds of 0.5 s.\n" in text
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


@pytest.mark.parametrize("name", ["syncws", "syncws.gevent", "websockets.sync", "websockets", "aiohttp"])
def test_peers_send_back_what_they_get(name: str, tmp_path: Path) -> None:
    """Those that the tests need anyway; the others are of the extra ``benchmark``."""
    for package in PEERS[name].packages:
        require_module(package)
    with (tmp_path / "port").open("w+") as file:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), name, str(port)]
        with subprocess.Popen(command, stderr=file) as process:
            try:
                opened: list[syncws.WebSocket] = []

                def is_open() -> bool:
                    try:
                        opened.append(syncws.connect(f"ws://127.0.0.1:{port}/", max_message_size=None))
                    except OSError:
                        assert process.poll() is None
                    return bool(opened)

                eventually(is_open)
                with opened[0] as ws:
                    for message in ("text", b"binary", b"x" * 2**21):
                        ws.send(message)
                        assert ws.receive(timeout=DEADLINE) == message
            finally:
                process.kill()


def test_peers_say_what_they_are() -> None:
    assert PEERS["syncws"].versions() == {"syncws": syncws.__version__}
    assert not PEERS["syncws"].is_compiled()
    assert PEERS["syncws"]._replace(packages=("there-is-no-such-package",)).versions() is None
    assert not PEERS["syncws"]._replace(compiled="there_is_no_such_module").is_compiled()
    assert not PEERS["syncws"]._replace(compiled="json").is_compiled()


def test_comparison_writes_what_the_report_reads(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--short", "--peers", "syncws,raw threads"]
    file = tmp_path / "results.json"
    result = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, timeout=2 * DEADLINE)
    assert result.returncode == 0, result.stderr
    results = json.loads(file.read_text())
    assert results.keys() == RESULTS.keys()
    assert list(results["peers"]) == ["syncws", "raw threads"]
    ET.fromstring(report.plot(results))
    assert "raw threads" in report.table(results)


def test_comparison_of_an_unknown_server() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--peers", "syncws,websockets, uvloop,nobody"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 2
    assert "there is no 'nobody'" in result.stderr
