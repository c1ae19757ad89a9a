"""frames → messages: fragments, UTF-8, limits (RFC 6455, sections 5.4, 5.6 and 8.1).

A :class:`MessageReader` owns the parser of one direction. Feed it bytes; pull from it

- whole messages with :meth:`~MessageReader.next_message`,
- the pieces of a message with :meth:`~MessageReader.next_piece`, for what does not fit in memory,
- control frames alone with :meth:`~MessageReader.next_control`, which sets the data frames in front of them aside for
  the other two.

Each returns ``None`` for "feed me more", and raises :class:`ProtocolError` for what breaks a rule or a limit, after
everything complete in front of it has been returned or set aside. Behind a close frame and a ``ProtocolError`` nothing
is read any more: :attr:`~MessageReader.ended` is true and bytes fed are dropped.

:meth:`~MessageReader.next_plain` is :meth:`~MessageReader.next_message` for the common case, and takes nothing else.

Text is decoded while it arrives, so a byte that cannot be UTF-8 is an error at once, not at the end of the message.
What has arrived of a message takes little more memory than its content, however small the pieces.

One thread at a time.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import MessageTooBig, ProtocolError
from .codes import CLOSE, CONTINUATION, OPCODE_NAMES, TEXT
from .deflate import Inflater
from .parser import Frame, Parser
from .parts import Parts, Piece, check_wire_size
from .utf8 import Utf8Decoder, decode

__all__ = ["LOOK_AHEAD", "MessageReader", "Piece"]

# Connections are many and mostly idle: they share this one, and make what they need for some messages only then.
_NOTHING: Iterator[Any] = iter(())

# How many bytes of data frames next_control() sets aside before it stops: backpressure reaches the peer then.
LOOK_AHEAD = 256 * 1024
# What a frame that was set aside costs besides its payload, roughly, in bytes.
_FRAME_COST = 200


class MessageReader:
    """Turns the bytes of one direction of a connection into messages and control frames.

    :param masked: frames must be masked (a server reads) or must not be (a client reads).
    :param inflater: the decompressor, if permessage-deflate was negotiated.
    :param max_message_size: bytes a message may have; ``None``: no limit. A compressed one may have as many after
        inflation, and on the wire a little more: DEFLATE enlarges what it cannot compress. The limit applies to whole
        messages, not to messages that are read in pieces.
    :param max_fragments: frames a message may consist of; ``None``: no limit.
    """

    __slots__ = (
        "_compressed", "_decoder", "_fragments", "_inflated_size", "_inflater", "_kept", "_kept_size",
        "_max_fragments", "_max_size", "_opcode", "_parser", "_parts", "_pieces", "_plain_limit", "_set_aside",
        "_streaming", "_wire_size", "completed", "ended",
    )  # fmt: skip

    def __init__(
        self,
        *,
        masked: bool,
        inflater: Inflater | None = None,
        max_message_size: int | None = None,
        max_fragments: int | None = None,
    ) -> None:
        self._parser = Parser(masked=masked, rsv1_allowed=inflater is not None)
        self._inflater = inflater
        self._max_size = max_message_size
        self._plain_limit = sys.maxsize if max_message_size is None else min(max_message_size, sys.maxsize)
        self._max_fragments = max_fragments
        self.ended = False
        self.completed = 0  # data messages that have come to their end
        # Frames that next_control() has set aside.
        self._kept: deque[Frame] | None = None
        self._kept_size = 0
        self._set_aside = 0  # how many messages had arrived with the last of those frames that ends one
        # The message that is on its way; _opcode is CONTINUATION while there is none.
        self._opcode = CONTINUATION
        self._compressed = False
        self._fragments = self._wire_size = self._inflated_size = 0
        self._decoder: Utf8Decoder | None = None
        # What next_message() has gathered of it, all str or all bytes: joined parts, and behind them those to join.
        self._parts = Parts()
        # A piece of the message has been handed out, so the rest goes the same way; pieces of the current frame.
        self._streaming = False
        self._pieces: Iterator[Piece] = _NOTHING

    @property
    def unfinished(self) -> bool:
        """Whether a message or a frame has begun to arrive and is not complete."""
        return self._opcode != CONTINUATION or self._parser.mid_frame

    def between(self) -> bool:
        """Whether nothing of a message is here, nor set aside, and more may come."""
        return self._opcode == CONTINUATION and self._parser.between() and not (self._kept or self.ended)

    @property
    def owed(self) -> bool:
        """Whether the peer owes the rest of a message or a frame: it is not among what has been set aside."""
        return self._parser.mid_frame or (not self._kept[-1].fin if self._kept else self._opcode != CONTINUATION)

    @property
    def streaming(self) -> bool:
        """Whether a piece of the current message has been handed out."""
        return self._streaming

    @property
    def arrived(self) -> int:
        """How many data messages have arrived whole, those that are set aside included; it never falls."""
        return max(self.completed, self._set_aside)

    @property
    def looked_ahead(self) -> bool:
        """Whether :meth:`next_control` has set aside as much as it may."""
        return self._kept_size >= LOOK_AHEAD

    def feed(self, data: bytes) -> None:
        """Take over the next bytes from the connection."""
        if not self.ended:
            self._parser.feed(data)

    def release_inflater(self) -> None:
        """Let the decompressor give back its memory, as far as it can."""
        if self._inflater is not None:
            self._inflater.release()

    def stop(self) -> None:
        """Take no more bytes, and drop those that have not been parsed; what was set aside can still be returned."""
        self.ended = True
        self._parser = Parser(masked=False)

    def _end(self) -> None:
        """Drop everything: an error has been raised, and nothing behind it counts."""
        self.stop()
        self._kept = None
        self._kept_size = 0
        self._pieces = _NOTHING
        self._streaming = False
        self._forget_message()

    def next_message(self) -> str | bytes | Frame | None:
        """Return the next message, text as ``str`` and binary as ``bytes``, or the next control frame.

        The rest of a message of which :meth:`next_piece` has returned a piece is skipped.

        :raises MessageTooBig: as soon as a frame's header, or inflation, shows that the limit will be passed.
        :raises ProtocolError: 1002, 1007 (not UTF-8, invalid compressed data) or 1008 (too many fragments).
        """
        while self._streaming:
            item = self.next_piece()
            if item is None or isinstance(item, Frame):
                return item
        try:
            while True:
                frame = self._next_frame() if self._kept else self._parser.next_frame(True)
                if frame is None:
                    return None
                if frame.opcode >= CLOSE:
                    return self._control(frame)
                message = self._add(frame)
                if message is not None:
                    return message
        except ProtocolError:
            self._end()
            raise

    def next_plain(self) -> str | bytes | None:
        """Return the next message if that is one frame, all here, and within every rule and limit.

        ``None``, as if it had not been called, for all else, of which :meth:`next_message` knows more.
        """
        if self._opcode != CONTINUATION or self._kept or self._streaming:
            return None
        parser = self._parser
        payload = parser.next_plain(self._plain_limit)
        if payload is None:
            return None
        inflater = self._inflater if parser.plain_compressed() else None
        if inflater is not None:
            payload = inflater.inflate_now(payload, self._plain_limit)
            if payload is None:
                parser.take_back()
                return None
        if not parser.plain_is_text():
            self.completed += 1
            return payload
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            parser.take_back()
            if inflater is not None:
                inflater.take_back(payload)
            return None
        self.completed += 1
        return text

    def has_plain(self) -> bool:
        """Whether, behind the message that :meth:`next_plain` has returned, there is another one that looks like it."""
        return self._parser.has_plain()

    def next_piece(self) -> Piece | Frame | None:
        """Return the next piece of the current message, or the next control frame.

        What a :meth:`next_message` before has gathered of the message comes first. Only the last piece may be empty.

        :raises ProtocolError: as :meth:`next_message`; ``max_message_size`` does not apply.
        """
        try:
            if gathered := self._take_gathered():
                self._pieces = iter((Piece(gathered, False),))
            while True:
                piece = next(self._pieces, None)
                if piece is not None:
                    self._streaming = not piece.last
                    return piece
                frame = self._next_frame()
                if frame is None:
                    return None
                if frame.opcode >= CLOSE:
                    return self._control(frame)
                self._account(frame)
                self._pieces = self._split(frame)
        except ProtocolError:
            self._end()
            raise

    def next_control(self) -> Frame | None:
        """Return the next control frame, setting aside the data frames in front of it.

        ``None`` means "feed me more", unless :attr:`looked_ahead`: then nothing more is looked at until
        :meth:`next_message` or :meth:`next_piece` has taken what was set aside. They return that after an error, too.

        :raises ProtocolError: 1002, a frame on its own breaks a rule.
        """
        self._parts.add(self._parser.take_gathered())
        while not self.looked_ahead:
            try:
                frame = self._parser.next_frame()
            except ProtocolError:
                self.stop()
                raise
            if frame is None:
                return None
            if frame.opcode >= CLOSE:
                return self._control(frame)
            if frame.fin and frame.last:
                self._set_aside = self.arrived + 1
            if self._kept is None:
                self._kept = deque()
            self._kept.append(frame)
            self._kept_size += len(frame.payload) + _FRAME_COST
        return None

    def _next_frame(self) -> Frame | None:
        """Return the next frame, those set aside first."""
        if self._kept:
            frame = self._kept.popleft()
            self._kept_size -= len(frame.payload) + _FRAME_COST
            return frame
        return self._parser.next_frame()

    def _control(self, frame: Frame) -> Frame:
        if frame.opcode == CLOSE:
            # RFC 6455, 1.4: after receiving a close frame, a peer discards any further data received.
            self.stop()
        return frame

    def _add(self, frame: Frame) -> str | bytes | None:
        """Take a frame, or a piece of one, of a message that is read as a whole; return the message if it is complete.

        :raises MessageTooBig: before a payload is kept or inflated.
        """
        end = frame.fin and frame.last
        if end and frame.first and not frame.rsv1 and frame.opcode != CONTINUATION and self._opcode == CONTINUATION:
            # The common case in one go: a message in one frame, not compressed, all of it here.
            if self._max_size is not None and frame.length > self._max_size:
                raise MessageTooBig(frame.length, self._max_size)
            self.completed += 1
            return decode(frame.payload) if frame.opcode == TEXT else frame.payload
        self._account(frame)
        check_wire_size(self._wire_size, self._max_size, self._fragments if self._compressed else None)
        payload = frame.payload
        if self._compressed and self._inflater is not None:
            payload = self._inflater.inflate(payload, last=end, already=self._inflated_size, limit=self._max_size)
            self._inflated_size += len(payload)
        self._parts.add(payload if self._decoder is None else self._decoder.decode(payload, last=end))
        if not end:
            return None
        message = self._take_gathered()
        self._finish_message()
        return message

    def _account(self, frame: Frame) -> None:
        """Check the frame's place in its message, and count it; begin a message with a message's first frame."""
        if not frame.first:
            return
        if frame.opcode == CONTINUATION:
            if self._opcode == CONTINUATION:
                # RFC 6455, 5.4: a continuation frame belongs to a message that has begun.
                raise ProtocolError("continuation frame, but there is no message to continue (RFC 6455, 5.4)")
        else:
            name = OPCODE_NAMES[frame.opcode]
            if self._opcode != CONTINUATION:
                # RFC 6455, 5.4: the fragments of one message MUST NOT be interleaved with those of another.
                raise ProtocolError(f"{name} frame within a fragmented message (RFC 6455, 5.4)")
            self._opcode, self._compressed = frame.opcode, frame.rsv1
            self._decoder = Utf8Decoder() if frame.opcode == TEXT else None
        self._wire_size += frame.length
        self._fragments += 1
        if self._max_fragments is not None and self._fragments > self._max_fragments:
            raise ProtocolError(f"message of more than {self._max_fragments} fragments, the limit max_fragments", 1008)

    def _split(self, frame: Frame) -> Iterator[Piece]:
        """Yield the pieces of a message that a frame, or a piece of one, amounts to."""
        end = frame.fin and frame.last
        chunks: Iterator[bytes] = iter((frame.payload,))
        if self._compressed and self._inflater is not None:
            chunks = self._inflater.inflate_pieces(frame.payload, last=end)
        decoder = self._decoder
        for chunk in chunks:
            data = chunk if decoder is None else decoder.decode(chunk, last=False)
            if data:
                yield Piece(data, False)
        if end:
            rest = b"" if decoder is None else decoder.decode(b"", last=True)
            self._finish_message()
            yield Piece(rest, True)

    def _take_gathered(self) -> str | bytes:
        """Return what has been gathered of the message, and forget it."""
        self._parts.add(self._parser.take_gathered())
        return self._parts.take("" if self._opcode == TEXT else b"")

    def _finish_message(self) -> None:
        self.completed += 1
        self._forget_message()

    def _forget_message(self) -> None:
        self._opcode = CONTINUATION
        self._compressed = False
        self._fragments = self._wire_size = self._inflated_size = 0
        self._decoder = None
        self._parts.clear()
