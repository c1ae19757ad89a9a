"""Every code block of the documentation is run, or checked as far as that is possible without what it is meant for.

The Python of a page is run in a process of its own, by ``docs_page.py``; what a page assumes is in
``docs_surroundings.py``. Of commands it is checked that they exist and that their arguments are right, of configuration
that it can be parsed. Adding a page takes nothing here, as long as its blocks stand for themselves.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_blocks import PAGES, ROOT, Block, all_blocks, blocks_of, columns_of
from docs_commands import check, commands_of
from docs_page import MISSING_PACKAGE, fit
from support import require_module, require_tool

PYTHON = {"python", "pycon"}
COMMANDS = {"console", "sh"}
CONFIGURATION = {"ini", "json", "yaml", "javascript"}
# Languages of which nothing is checked here: examples/nginx.conf and haproxy.cfg are run by the tests of the hosts.
OTHERS = {"css", "haproxy", "html", "http", "nginx", "text"}

DEADLINE = 100.0  # seconds: the process that runs a page gives up before


@pytest.mark.parametrize("page", sorted({block.page for block in all_blocks(*PYTHON)}))
def test_python_of_a_page(page: str) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "docs_page.py"), page]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    if result.returncode == MISSING_PACKAGE:
        require_tool(f"the Python module {result.stdout.splitlines()[-1]}", False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_blocks_that_are_not_run() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.not_run:
                print(f"{block}: {block.not_run}")
                if block.language == "python":
                    ast.parse(columns_of(block)[-1])


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_known(page: str) -> None:
    known = PYTHON | COMMANDS | CONFIGURATION | OTHERS
    assert [str(block) for block in blocks_of(page) if block.language not in known] == []
    if page.endswith(".rst"):
        assert not re.search(r"^(?! *\.\. ).*::$", (ROOT / page).read_text(), re.MULTILINE), "say which language it is"


def test_code_of_other_packages_is_python() -> None:
    shown = [block for block in all_blocks("python") if len(columns_of(block)) == 2]
    assert shown
    for block in shown:
        ast.parse(columns_of(block)[0])


LINES = [(block, line) for block in all_blocks(*COMMANDS) if not block.not_run for line in commands_of(block)]


@pytest.mark.parametrize("block, line", LINES, ids=[f"{block.page}-{line}" for block, line in LINES])
def test_command(block: Block, line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", found := all_blocks(*CONFIGURATION), ids=[str(block) for block in found])
def test_configuration_can_be_parsed(block: Block, tmp_path: Path) -> None:
    if block.language == "ini":
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(block.code)
        assert parser.sections()
    elif block.language == "json":
        lines = block.code.splitlines() if "\n{" in block.code else [block.code]
        assert [json.loads(line) for line in lines]
    elif block.language == "yaml":
        require_module("yaml")
        assert importlib.import_module("yaml").safe_load(block.code)
    else:
        require_tool("node", shutil.which("node"))
        (tmp_path / "block.js").write_text(block.code)
        subprocess.run(["node", "--check", "block.js"], cwd=tmp_path, check=True, timeout=DEADLINE)


# The mechanism itself.


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that is outside of the project; to be written."""
    monkeypatch.setattr("docs_blocks.ROOT", tmp_path)
    return tmp_path / "page.rst"


def test_blocks_are_found_where_they_are(page: Path) -> None:
    page.write_text(
        "Text.\n\n.. code-block:: python\n    :linenos:\n\n    a = 1\n\n    b = 2\n\n- A list\n\n"
        "  .. not-run: no reason\n\n  .. code-block:: console\n\n      $ ls\n\n>>> 1 + 1\n2\n\n"
        ".. code-block:: text\n\n    c\n"
    )
    assert blocks_of("page.rst") == [
        Block("page.rst", 6, "python", "a = 1\n\nb = 2\n", None),
        Block("page.rst", 16, "console", "$ ls\n", "no reason"),
        Block("page.rst", 18, "pycon", ">>> 1 + 1\n2\n", None),
        Block("page.rst", 23, "text", "c\n", None),
    ]
    (page.with_suffix(".md")).write_text("```sh\nls\n```\n<!-- not-run: so what -->\n```python\n1\n```\n```\n2\n```\n")
    assert blocks_of("page.md") == [
        Block("page.md", 2, "sh", "ls\n", None),
        Block("page.md", 6, "python", "1\n", "so what"),
        Block("page.md", 9, "", "2\n", None),
    ]


def test_block_of_two_columns_has_two() -> None:
    block = Block("page.rst", 1, "python", "# other            # syncws\nimport other       import syncws\n", None)
    assert columns_of(block) == ["# other\nimport other", "# syncws\nimport syncws"]
    assert columns_of(Block("page.rst", 1, "python", "1\n", None)) == ["1\n"]


def test_ports_are_replaced_and_nothing_else() -> None:
    code = (
        """f(("127.0.0.1", 80)), f(("", 80)), f(port=80), f("ws://localhost:80/"), return "", 80, ("x", 80), x[:80]"""
    )
    assert fit(code, lambda number: number + 1) == code.replace("80", "81", 4)


@pytest.mark.parametrize(
    "code, word",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("\n    def test_it():\n        assert False", "AssertionError"),
        ("syncws = 1; serve_forever()", "NameError"),
        ("import syncws; syncws.connect('ws://example.com')", "do not say where example.com is"),
    ],
)
def test_failure_names_page_and_line(page: Path, code: str, word: str) -> None:
    page.write_text(f".. code-block:: python\n\n    {code}\n")
    command = [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(page)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 1
    assert word in result.stderr
    assert f'File "{page}", line ' in result.stderr


def test_session_of_the_interpreter(page: Path) -> None:
    page.write_text(
        ".. code-block:: python\n\n    x = 2\n\n>>> y = x\n>>> x + y\n4\n\n.. code-block:: pycon\n\n    >>> y\n    3\n"
    )
    command = [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(page)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 1
    assert "DocTestFailure: <DocTest" in result.stderr and f"from {page}:10" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "syncws sing",
        "python -m syncws echo --sing",
        "echo hello | .venv/bin/python -m syncws connect",
        "make && true",
        "pip install 'syncws[singing]'",
        "CI=true pytest tests/test_singing.py",
        "pytest tests/test_docs_code.py::test_singing",
        "tox -e singing",
        "gunicorn --singing app:app",
        "python benchmarks/compare.py --singing",
        "python -m singing",
    ],
)
def test_command_that_cannot_work(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)


def test_command_that_can_work() -> None:
    check("A=b python3 -m venv .venv && .venv/bin/pip install '.[test]' > log; syncws echo --port 0 < /dev/null")
    check("python answers.py; python -c 'print(1)'; pytest -s tests/test_docs_code.py::test_command; tox -e docs,lint")


def test_page_without_a_package(page: Path) -> None:
    page.write_text(".. code-block:: python\n\n    import there_is_no_such_package.at_all\n")
    command = [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(page)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert (result.returncode, result.stdout) == (MISSING_PACKAGE, "there_is_no_such_package\n")
