"""Wrong arguments of every command: one line on standard error, exit status 2, and never a traceback.

Commands and options are asked from the parser, so that a new one is tried as well. :data:`WRONG` says what cannot be a
value of which kind; the words of the messages are in ``test_cli.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest
from commands import DEADLINE, run

from syncws.cli import arguments as command_line
from syncws.cli import main

# By the name of a value in --help, or by the option if its name is too general.
WRONG = {
    "--cafile": ["missing/ca.pem", ""],
    "--certfile": ["missing/chain.pem", ""],
    "BYTES": ["", "x", "1k", "0x10", "1_0", "-1"],
    "COUNT": ["", "x", "1k", "-1"],
    "HOST:PORT": ["", "8000", ":", "localhost:", "localhost:http", "localhost:65536", "::1:80"],
    "MODULE:APP": ["", ":", "hello", ":app", "missing_module:app", "syncws:missing", "syncws:__version__"],
    "'NAME: VALUE'": ["", "Cookie", ": x", "a b: c", "Upgrade: no", "A: b\r\nC: d", "A: \x00"],
    "NETWORK": ["", "*", "localhost", "10.0.0.1/8", "10.0.0.0/33"],
    "PATTERN": ["", "example.com", "https://", "https://example.com/path"],
    "PORT": ["", "x", "-1", "65536", "1.5"],
    "SECONDS": ["", "x", "-1", "nan"],
    "URI": ["", "x", "http://localhost/", "ws:", "ws://", "ws://localhost:x/", "ws://localhost/#top", "ws://a b/"],
}
# Values that are right, of arguments that have to be there.
RIGHT = {"URI": "wss://localhost:1/", "MODULE:APP": "syncws:upgrade"}


class _Asked(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, as the command line makes them."""

    def parse_args(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Asked(parser)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(_Asked) as asked:
            command_line.parse([])
    (choices,) = [action.choices for action in asked.value.parser._actions if isinstance(action.choices, dict)]
    return choices


COMMANDS = commands()


def name_of(action: argparse.Action) -> str:
    """How --help names the value of an argument."""
    return str(action.metavar or action.dest.upper())


def takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def right(command: str) -> list[str]:
    """The command with what it cannot do without."""
    needed = [action for action in COMMANDS[command]._actions if not action.option_strings and action.nargs is None]
    return [command, *(RIGHT.get(name_of(action), "x") for action in needed)]


def wrong_values(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return ["", "no-such-choice"]
    own = [WRONG[option] for option in action.option_strings if option in WRONG]
    return own[0] if own else WRONG.get(name_of(action), [])


def wrong_arguments() -> Iterator[list[str]]:
    yield from ([], [""], ["sing"], ["--sing"], ["--log-level", "debug"])
    for command, parser in COMMANDS.items():
        yield [*right(command), "--sing"]
        if all(action.nargs is None for action in parser._actions if not action.option_strings):
            yield [*right(command), "superfluous"]
        if len(right(command)) > 1:
            yield [command]
        for action in parser._actions:
            if not action.option_strings:
                yield from ([command, value] for value in wrong_values(action))
            elif takes_value(action):
                option = action.option_strings[-1]
                if action.nargs is None:
                    yield [*right(command), option]
                yield from ([*right(command), f"{option}={value}"] for value in wrong_values(action))
            elif not isinstance(action, argparse._HelpAction):
                yield [*right(command), f"{action.option_strings[-1]}=value"]


@pytest.mark.parametrize("arguments", list(wrong_arguments()), ids=lambda each: " ".join(map(ascii, each)) or "none")
def test_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(arguments)
    except SystemExit as end:
        status = end.code
    output, errors = capsys.readouterr()
    assert (status, output) == (2, ""), errors
    assert errors.startswith("syncws"), errors
    assert ": error: " in errors
    assert errors.endswith("\n") and len(errors.splitlines()) == 1, errors


@pytest.mark.parametrize("command", COMMANDS)
def test_kinds_of_values_are_all_in_the_table(command: str) -> None:
    checked = [action for action in COMMANDS[command]._actions if action.type not in (None, str)]
    assert [name_of(action) for action in checked if not wrong_values(action)] == [], "WRONG lacks a row"


@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_process_of_its_own(command: str) -> None:
    result = run(*right(command), "--sing")
    assert (result.returncode, result.stdout) == (2, "")
    assert "unrecognized arguments: --sing; " in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_that_are_no_text(command: str) -> None:
    for arguments in ([command, b"\xff"], [*right(command), b"--\xff"]):
        line = [sys.executable, "-m", "syncws", *arguments]
        result = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=DEADLINE)
        assert (result.returncode, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1, result.stderr
