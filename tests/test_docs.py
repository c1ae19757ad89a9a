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

ROOT = Path(__file__).resolve().parent.parent
OPTIONS_PAGE = (ROOT / "docs" / "reference" / "options.rst").read_text()
COMMAND_LINE_PAGE = (ROOT / "docs" / "reference" / "command-line.rst").read_text()


def defaults(callable_: object) -> dict[str, object]:
    """The named parameters of a function that have a default."""
    assert callable(callable_)
    parameters = inspect.signature(callable_).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def documented(title: str) -> dict[str, str]:
    """The names of a section of the options page, and the default that it gives."""
    section = OPTIONS_PAGE.split(f"\n{title}\n---", 1)[1].split("\n---", 1)[0]
    return dict(re.findall(r"\* - ``(\w+)``\n +- .*\n +- ``(.*)``\n", section))


def test_options_of_a_connection() -> None:
    expected = {field.name: repr(field.default).replace("'", '"') for field in dataclasses.fields(Options)}
    assert documented("Of a connection") == expected


@pytest.mark.parametrize("server", [syncws.WebSocketServer, syncws.WSGIServer])
def test_options_of_a_server(server: type) -> None:
    own = {name: value for name, value in defaults(server).items() if name not in documented("Of a connection")}
    assert documented("Of a server") == {name: repr(value) for name, value in own.items()}


def test_options_of_the_client() -> None:
    own = {name: value for name, value in defaults(syncws.connect).items() if name not in documented("Of a connection")}
    assert documented("Of the client") == {name: repr(value) for name, value in own.items()}


@pytest.mark.parametrize("command", ["demo", "serve", "echo", "connect"])
def test_arguments_of_the_command_line(command: str) -> None:
    for argument in re.findall(r"--[a-z][a-z-]+", run(command, "--help").stdout):
        assert argument == "--help" or argument in COMMAND_LINE_PAGE


def test_python_in_the_readme_compiles_and_uses_names_that_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "syncws":
                assert hasattr(syncws, node.attr)


def test_links_in_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)(.*?)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
