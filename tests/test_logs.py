"""The loggers of the package: what a peer has sent cannot forge a line of the log, nor steer a terminal."""

from __future__ import annotations

import ast
import builtins
import io
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import syncws
from syncws.logs import get_logger

PACKAGE = Path(syncws.__file__).resolve().parent
NASTY = "x\n2026-01-01 CRITICAL forged\r\x1b[2J\x85\u202e"
SHOWN = "x\\n2026-01-01 CRITICAL forged\\r\\x1b[2J\\x85\\u202e"


class Log:
    """A logger of the package, and what comes out of it."""

    def __init__(self) -> None:
        self.logger = get_logger(f"syncws.test.{uuid.uuid4()}")
        self.logger.setLevel(logging.DEBUG)
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger.addHandler(self._handler)
        self.logger.propagate = False

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def close(self) -> None:
        self.logger.removeHandler(self._handler)


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.close()


class Nasty:
    """An object that shows what a peer has sent."""

    def __repr__(self) -> str:
        return NASTY


@pytest.mark.parametrize("value", [NASTY, ValueError(NASTY), Nasty()], ids=["str", "exception", "object"])
@pytest.mark.parametrize("conversion", ["%s", "%.500s", "%r"])
def test_a_message_is_one_line(log: Log, value: object, conversion: str) -> None:
    log.logger.info(f"{conversion} from %s", value, ("127.0.0.1", 80))
    assert log.text.count("\n") == 1
    assert log.text[:-1].isprintable()
    assert "forged" in log.text
    assert log.text.endswith(" from ('127.0.0.1', 80)\n")


def test_a_plain_record_keeps_its_arguments(log: Log) -> None:
    records: list[logging.LogRecord] = []
    log.logger.addFilter(lambda record: bool(records.append(record)) or True)
    log.logger.info("refused %s with %d", "somebody", 403)
    log.logger.info("refused %s with %d", NASTY, 403)
    # What groups records by their message goes on to do so.
    assert (records[0].msg, records[0].args) == ("refused %s with %d", ("somebody", 403))
    assert records[1].getMessage() == f"refused {SHOWN} with 403"


def test_the_fields_of_extra_are_values(log: Log) -> None:
    records: list[logging.LogRecord] = []
    log.logger.addFilter(lambda record: bool(records.append(record)) or True)
    log.logger.info("a connection", extra={"path": NASTY})
    assert vars(records[0])["path"] == NASTY


def test_a_logger_escapes_once() -> None:
    logger = get_logger("syncws.server")
    assert logger is get_logger("syncws.server")
    assert len(logger.filters) == 1


def test_the_lines_of_a_traceback_cannot_be_forged(log: Log) -> None:
    try:
        try:
            raise ValueError(NASTY)
        except ValueError as error:
            raise RuntimeError(f"all is lost: {error}") from error
    except RuntimeError:
        log.logger.exception("it failed")
    assert log.text.startswith("ERROR it failed\nTraceback (most recent call last):\n")
    assert "ValueError: x\n    2026-01-01 CRITICAL forged\\r\\x1b[2J\\x85\\u202e\n" in log.text
    assert "RuntimeError: all is lost: x\n    2026" in log.text
    assert log.text.replace("\n", "").isprintable()
    assert not [line for line in log.text.split("\n") if line.startswith("2026")]


def test_an_ordinary_traceback_is_left_to_the_formatter(log: Log) -> None:
    records: list[logging.LogRecord] = []
    log.logger.addFilter(lambda record: bool(records.append(record)) or True)
    try:
        raise ValueError("plain")
    except ValueError:
        log.logger.exception("it failed")
    log.logger.error("no exception", exc_info=True)
    assert records[0].exc_text is None or "ValueError: plain" in records[0].exc_text
    assert log.text.count("Traceback") == 1
    assert "ValueError: plain\n" in log.text


def test_a_group_of_exceptions(log: Log) -> None:
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("there are groups from Python 3.11 on")
    try:
        raise group("several", [ValueError(NASTY), TypeError("plain")])
    except Exception:
        log.logger.exception("they failed")
    assert "CRITICAL forged\\r" in log.text
    assert log.text.replace("\n", "").isprintable()


def test_no_memory_for_a_line(log: Log) -> None:
    class Greedy:
        def __str__(self) -> str:
            raise MemoryError

    log.logger.info("there is %s", Greedy())
    log.logger.info("there is some again")
    assert log.text == "INFO there is some again\n"


def test_every_logger_of_the_package_escapes() -> None:
    """Nobody asks logging for a logger; Gunicorn's handlers are given to the one above all of ours."""
    found = []
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("getLogger", "getLoggerClass"):
                found.append(module.name)
    assert sorted(found) == ["gunicorn.py", "logs.py"]
