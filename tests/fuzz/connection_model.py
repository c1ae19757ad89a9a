"""What a connection does, as simply as possible: the model that the state machines compare a real one with.

:class:`Connection` is told what arrives and which calls are made, and predicts what each call does. It has no sockets
and no time: a call with a timeout of 0 works off what has arrived, and then gives up.
"""

from __future__ import annotations

import enum
from typing import Literal

from fuzz.model import CLOSE, CONTINUATION, PING, PONG, Broken, Frames, Inflate, Message, Part, close_content

__all__ = ["Connection", "Outcome"]

Initiator = Literal["local", "remote"]


class Outcome(enum.Enum):
    """What a call does that does not return a value."""

    TIMEOUT = "TimeoutError"
    CLOSED = "ConnectionClosed"


class Connection:
    """One end of a connection.

    :ivar end: the close codes that may be reported, the reason if it is known, and who ended it, once that is clear.
    :ivar cause: the close codes that may be right for the rules that the peer broke.
    :ivar lost: the connection is over; :ivar gone: the socket has been given back as well.
    :ivar aborted: how much of what had arrived can still be received is not defined.
    :ivar sent: messages, and ping frames as ``(PING, payload)``, in the order in which the peer gets them.
    :ivar pings: those of the peer.
    :ivar close_frame: close codes and reason of the frame that the peer gets; ``None``: none so far.
    """

    def __init__(self, role: str, inflate: Inflate | None, max_size: int, max_fragments: int) -> None:
        self.frames = Frames(masked=role == "server", deflate=inflate is not None)
        self.message = Message(inflate, max_size, max_fragments)
        self.eof = False  # the peer has ended its direction
        self.deaf = False  # nothing can be sent to the peer
        self.end: tuple[tuple[int, ...], str | None, Initiator] | None = None
        self.cause: tuple[int, ...] | None = None
        self.lost = self.gone = self.aborted = False
        self.sent: list[str | bytes | tuple[int, bytes]] = []
        self.pings: list[bytes] = []
        self.close_frame: tuple[tuple[int, ...], str | None] | None = None
        self._scanned = self._read = 0  # parts whose control frames have been served; parts that have been received
        self._last: int | None = None  # nothing is read from this part on
        self.streaming = False  # a piece has been handed out
        self.handed: str | bytes = b""  # what has been handed out of the message

    # The calls.

    def receive(self) -> str | bytes | Outcome:
        if self.streaming and self.message.complete:
            self._message_done()
        try:
            while (part := self._next()) is not None:
                self._add(part, limited=not self.streaming)
                if self.message.complete:
                    content, streamed = self.message.content, self.streaming
                    self._message_done()
                    if not streamed:  # else it is what was left of a message that the program has left
                        return content
                if self.streaming:
                    self.handed = self.message.content
        except Broken as broken:
            self.fail(broken)
        return self._nothing_more()

    def stream(self) -> tuple[str | bytes, Outcome | None]:
        """What receive_stream() gives, all pieces together, and what it ends with."""
        before = len(self.handed)
        outcome: Outcome | None = None
        try:
            while not self.message.complete:
                part = self._next()
                if part is None:
                    outcome = self._nothing_more()
                    break
                self._add(part, limited=False)
        except Broken as broken:
            # What came in front of the broken byte may have been handed out, or may not.
            self.fail(broken)
            outcome = Outcome.CLOSED
        content = self.message.content
        if self.message.complete:
            self._message_done()
        elif len(content) > before or self.streaming:
            self.streaming, self.handed = True, content
        return content[before:], outcome

    def leave_after(self, piece: str | bytes) -> None:
        """Begin a stream, take one piece, and leave it. The message has arrived, and breaks no rule."""
        wanted = len(self.handed) + len(piece)
        while not self.message.complete and (len(self.message.content) < wanted or not piece):
            part = self._next()
            assert part is not None
            self._add(part, limited=False)
        assert self.message.content[len(self.handed) : wanted] == piece
        if piece:
            self.streaming, self.handed = True, self.message.content[:wanted]
        else:
            self._message_done()

    def ping(self, data: bytes) -> Outcome | None:
        if self.end is not None:
            return Outcome.CLOSED
        self._sends((PING, data))
        try:
            while (part := self._scan()) is not None:
                if part.opcode == PONG and part.payload == data:
                    return None
        except Broken as broken:
            self.fail(broken)
        return self._nothing_more()

    def attend(self) -> None:
        """What the keeper does."""
        try:
            while not self.gone and self._scan() is not None:
                pass
        except Broken as broken:
            self.fail(broken)
        self._nothing_more()

    def send(self, *content: str | bytes | tuple[int, bytes]) -> Outcome | None:
        if self.end is None and self.deaf:
            self.lose("remote")
        if self.end is not None:
            return Outcome.CLOSED
        self._sends(*content)
        return None

    def begin_close(self, code: int, reason: str) -> None:
        if self.end is None:
            self.end = ((code,), reason, "local")
            self._send_close(((code,), reason))

    def close(self, code: int, reason: str) -> None:
        self.begin_close(code, reason)
        if self.gone:
            return
        if self.message.complete:
            self._message_done()
        try:
            while (part := self._next()) is not None:
                self._add(part, limited=False)
                if self.message.complete:
                    self._message_done()
        except Broken as broken:
            self.fail(broken)
        if self._nothing_more() is Outcome.TIMEOUT:
            self.lose("local")
            self.gone = True

    def abort(self) -> None:
        self.aborted = self.aborted or not self.gone
        self.lose("local")
        self.gone = True

    def cut_off(self) -> None:
        """A message could not be sent in time."""
        self.lose("local")
        self.eof = self.deaf = True

    # What happens.

    def lose(self, initiator: Initiator) -> None:
        if not self.lost and self.cause is None:
            self.end = ((1006,), None, self.end[2] if self.end else initiator)
        self.lost = True

    def fail(self, broken: Broken) -> None:
        if self.gone:
            # Found in what ping() had kept: it is what the next ConnectionClosed is raised from, but changes no more.
            self.cause = (self.cause or ()) + broken.codes
            return
        if self._last is None:
            self._last = self._scanned
        self.cause = self.cause or broken.codes
        if self.end is None:
            self.end = (broken.codes, None, "local")
            self._send_close((broken.codes, None))
        self.lost = self.gone = True

    def _control(self, part: Part) -> None:
        if part.opcode == PING:
            self.pings.append(part.payload)
        elif part.opcode == CLOSE:
            self._last = self._scanned
            code, reason = close_content(part.payload)
            if self.end is None or (self.end[0] == (1006,) and self.end[2] == "remote"):
                self.end = ((code,), reason, "remote")
            # RFC 6455, 5.5.1: the answer typically has the code that was received.
            self._send_close(((code,), reason))
            self.lost = self.gone = True

    def _sends(self, *content: str | bytes | tuple[int, bytes]) -> None:
        if not self.deaf:
            self.sent += content

    def _send_close(self, frame: tuple[tuple[int, ...], str | None]) -> None:
        if self.close_frame is None and not self.deaf:
            self.close_frame = frame

    # Going on in what has arrived.

    def _readable(self) -> int:
        return len(self.frames.parts) if self._last is None else self._last

    def _next(self) -> Part | None:
        """The next part of a data frame; serves the control frames in front of it."""
        while self._read < self._readable():
            part = self.frames.parts[self._read]
            self._read += 1
            fresh = self._read > self._scanned
            self._scanned = max(self._scanned, self._read)
            if not part.control:
                return part
            if fresh:
                self._control(part)
        self._check_broken()
        return None

    def _scan(self) -> Part | None:
        """The next control frame, served; the data frames in front of it are kept."""
        while self._scanned < self._readable():
            part = self.frames.parts[self._scanned]
            self._scanned += 1
            if part.control:
                self._control(part)
                return part
        self._check_broken()
        return None

    def _check_broken(self) -> None:
        if self._last is None and self.frames.broken is not None:
            raise self.frames.broken

    def _nothing_more(self) -> Outcome:
        if not self.gone and self.eof:
            self.lose("remote")
            self.gone = True
        return Outcome.CLOSED if self.gone else Outcome.TIMEOUT

    def _add(self, part: Part, *, limited: bool) -> None:
        try:
            self.message.add(part, limited=limited)
        except Broken:
            self._last = 0
            raise

    def _message_done(self) -> None:
        assert self.message.opcode != CONTINUATION
        self.message.begin()
        self.streaming, self.handed = False, b""
