"""Runs the Autobahn Testsuite against a server or a client and judges its report.

The suite is a program of its own, ``wstest``, for CPython 2.7 (``install.py`` beside this file sets it up). As a
*fuzzing client* it connects to a server that echoes, as a *fuzzing server* it waits for a client that echoes; in both
roles it plays one case per connection and writes a report at the end.

Cases are named ``chapter.section.number``; ``expected.json`` holds all of them and what is expected of each.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["AGENT", "EXPECTED", "complaints", "find_wstest", "fuzz_server", "fuzzing_server", "select"]

AGENT = "syncws"
EXPECTED: dict[str, str] = json.loads(Path(__file__).with_name("expected.json").read_text())
# The suite's other verdicts are NON-STRICT, UNCLEAN, WRONG CODE, FAILED BY CLIENT, UNIMPLEMENTED and FAILED.
_GOOD_CLOSE = frozenset({"OK", "INFORMATIONAL"})
_START_SECONDS = 60.0


def find_wstest() -> str | None:
    """Return the path of ``wstest``: the environment variable WSTEST, or else what PATH has, or else None."""
    named = os.environ.get("WSTEST")
    if named and Path(named).is_file():
        return named
    return shutil.which("wstest")


def select(patterns: Iterable[str]) -> list[str]:
    """Return the cases that any of the patterns matches, in the suite's order: ``select(["5.*", "6.4.3"])``."""
    wanted = tuple(patterns)
    return [case for case in EXPECTED if any(fnmatch.fnmatchcase(case, pattern) for pattern in wanted)]


def fuzz_server(
    wstest: str, uri: str, cases: list[str], directory: Path, timeout: float
) -> dict[str, dict[str, object]]:
    """Play the cases against the echo server at ``uri``; return the report: what was found for each case.

    :param directory: where the suite writes, one page for each case among it.
    :param timeout: seconds for all cases together.
    """
    command = _command(wstest, "fuzzingclient", {"servers": [{"agent": AGENT, "url": uri}]}, cases, directory)
    with (directory / "wstest.log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, env=_environment(), cwd=directory, timeout=timeout, check=True)
    return read_report(directory)


@contextlib.contextmanager
def fuzzing_server(wstest: str, cases: list[str], directory: Path) -> Iterator[str]:
    """Run the suite as a server; give its URI, without a path.

    A client plays case *n* of ``cases``, counted from 1, at ``/runCase?case=n&agent=syncws``; the report is written by
    the time that a connection to ``/updateReports?agent=syncws`` has been closed by the server.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    uri = f"ws://127.0.0.1:{port}"
    command = [*_command(wstest, "fuzzingserver", {"url": uri}, cases, directory), "--webport=0"]
    with (directory / "wstest.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(), cwd=directory)
        try:
            _wait_until_it_listens(process, port)
            yield uri
        finally:
            process.terminate()
            process.wait()


def read_report(directory: Path) -> dict[str, dict[str, object]]:
    """Return what the suite found for each case, from the report in ``directory``."""
    report: dict[str, dict[str, object]] = json.loads((directory / "index.json").read_text())[AGENT]
    return report


def complaints(report: dict[str, dict[str, object]], cases: Iterable[str], directory: Path) -> list[str]:
    """Return one line for each case that is not as expected, and what the suite says of it."""
    lines = []
    for case in cases:
        found = report.get(case)
        if found is None:
            lines.append(f"{case}: not in the report")
        elif found["behavior"] != EXPECTED[case] or found["behaviorClose"] not in _GOOD_CLOSE:
            details = json.loads((directory / str(found["reportfile"])).read_text())
            lines.append(
                f"{case}: {found['behavior']} (expected {EXPECTED[case]}), close {found['behaviorClose']}: "
                f"{details['result']} {details['resultClose']}"
            )
    return lines


def _command(wstest: str, mode: str, spec: dict[str, object], cases: list[str], directory: Path) -> list[str]:
    spec_file = directory / "spec.json"
    common = {"outdir": str(directory), "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
    spec_file.write_text(json.dumps(spec | common))
    return [wstest, f"--mode={mode}", f"--spec={spec_file}"]


def _environment() -> dict[str, str]:
    # What is on this Python's path is no use to Python 2.7, and would break it.
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the fuzzing server did not start; see wstest.log") from None
            time.sleep(0.05)
