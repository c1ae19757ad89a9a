"""Checking the commands that the documentation shows, without running them.

:func:`check` raises :exc:`AssertionError` for a command that cannot work: an option that syncws does not have, a file,
a test, an environment of tox or an extra of pip that is not there. A program that it does not know is one too, until it
is given a line in one of the two tables.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Callable
from pathlib import PurePath

from docs_blocks import ROOT, Block
from support import require_module

from syncws.cli import arguments as command_line

__all__ = ["check", "commands_of"]

_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


def commands_of(block: Block) -> list[str]:
    """Return the lines of a block that are typed; a line that ends with a backslash goes on in the next one."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        return [line[2:] for line in lines if line.startswith(("$ ", "# "))]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def check(line: str) -> None:
    """Check a line, which may have several commands in it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    command: list[str] = []
    for token in [*lexer, ";"]:
        if not set(token) <= set("|&;"):
            command.append(token)
        elif command:
            _check_command(_without_redirections(command))
            command = []


def _without_redirections(command: list[str]) -> list[str]:
    while command and _ASSIGNMENT.fullmatch(command[0]):
        command = command[1:]
    for index, token in enumerate(command):
        if set(token) <= set("<>"):
            return command[:index] + _without_redirections(command[index + 2 :])
    return command


def _check_command(command: list[str]) -> None:
    if not command:
        return
    name = PurePath(command[0]).name
    if name not in _ELSEWHERE:
        assert name in _CHECKS, f"{name} is in no table of tests/docs_commands.py"
        _CHECKS[name](command[1:])


def _syncws(arguments: list[str]) -> None:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            command_line.parse(arguments)
    except SystemExit as end:
        assert end.code == 0, errors.getvalue()  # --help and --version


def _python(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
    elif arguments[0] != "-m":
        _script(arguments)
    elif arguments[1] == "syncws":
        _syncws(arguments[2:])
    elif arguments[1] in _CHECKS:
        _CHECKS[arguments[1]](arguments[2:])
    else:
        assert importlib.util.find_spec(arguments[1]), f"there is no module {arguments[1]}"


def _script(arguments: list[str]) -> None:
    path = ROOT / arguments[0]
    if path.parent != ROOT:  # else it is one that the reader has written
        text = path.read_text()
        for argument in arguments[1:]:
            assert not argument.startswith("--") or f'"{argument.partition("=")[0]}"' in text, f"{argument} of {path}"


def _pip(arguments: list[str]) -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for argument in arguments:
        if found := re.fullmatch(r"(?:syncws|\.)\[(.*)\]", argument):
            assert set(found[1].split(",")) <= set(settings["options.extras_require"]), argument


def _pytest(arguments: list[str]) -> None:
    for argument in arguments:
        if argument.startswith("tests"):
            file, _, function = argument.partition("::")
            path = ROOT / file
            assert path.exists() and f"def {function.partition('[')[0]}" in (path.read_text() if function else "def ")


def _tox(arguments: list[str]) -> None:
    if "-e" in arguments:
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(ROOT / "tox.ini")
        known = {section.removeprefix("testenv:") for section in settings.sections()}
        known |= set(re.split(r",\s*", settings["tox"]["env_list"]))
        assert set(arguments[arguments.index("-e") + 1].split(",")) <= known, arguments


def _gunicorn(arguments: list[str]) -> None:
    require_module("gunicorn")
    from gunicorn.config import Config

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            Config().parser().parse_args(arguments)
    except SystemExit:
        raise AssertionError(errors.getvalue()) from None


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    "gunicorn": _gunicorn,
    "pip": _pip,
    "pytest": _pytest,
    "python": _python,
    "python3": _python,
    "syncws": _syncws,
    "tox": _tox,
}
# Programs of others, of whose arguments nothing is known here.
_ELSEWHERE = {
    "apt",
    "apt-get",
    "bash",
    "cat",
    "cd",
    "chromium",
    "cp",
    "curl",
    "echo",
    "flask",
    "git",
    "grep",
    "haproxy",
    "head",
    "journalctl",
    "kill",
    "mkdir",
    "nginx",
    "npm",
    "openssl",
    "printf",
    "ruff",
    "mypy",
    "sphinx-build",
    "sudo",
    "systemctl",
    "tail",
    "twine",
    "ulimit",
    "waitress-serve",
    "xxd",
}
