"""The last steps of a connection: ending TCP behind the close frame, so that the peer gets all that was sent.

RFC 6455, 7.1.1. First what is due is written; then our direction is ended, if that is up to us; then what still comes
in is read and dropped until the peer ends TCP: a socket that is closed with unread input sends a reset, which can
destroy our close frame on its way. The socket itself is given back by the caller.

One thread at a time, the one whose turn it is to read. An exception, such as :class:`gevent.Timeout`, can end
:meth:`Ending.wait` at any point; the next call goes on from there, and so does :meth:`Ending.advance`, which does not
wait.
"""

from __future__ import annotations

import contextlib
import time
from typing import Literal

from .transport import NOW, Transport
from .writer import FrameWriter

__all__ = ["Ending"]

# How long, in seconds, a peer may take to end TCP when both close frames have been sent.
_LINGER = 1.0
# So many reads in one go; a peer that goes on and on is not the only one.
_READS = 16


class Ending:
    """How one connection ends.

    :param role: ours. RFC 6455, 7.1.1: in the normal case, the server ends TCP first.
    :param deadline: when to stop in any case.
    :param failed: the peer has broken a rule, and may go on; otherwise its close frame has arrived, and it owes us only
        the end of TCP.
    :ivar complete: both directions of TCP have been ended, and nobody writes: there is nothing left to be woken up.
    """

    __slots__ = ("_deadline", "_lingers", "_shuts_down", "_transport", "_writer", "_written", "complete")

    def __init__(
        self,
        transport: Transport,
        writer: FrameWriter,
        role: Literal["server", "client"],
        deadline: float | None,
        *,
        failed: bool,
    ) -> None:
        self._transport = transport
        self._writer = writer
        self._shuts_down = failed or role == "server"
        self._lingers = not failed
        self._deadline = deadline
        self._written = False
        self.complete = False

    def wait(self) -> None:
        """Do all that is to be done, at most until the deadline."""
        with contextlib.suppress(OSError):  # lost, or the deadline has passed: it is over in any case
            if not self._writer.drained:
                self._writer.finish(self._deadline)
            self._end_our_direction()
            # What has arrived is returned after the deadline as well, and a peer can keep it from ever being all.
            while (data := self._transport.recv(self._deadline)) and not self._late():
                pass
            self.complete = self._shuts_down and not data

    def advance(self) -> bool:
        """Do what can be done without waiting; return whether that was all, or the deadline has passed."""
        try:
            self._writer.flush_due()
            if self._writer.drained:
                self._end_our_direction()
                for _ in range(_READS):
                    if not self._transport.recv(NOW):
                        return True
        except TimeoutError:
            pass  # nothing has come in
        except OSError:
            return True
        return self._late()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _end_our_direction(self) -> None:
        if self._written:
            return
        self._written = True
        if self._shuts_down:
            self._transport.shutdown_write()
        if self._lingers:
            linger = time.monotonic() + _LINGER
            self._deadline = linger if self._deadline is None else min(self._deadline, linger)
