"""Frames on their way out: whole, in order, nothing behind the close frame.

A lock lets frames through one by one. Control frames, which are small, never wait for that lock or for the network:
they are *posted*, and leave with whoever holds the lock or, if nobody does, at once as far as the socket takes them.
What is left goes in front of the next write, or when :meth:`FrameWriter.flush_due` is called with room in the socket;
until then posted frames wait as well, so that a peer that pings and never reads costs no memory.

Messages for which nobody waits are *queued* (:mod:`syncws.backlog`), and leave in the same way, each when all in front
of it has left. They are never between the fragments of a message, pings and pongs may overtake them, and the close
frame goes behind them; :meth:`FrameWriter.write` does so as well, and waits for them.

Any thread may call anything here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from os import urandom

from .backlog import Backlog
from .coalescer import Coalescer
from .hot_writer import HotWriter
from .protocol.codes import CLOSE, CONTINUATION, PING, PONG
from .protocol.deflate import Compressor
from .protocol.frames import encode_frame
from .transport import Transport, remaining

__all__ = ["FrameWriter"]

_ORDER = (PING, PONG, CLOSE)  # in which what is posted goes out
_IN_A_ROW = 16  # messages of the backlog leave in one go; whoever has called has other things to do


def _ignore(*_: object) -> None: ...  # what happens when the connection is over


class FrameWriter(HotWriter):
    """Writes frames to a transport.

    :param masked: mask every frame with a fresh key (RFC 6455, 5.3: a client MUST).
    :param on_close_sent: called once, when the close frame has been put on its way; must not wait.
    :param on_unsent: called when what is posted or queued cannot leave at once; must not wait.
    :param on_cut_off: called with the reason when a frame could not be written to its end; is to drop the connection,
        because nothing can follow; must not wait.
    :param backlog: where messages are queued.
    :ivar compressor: for messages, if they are to be compressed; to be set before the first.
    :ivar messages: how many have been written.
    :ivar ended: the close frame is on its way, or a write failed: nothing may follow.
    """

    __slots__ = ("_backlog", "_broken", "_on_close_sent", "_on_cut_off", "_on_unsent")

    def __init__(
        self,
        transport: Transport,
        *,
        masked: bool,
        on_close_sent: Callable[[], None],
        on_cut_off: Callable[[str], None],
        on_unsent: Callable[[], None],
        backlog: Backlog | None = None,
        coalescer: Coalescer | None = None,
    ) -> None:
        self._transport = transport
        self._try_send = transport.try_send
        self._masked = masked
        self._on_close_sent = on_close_sent
        self._on_cut_off = on_cut_off
        self._on_unsent = on_unsent
        self._lock = transport.runtime.lock()
        self._coalescer = coalescer
        self._gathered = None
        # Guarded by _lock: bytes that follow what the transport has taken.
        self._unsent: bytes | memoryview = b""
        self._awaited = False
        self._broken = False  # guarded by _lock: what had been begun may not have left
        self._midway = False  # guarded by _lock: the fragments of a message are being written
        # Payloads of the frames that are posted, by opcode and what tells them apart. No lock guards them, as a signal
        # handler may post while it has interrupted the thread that holds it: each step is one of the dict.
        self._posted: dict[tuple[int, bytes], bytes] = {}
        self._backlog = backlog or Backlog(transport.runtime)
        self.most_queued, self._queued = self._backlog.most, self._backlog.items
        self.compressor: Compressor | None = None
        self.messages = 0
        self.ended = False

    @property
    def waiting(self) -> int:
        """How many bytes wait for room in the socket: payloads of messages, and frames that have been begun."""
        gathered = 0 if self._gathered is None else sum(map(len, self._gathered.pieces.copy()))
        return len(self._unsent) + gathered + self._backlog.size

    @property
    def drained(self) -> bool:
        """Whether nothing is left to be written, and nobody is writing."""
        return not (self._due or self.busy)

    def write(self, opcode: int, payload: bytes, fin: bool = True, timeout: float | None = None) -> bool:
        """Write a frame, behind all that is queued, and return True, or False if nothing may be written any more.

        :param fin: False for the fragments of a message, but for the last.
        :param timeout: seconds to wait for room in the socket; ``None``: for ever. Another thread that writes is
            waited for in any case.
        :raises TimeoutError: the time is over; the connection has been dropped, because a frame cannot be cut off.
        :raises OSError: the connection was lost.
        """
        with self._lock:
            try:
                deadline = None
                if self._posted or self._unsent or self.gathered or self._queued:
                    deadline = None if timeout is None else time.monotonic() + timeout
                    self._catch_up(timeout, deadline)
                if self.ended:
                    return False
                data = self._encode(opcode, payload, fin)
                if (sent := self._transport.try_send(data)) < len(data):
                    self._send_rest(data, sent, timeout, deadline)
            except BaseException as error:
                self._fail(error, timeout)
                raise
        if self._posted or self._queued:
            self._write_posted(timeout)
            self.flush_due()
        return True

    def write_rest(self, timeout: float | None, begun: bool = True) -> bool:
        """Wait until what was posted meanwhile has left; return True, and raise errors, as :meth:`write` does.

        :param begun: and the rest of what has been begun, which another thread may be sending: False if it has failed.
        """
        if begun:
            with self._lock:
                try:
                    self._send(self._take_unsent(), timeout)
                except BaseException as error:
                    self._fail(error, timeout)
                    raise
                finally:
                    self._awaited = False
                if self._broken:
                    return False
        self._write_posted(timeout)
        self.flush_due()
        return True

    def queue(self, opcode: int, payload: bytes) -> bool:
        """Have a message written when there is room, without waiting, or return False if nothing may be written.

        :raises BacklogFull: there is no room among those that wait.
        """
        # What a thread waits for is not in the backlog.
        if not self._backlog.has_room(len(payload), 0 if self._awaited else len(self._unsent)):
            self.flush_due()  # there may be room in the socket by now
        # Before there is anything in it: whoever writes looks here.
        self._queued = self._backlog.prepare()
        if not self._backlog.put(opcode, payload, 0 if self._awaited else len(self._unsent)):
            return False
        self.flush_due()
        return True

    def drop_queued(self) -> None:
        """Drop the messages that are queued and take no more; what is posted leaves without waiting for them."""
        self._backlog.close()
        self.flush_due()

    def post_pong(self, payload: bytes) -> None:
        """Answer a ping without waiting; only the latest is answered (RFC 6455, 5.5.3)."""
        self._posted[PONG, b""] = payload
        self.flush_due()

    def post_ping(self, payload: bytes) -> None:
        """Send a ping without waiting."""
        self._posted[PING, payload] = payload
        self.flush_due()

    def withdraw_ping(self, payload: bytes) -> None:
        """Forget a ping if it has not been sent yet."""
        self._posted.pop((PING, payload), None)

    def post_close(self, payload: bytes) -> None:
        """Send the close frame without waiting; the first one counts. A signal handler may call this at any time."""
        self._posted.setdefault((CLOSE, b""), payload)
        self.flush_due()

    def flush_due(self) -> None:
        """Write what is due as far as the socket takes it; another thread in :meth:`write` does it as well."""
        limit = self.messages + _IN_A_ROW
        while self._due and self._lock.acquire(False):
            try:
                data = self._take_unsent() or self._take_posted() or self._take_queued()
                sent = self._transport.try_send(data) if data else 0
                self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
                if self._unsent or self.messages >= limit:
                    self._on_unsent()
                    return
            except OSError:
                self._end()  # the connection was lost; whoever reads finds out how
            except BaseException as error:
                self._fail(error, None)
                raise
            finally:
                self._lock.release()

    def release_compressor(self) -> None:
        """Let the compressor give back its memory, if nobody is writing."""
        if self.compressor is not None and self._lock.acquire(False):
            self.compressor.release()
            self._lock.release()
            self.flush_due()  # posted meanwhile

    def finish(self, deadline: float | None) -> None:
        """Write what is due, waiting for other writers and for the socket.

        :raises TimeoutError: the deadline passed.
        :raises OSError: the connection was lost.
        """
        timeout = remaining(deadline)
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError("timed out")
        try:
            while data := b"".join((self._take_unsent(), self._take_posted())) or self._take_queued():
                self._transport.send_all(data, deadline)
        except BaseException:
            self._end()  # in the middle of a frame
            raise
        finally:
            self._lock.release()

    def close_transport(self, *, ended: bool = False) -> None:
        """End the TCP connection, unless it has been, and give back its descriptor; writers that wait wake up."""
        if not ended:
            self._transport.abort()
        with self._lock:
            broken = self._broken or len(self._take_unsent()) > 0
            self._end()
            self._broken = broken
            self._transport.close()
            self._on_unsent = self._on_cut_off = _ignore  # they have this writer: no work for the garbage collector

    @property
    def _due(self) -> bool:
        return bool(self._unsent or self.gathered or (self._posted and not self.ended) or self._queue_due)

    def _catch_up(self, timeout: float | None, deadline: float | None) -> None:
        """Write what goes in front of the next frame; the lock must be held."""
        count = 0 if self._midway else len(self._queued)
        self._send(b"".join((self._take_unsent(), self._take_posted())), timeout, deadline)
        for _ in range(count):  # not those that come meanwhile
            self._send(self._take_queued() + self._take_posted(), timeout, deadline)

    def _write_posted(self, timeout: float | None) -> None:
        # Posted meanwhile. Nobody else may know that this waits for room in the socket, so this thread does.
        while self._posted and not self.ended and self._lock.acquire(False):
            try:
                data = b"".join((self._take_unsent(), self._take_posted()))
                if not data:
                    return  # the close frame is to go behind the backlog
                self._send(data, timeout)
            except BaseException as error:
                self._fail(error, timeout)
                raise
            finally:
                self._lock.release()

    def _send(self, data: bytes | memoryview, timeout: float | None, deadline: float | None = None) -> None:
        """Write all of ``data``; the lock must be held. Parameters as for :meth:`_send_rest`."""
        if not data:
            return
        if (sent := self._transport.try_send(data)) < len(data):
            self._send_rest(data, sent, timeout, deadline)

    def _send_rest(self, data: bytes | memoryview, sent: int, timeout: float | None, deadline: float | None) -> None:
        """Write what is left of ``data`` behind the first ``sent`` bytes.

        :param timeout: seconds to wait; ``deadline``: when they are over, if they have begun already.
        """
        if deadline is None and timeout is not None:
            deadline = time.monotonic() + timeout
        self._transport.send_all(memoryview(data)[sent:], deadline)

    def _fail(self, error: BaseException, timeout: float | None) -> None:
        """See to it that nothing follows what has not been written to its end; the lock must be held.

        What is raised in between, such as a KeyboardInterrupt, does not tell how much has been taken from those that
        wait, nor whether the compressor remembers a message that the peer will never see.
        """
        if isinstance(error, TimeoutError):
            reason = f"the peer has not read for {timeout} s, so the connection has been dropped"
            self._cut_off(reason)
            raise TimeoutError(reason) from None
        if isinstance(error, OSError):
            self._end()  # the connection was lost
        else:
            self._cut_off(f"{type(error).__name__} interrupted a message")

    def _cut_off(self, reason: str) -> None:
        self._end()
        self._on_cut_off(reason)

    def _end(self) -> None:
        self.ended = self._broken = True
        self._backlog.close()

    def _encode(self, opcode: int, payload: bytes, fin: bool = True) -> bytes:
        """Return the frame of a message, or of a fragment of one; the lock must be held, until it has been sent."""
        self.messages += fin
        self._midway = not fin
        compressor = self.compressor
        if compressor is not None:
            first = opcode != CONTINUATION
            if not (first and fin and len(payload) < compressor.threshold):
                payload = compressor.compress_piece(payload, last=fin)
                return encode_frame(opcode, payload, fin, first, self._new_key() if self._masked else None)
        return encode_frame(opcode, payload, fin, False, self._new_key() if self._masked else None)

    @staticmethod
    def _new_key() -> bytes:
        # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
        return urandom(4)

    def _take_queued(self) -> bytes:
        """Return the frame of the oldest message that is queued, if it may leave now; the lock must be held."""
        message = self._backlog.take() if self._queue_due else None
        return b"" if message is None else self._encode(*message)

    def _take_posted(self) -> bytes:
        """Return the frames that are posted, the close frame last; the lock must be held."""
        if self.ended or not self._posted:
            return b""
        posted = self._posted
        # As they were posted; a ping may be withdrawn meanwhile.
        items = [(key, data) for key in list(posted) if (data := posted.pop(key, None)) is not None]
        if len(items) > 1:
            # RFC 6455, 5.5.1: after the close frame nothing more MUST be sent.
            items.sort(key=lambda item: _ORDER.index(item[0][0]))
        if items and items[-1][0][0] == CLOSE:
            if self._midway:
                self._backlog.close()  # the message that it cuts off will never end, so nothing can follow
            if self._backlog.end():
                self.ended = True
                self._on_close_sent()
            else:
                key, payload = items.pop()
                self._posted[key] = payload
        return b"".join(
            encode_frame(opcode, payload, key=self._new_key() if self._masked else None)
            for (opcode, _), payload in items
        )
