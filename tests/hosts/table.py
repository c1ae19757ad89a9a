"""Makes the tables of docs/reference/hosts.rst of the results of a test run.

Run, in the root directory:

    HOSTS_RESULTS=results.json pytest tests/hosts
    PYTHONPATH=tests python tests/hosts/table.py results.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hosts.runners import HOSTS

__all__ = ["OUTPUT", "rendered"]

OUTPUT = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "hosts-results.inc"


def rendered(results: dict[str, Any]) -> str:
    """The tables as reStructuredText: one for each family of hosts, a line for each scenario."""
    versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    cells = results["results"]
    scenarios = list(dict.fromkeys(scenario for host in HOSTS for scenario in cells[host.name]))
    lines = [".. Made by tests/hosts/table.py.", "", f"Python {results['python']}, {versions}.", ""]
    for family in dict.fromkeys(host.family for host in HOSTS):
        hosts = [host for host in HOSTS if host.family == family]
        lines += [
            f".. list-table:: {family}",
            "    :header-rows: 1",
            "",
            "    * - ",
            *_rest(host.title for host in hosts),
        ]
        for scenario in scenarios:
            outcomes = [cells[host.name].get(scenario) for host in hosts]
            marks = ["–" if outcome is None else "✓" if outcome else "fails" for outcome in outcomes]
            lines += [f"    * - {scenario}", *_rest(marks)]
        lines.append("")
    return "\n".join(lines)


def _rest(cells: Any) -> list[str]:
    return [f"      - {cell}" for cell in cells]


if __name__ == "__main__":
    OUTPUT.write_text(rendered(json.loads(Path(sys.argv[1]).read_text())))
