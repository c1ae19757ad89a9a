"""What ``syncws connect`` is to the person or the pipe in front of it.

:func:`converse` opens a connection, sends what comes from standard input, shows what comes from the peer, and returns
the exit status. Messages go to standard output, everything that is about the connection to standard error. What is
shown, and how, is in a :class:`Display`. The other modules are the lines that begin with a slash (``commands``), the
line that is being typed (``line_editor``, ``keyboard``, ``history``), messages as text (``formats``), the
streams (``output``), and frames (``tracing``).
"""

from __future__ import annotations

from .conversation import STOP, converse, next_event
from .display import Display
from .formats import printable
from .tracing import recorder_on

__all__ = ["STOP", "Display", "converse", "next_event", "printable", "recorder_on"]
