"""The Autobahn Testsuite on every host: every case strictly as expected.

It takes minutes, so it runs when the environment variable HOSTS_CONFORMANCE says what to run: ``short`` or ``full``, of
which only the latter counts for the table in the documentation. ``tox -e hosts-conformance`` and ``tox -e
hosts-conformance-full`` set it, and install the suite.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conformance import autobahn
from hosts.runners import Served
from hosts.scenarios import scenario
from support import require_tool

HOSTS_CONFORMANCE = os.environ.get("HOSTS_CONFORMANCE", "")
# A case of chapters 12 and 13 takes up to twenty seconds, one of the others a fraction of one.
CASES = {
    "short": ["[1-7].*", "10.*", "12.1.2", "13.1.2"],
    "full": ["[1-7].*", "10.*", "12.1.*", "13.1.*"],
}
SUITE_SECONDS = 1200.0

pytestmark = [
    pytest.mark.skipif(not HOSTS_CONFORMANCE, reason="takes minutes; run it with: tox -e hosts-conformance"),
    pytest.mark.timeout(SUITE_SECONDS + 60),
]
TITLE = "Autobahn Testsuite, chapters 1 to 7, 10, 12.1 and 13.1: each case strictly as it should be"


@(scenario(TITLE) if HOSTS_CONFORMANCE == "full" else lambda test: test)
def test_autobahn(served: Served, tmp_path: Path) -> None:
    wstest, cases = autobahn.find_wstest(), autobahn.select(CASES[HOSTS_CONFORMANCE])
    require_tool("wstest, the Autobahn Testsuite", wstest)
    assert wstest is not None
    # It does not look at certificates.
    uri = "{}://{}:{}/conformance".format(served.scheme, *served.address)
    report = autobahn.fuzz_server(wstest, uri, cases, tmp_path, SUITE_SECONDS)
    lines = autobahn.complaints(report, cases, tmp_path)
    assert not lines, f"{len(lines)} of {len(cases)} cases, see {tmp_path}/index.html:\n" + "\n".join(lines)
    served.poll(lambda: served.get("/running") == "0")
    assert served.unexpected() == ""
