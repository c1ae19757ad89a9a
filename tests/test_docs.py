"""The documentation names what there is: every option, with its default, and every argument of the command line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from commands import run

import syncws
from syncws.options import Options
from syncws.server import ServerOptions
from syncws.server_wsgi import WSGIServerOptions

ROOT = Path(__file__).resolve().parent.parent
OPTIONS_PAGE = (ROOT / "docs" / "reference" / "options.rst").read_text()
COMMAND_LINE_PAGE = (ROOT / "docs" / "reference" / "command-line.rst").read_text()


def documented(title: str) -> dict[str, str]:
    """The names of a section of the options page, and the default that it gives."""
    section = OPTIONS_PAGE.split(f"\n{title}\n---", 1)[1].split("\n---", 1)[0]
    return dict(re.findall(r"\* - ``(\w+)``\n +- .*\n +- ``(.*)``\n", section))


def fields(options: type) -> dict[str, str]:
    """The names of a class of options, and their defaults as the documentation writes them."""
    return {field.name: repr(field.default).replace("'", '"') for field in dataclasses.fields(options)}


def test_options_of_a_connection() -> None:
    assert documented("Of a connection") == fields(Options)


def test_options_of_servers() -> None:
    assert documented("Of a server") == fields(ServerOptions)
    assert documented("Of a server") | documented("Of a WSGI server") == fields(WSGIServerOptions)


def test_options_of_the_client() -> None:
    parameters = list(inspect.signature(syncws.connect).parameters.values())
    own = {each.name: repr(each.default) for each in parameters if each.default is not inspect.Parameter.empty}
    assert documented("Of the client") == {name: own[name] for name in own if name not in fields(Options)}


@pytest.mark.parametrize("command", ["demo", "serve", "echo", "connect", "trace", "decode"])
def test_arguments_of_the_command_line(command: str) -> None:
    for argument in re.findall(r"--[a-z][a-z-]+", run(command, "--help").stdout):
        assert argument == "--help" or argument in COMMAND_LINE_PAGE


def test_output_on_the_page_of_the_wire_view_is_real() -> None:
    page = (ROOT / "docs" / "howto" / "wire-view.rst").read_text()
    shown = re.findall(r"^    \$ echo (.*) \| python -m syncws (.*)\n((?:    .*\n|\n)+)", page, re.MULTILINE)
    assert len(shown) == 2
    for digits, arguments, output in shown:
        lines = run(*arguments.split(), input=digits).stdout.rstrip("\n").split("\n")
        assert [line.removeprefix("    ") for line in output.rstrip("\n").split("\n")] == lines


def test_tests_that_the_security_page_names_exist() -> None:
    page = (ROOT / "docs" / "explanation" / "security.rst").read_text()
    named = re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", page)
    assert len(named) == page.count("``tests/"), "each is written as file::function"
    for file, function in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{file}::{function}"


def test_every_promise_of_the_security_page_has_a_test() -> None:
    page = (ROOT / "docs" / "explanation" / "security.rst").read_text()
    rows = page.split("\n    * - ")[1:]
    promises = [row for row in rows if not row.startswith("Promise\n")]
    assert promises
    assert [row for row in promises if "``tests/" not in row] == []


def test_security_policy_is_in_the_source_distribution() -> None:
    assert "SECURITY.md" in (ROOT / "MANIFEST.in").read_text().split()
