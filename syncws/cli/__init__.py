"""The command line: ``python -m syncws demo | serve | echo | connect | trace | decode``; ``syncws`` is the same.

:func:`main` returns the exit status: 0 when the command did its work, which includes that SIGINT or SIGTERM ended it;
1 when something failed while it ran (a port in use, a refused connection, a lost one); 2 when the arguments cannot
work (an unknown option, a module that is not there, a bad URI). A failure is one line on standard error. Servers
write where they listen to standard output, as ``listening on http://127.0.0.1:8000/``, once clients can connect; their
log goes to standard error.

:func:`main` has to be called in the main thread, where Python handles signals.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from ..logs import get_logger
from . import arguments, tracing
from .commands import COMMANDS, Failure

__all__ = ["main"]

_log = get_logger("syncws.cli")

_COMMANDS = {**COMMANDS, **tracing.COMMANDS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    :param argv: the arguments; ``None``: those of the process.
    :raises SystemExit: after ``--help`` and ``--version``, and with status 2 for arguments that cannot be parsed.
    """
    parsed = arguments.parse(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=parsed.log_level.upper())
    # A level of its own: whoever wants the lines gets them whatever --log-level is, and nobody else does.
    wanted = getattr(parsed, "access_log", False)
    get_logger("syncws.access").setLevel(logging.INFO if wanted else logging.WARNING)
    try:
        return _COMMANDS[parsed.command](parsed)
    except Failure as failure:
        _log.debug("what led to this:", exc_info=True)
        print(f"syncws {parsed.command}: error: {failure}", file=sys.stderr)
        return failure.status
