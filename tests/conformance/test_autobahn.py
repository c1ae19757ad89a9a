"""The Autobahn Testsuite, both roles, with and without permessage-deflate: every case strictly as expected.

It takes minutes, so it runs when the environment variable CONFORMANCE says what to run: ``short``, ``full`` (all
cases) or patterns such as ``5.*,6.4.3``. ``tox -e conformance`` and ``tox -e conformance-full`` set it, and install
the suite.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from commands import running
from conformance import autobahn
from support import require_tool

import syncws

CONFORMANCE = os.environ.get("CONFORMANCE", "")
# Chapters 9 (performance), 12 and 13 (compression) are the long ones; of the last two, `short` has two of each section.
NAMED = {"short": ["[1-7].*", "10.*", "1[23].*.2", "1[23].*.11"], "full": ["*"]}
COMPRESSION = {"12", "13"}
# Chapter 9 has messages of 16 MiB, and one of 65537 fragments, one more than the default allows.
MAX_MESSAGE_SIZE = 16 * 2**20
MAX_FRAGMENTS = 2**17
SUITE_SECONDS = 3600.0

pytestmark = [
    pytest.mark.skipif(not CONFORMANCE, reason="takes minutes; run it with: tox -e conformance"),
    pytest.mark.timeout(SUITE_SECONDS + 60),
]

deflate_off_and_on = pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])


@deflate_off_and_on
def test_server(deflate: bool, tmp_path: Path) -> None:
    wstest, cases = require_wstest(), select_cases(deflate)
    limits = ["--max-message-size", str(MAX_MESSAGE_SIZE), "--max-fragments", str(MAX_FRAGMENTS)]
    with running("echo", "--port", "0", *limits, *(["--compression"] if deflate else [])) as server:
        report = autobahn.fuzz_server(wstest, server.ws_url, cases, tmp_path, SUITE_SECONDS)
    check(report, cases, tmp_path)


@deflate_off_and_on
def test_client(deflate: bool, tmp_path: Path) -> None:
    wstest, cases = require_wstest(), select_cases(deflate)
    with autobahn.fuzzing_server(wstest, cases, tmp_path) as uri:
        for number in range(1, len(cases) + 1):
            echo(f"{uri}/runCase?case={number}&agent={autobahn.AGENT}", deflate)
        echo(f"{uri}/updateReports?agent={autobahn.AGENT}", deflate)
    check(autobahn.read_report(tmp_path), cases, tmp_path)


def require_wstest() -> str:
    wstest = autobahn.find_wstest()
    require_tool("wstest, the Autobahn Testsuite", wstest)
    assert wstest is not None
    return wstest


def select_cases(deflate: bool) -> list[str]:
    cases = autobahn.select(NAMED.get(CONFORMANCE) or CONFORMANCE.split(","))
    assert cases, f"no case matches CONFORMANCE={CONFORMANCE}"
    if not deflate:
        cases = [case for case in cases if case.split(".")[0] not in COMPRESSION]
    if not cases:
        pytest.skip(f"all cases of CONFORMANCE={CONFORMANCE} need compression")
    return cases


def check(report: dict[str, dict[str, object]], cases: list[str], directory: Path) -> None:
    lines = autobahn.complaints(report, cases, directory)
    assert not lines, f"{len(lines)} of {len(cases)} cases, see {directory}/index.html:\n" + "\n".join(lines)


def echo(uri: str, deflate: bool) -> None:
    """Send back what comes, as the suite wants it of a client, until the connection is over."""
    limits = {"max_message_size": MAX_MESSAGE_SIZE, "max_fragments": MAX_FRAGMENTS}
    ws = syncws.connect(uri, compression=deflate, **limits)
    with contextlib.suppress(syncws.ConnectionClosed), ws:
        for message in ws:
            ws.send(message)
