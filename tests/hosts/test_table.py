"""The tables in the documentation are of these hosts and these scenarios, and every cell is green."""

from __future__ import annotations

from hosts import test_hosts  # noqa: F401 - the scenarios are those of its tests
from hosts.runners import HOSTS
from hosts.scenarios import SCENARIOS
from hosts.table import OUTPUT
from hosts.test_autobahn import TITLE as AUTOBAHN


def test_tables() -> None:
    text = OUTPUT.read_text()
    for family in {host.family for host in HOSTS}:
        hosts = [host for host in HOSTS if host.family == family]
        table = text.split(f".. list-table:: {family}\n")[1].split(".. list-table::")[0]
        heads, *lines = table.split("\n    * - ")[1:]
        assert heads.split("\n      - ")[1:] == [host.title for host in hosts]
        rows = {line.split("\n")[0]: line.strip().split("\n      - ")[1:] for line in lines}
        # That of the Autobahn Testsuite, which takes most of an hour, is a scenario only where all of it is run.
        assert rows.pop(AUTOBAHN) == ["✓"] * len(hosts)
        assert rows == {
            title: ["✓" if scenario.applies(host) else "–" for host in hosts]
            for title, scenario in SCENARIOS.items()
            if title != AUTOBAHN
        }
