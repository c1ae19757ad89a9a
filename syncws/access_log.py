"""The access log: one line for each WebSocket of a server, at its end, whatever server that is.

The logger is ``syncws.access``, the level INFO. The figures are in the line, and in fields of the record for those who
format or filter (the ``extra`` of :mod:`logging`): ``client_address``, ``path``, ``close_code``, ``duration`` in
seconds, ``messages_received``, ``messages_sent``, ``bytes_received`` and ``bytes_sent``. What comes from the peer is
escaped, in the fields as well. The query is left out: it may hold a token.

Any thread may call anything here; nothing waits, unless a handler of the log does.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from .escapes import escaped
from .logs import get_logger

__all__ = ["is_on", "log_end"]

_log = get_logger("syncws.access")

_LINE = (
    "%(client_address)s %(path)s %(close_code)d %(duration).3f s, received %(messages_received)d messages "
    "(%(bytes_received)d bytes), sent %(messages_sent)d messages (%(bytes_sent)d bytes)"
)


def is_on() -> bool:
    """Whether anybody wants the lines."""
    return _log.isEnabledFor(logging.INFO)


def log_end(ws: Any) -> None:
    """Log the end of a :class:`syncws.WebSocket`, which is over."""
    fields = asdict(ws.stats())
    del fields["backlog"], fields["latency"]
    fields["client_address"] = escaped(ws.logged_address or _host(ws.remote_address)) or "-"
    fields["path"] = escaped(ws.path)
    _log.info(_LINE, fields, extra=fields)


def _host(remote_address: Any) -> str:
    """Return the address without the port; that of a Unix socket has neither."""
    return str(remote_address[0]) if isinstance(remote_address, tuple) else ""
