"""The host that a test is for, and the results of all of them as a file.

If the environment variable HOSTS_RESULTS names a file, what each scenario has shown on each host is put into it, beside
what earlier runs have left there; ``table.py`` makes the tables of the documentation of it.
"""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hosts.runners import HOSTS, Host, Served, serving

RESULTS = pytest.StashKey[dict[tuple[str, str], bool]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(scenario): what the test shows on each host")
    config.stash[RESULTS] = {}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has it ignored in what it runs in the background; the hosts, which are to be stopped with it, would
        # inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: host.name)
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Each of the hosts in turn, running."""
    with serving(request.param, tmp_path_factory.mktemp(request.param.name)) as running:
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Leave out what a host does not have."""

    def applies(item: Any) -> bool:
        marker = item.get_closest_marker("scenario")
        return marker is None or marker.args[0].applies(item.callspec.params["served"])

    left_out = [item for item in items if not applies(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if applies(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    report = yield
    marker = item.get_closest_marker("scenario")
    if marker is not None:
        host: Host = item.callspec.params["served"]
        results = item.config.stash[RESULTS]
        cell = host.name, marker.args[0].title
        results[cell] = results.get(cell, True) and (report.passed or (report.when == "teardown" and not report.failed))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    results, name = session.config.stash[RESULTS], os.environ.get("HOSTS_RESULTS")
    if not (results and name):
        return
    file = Path(name)
    everything: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"versions": {}, "results": {}}
    everything["python"] = platform.python_version()
    for package in sorted({package for host in HOSTS for package in host.packages}):
        everything["versions"][package] = version(package)
    for (host, scenario), passed in results.items():
        everything["results"].setdefault(host, {})[scenario] = passed
    file.write_text(json.dumps(everything, indent=1) + "\n")
