"""The page about faults names all of them, and for each the tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reference" / "faults.rst").read_text()


def test_all_faults_are_there() -> None:
    numbers = [int(number) for number in re.findall(r"^    \* - (\d+)$", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, 20))


def test_the_tests_that_prove_it_exist() -> None:
    rows = re.split(r"^    \* - \d+$", PAGE, flags=re.MULTILINE)[1:]
    for row in rows:
        assert "``test_" in row, row
    named = re.findall(r"``(\w[\w/]+\.py)``((?:[,:\s]+``test_\w+``)+)", PAGE)
    assert len(named) >= len(rows)
    for path, names in named:
        tree = ast.parse((ROOT / "tests" / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert set(re.findall(r"test_\w+", names)) <= functions, path
    # None is named in another way, which would not be looked at.
    assert len(re.findall(r"``test_\w+``", PAGE)) == sum(len(re.findall(r"``", names)) // 2 for _, names in named)
