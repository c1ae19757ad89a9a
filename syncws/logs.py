"""The loggers of the package: what they write is one line, whatever a peer has sent.

Targets, header fields, close reasons, addresses and texts of exceptions get into the log, and may have line breaks and
characters that steer a terminal in them. They are escaped here, at the one place that every record passes, so that no
call can forget it. Handlers see the escaped text; the fields of ``extra`` are values, and stay as they are.

A traceback has several lines by nature. In it, what the messages of the exceptions add to these is indented, so that
it cannot pass for a line of the log.

Any thread may log.
"""

from __future__ import annotations

import logging
import traceback

from .escapes import escaped

__all__ = ["get_logger"]


def get_logger(name: str) -> logging.Logger:
    """Return the logger of that name, which escapes from now on."""
    logger = logging.getLogger(name)
    logger.addFilter(_escape)  # the same one a second time changes nothing
    return logger


def _escape(record: logging.LogRecord) -> bool:
    """Make a record fit to be written. Whoever logs must not fail at that: without memory, there is no line."""
    try:
        _make_fit(record)
    except MemoryError:
        return False
    return True


def _make_fit(record: logging.LogRecord) -> None:
    message = record.getMessage()
    if not message.isprintable():
        record.msg, record.args = escaped(message), ()
    if record.exc_info and record.exc_info[1] is not None:
        found = traceback.TracebackException.from_exception(record.exc_info[1])
        if _tame(found):
            # Formatters take this for the traceback that they would make.
            record.exc_text = "".join(found.format()).rstrip("\n")


def _tame(found: traceback.TracebackException) -> bool:
    """Escape the messages of exceptions that are to be shown; return whether that changed one."""
    changed = False
    pending: list[traceback.TracebackException | None] = [found]
    while pending:
        each = pending.pop()
        if each is None:
            continue
        pending += [each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ())]
        message = str(each)
        tamed = "\n    ".join(map(escaped, message.split("\n")))
        if tamed != message:
            each._str = tamed  # type: ignore[attr-defined]
            changed = True
    return changed
