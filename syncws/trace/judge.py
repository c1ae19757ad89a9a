"""What the library itself says to the bytes of one direction: which rule they break, and where.

A :class:`Judge` reads with the :class:`~syncws.protocol.messages.MessageReader` that a connection reads with, so what
it calls an error is what a connection fails with, and with the same close code. It knows of no size limits, which are
a matter of options. A :class:`Content` is a second reader of payloads, always one step behind: when the judge has found
an error, going through that step byte by byte shows which byte it was.

Nothing here raises for what a peer has sent. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ProtocolError
from ..protocol.codes import CLOSE, TEXT
from ..protocol.deflate import Inflater, Parameters
from ..protocol.frames import parse_close
from ..protocol.messages import MessageReader
from ..protocol.parser import Parser
from ..protocol.utf8 import Utf8Decoder
from ..transport_traced import Sender

__all__ = ["INFLATE_LIMIT", "Content", "Judge", "inflater_of", "wrong_byte_of_close", "wrong_byte_of_header"]

# How many bytes a message may inflate to, before a view stops inflating: a few KiB can become gigabytes.
INFLATE_LIMIT = 2**24


class _TooMuch(Exception):
    """A message inflates to more than the limit."""


class _BoundedInflater(Inflater):
    """An inflater that gives up at a limit, whatever reads from it."""

    __slots__ = ("_size",)

    def __init__(self, window_bits: int, takeover: bool) -> None:
        super().__init__(window_bits, takeover)
        self._size = 0  # of the message so far

    def inflate_pieces(self, data: bytes | memoryview, *, last: bool, piece_size: int = 65536) -> Iterator[bytes]:
        for piece in super().inflate_pieces(data, last=last, piece_size=piece_size):
            self._size += len(piece)
            if self._size > INFLATE_LIMIT:
                raise _TooMuch
            yield piece
        if last:
            self._size = 0


def inflater_of(parameters: Parameters | None, sender: Sender) -> Inflater | None:
    """Return an inflater for what ``sender`` compresses; ``None`` if permessage-deflate is not in use."""
    if parameters is None:
        return None
    if sender == "client":
        return _BoundedInflater(parameters.client_max_window_bits, not parameters.client_no_context_takeover)
    return _BoundedInflater(parameters.server_max_window_bits, not parameters.server_no_context_takeover)


class Judge:
    """Reads the frames of one direction as the other side's library does.

    :param sender: whose frames they are.
    :param parameters: those of permessage-deflate, if it is in use.
    :ivar gave_up: a message has inflated to more than the limit. From the next frame on, frames are judged by their
        headers only.
    """

    def __init__(self, sender: Sender, parameters: Parameters | None) -> None:
        self.masked = sender == "client"
        self.rsv1_allowed = parameters is not None
        self.gave_up = False
        self._skipping = False  # the rest of the frame that was too much
        self._reader = MessageReader(masked=self.masked, inflater=inflater_of(parameters, sender))
        self._feed: Callable[[bytes], None] = self._reader.feed
        self._next: Callable[[], Any] = self._reader.next_piece

    def feed(self, data: bytes) -> ProtocolError | None:
        """Take the next bytes, of one frame at the most; return the rule that they break."""
        if self._skipping:
            return None
        self._feed(data)
        try:
            while (item := self._next()) is not None:
                if getattr(item, "opcode", None) == CLOSE:
                    parse_close(item.payload)
        except ProtocolError as error:
            return error
        except _TooMuch:
            self.gave_up = self._skipping = True
            parser = self._parser()
            self._feed, self._next = parser.feed, parser.next_frame
        return None

    def frame_ends(self) -> None:
        """Note that the next byte begins another frame."""
        self._skipping = False

    def _parser(self) -> Parser:
        return Parser(masked=self.masked, rsv1_allowed=self.rsv1_allowed)

    def refuses(self, header: bytes) -> bool:
        """Whether bytes that begin a frame are wrong, whatever came before them."""
        parser = self._parser()
        parser.feed(header)
        try:
            parser.next_frame()
        except ProtocolError:
            return True
        return False


class Content:
    """What the payloads of data frames amount to: inflated, and decoded if they are text. Raises as a connection does.

    :param inflater: if permessage-deflate is in use.
    """

    def __init__(self, inflater: Inflater | None) -> None:
        self._inflater = inflater
        self._decoder: Utf8Decoder | None = None
        self.compressed = False

    def begin(self, opcode: int, compressed: bool) -> None:
        """Begin a message."""
        self.compressed = compressed
        self._decoder = Utf8Decoder() if opcode == TEXT else None

    def add(self, payload: bytes, *, last: bool) -> tuple[bytes, str]:
        """Return what the next part of the message amounts to, as bytes and as text.

        :param last: the message ends here.
        :raises ProtocolError: 1007, it cannot be.
        """
        if self.compressed and self._inflater is not None:
            payload = b"".join(self._inflater.inflate_pieces(payload, last=last))
        return payload, self._decoder.decode(payload, last=last) if self._decoder is not None else ""

    def wrong_byte(self, payload: bytes) -> tuple[int, bytes, str]:
        """Return which byte of the next part is wrong, and what those in front of it amount to.

        It is the length of the part, if what is wrong is that nothing follows. Not to be used after that.
        """
        data: list[bytes] = []
        text: list[str] = []
        for index in range(len(payload)):
            try:
                more, characters = self.add(payload[index : index + 1], last=False)
            except ProtocolError:
                return index, b"".join(data), "".join(text)
            data.append(more)
            text.append(characters)
        return len(payload), b"".join(data), "".join(text)


def wrong_byte_of_header(judge: Judge, header: bytes) -> int:
    """Return which byte of a frame's header is wrong, given that the header is, or does not fit where it stands.

    The judge itself is asked: what is left of an error when the bytes behind the first one are replaced?
    """
    if not judge.refuses(header):
        return 0  # a good frame at a place where its opcode must not be
    well_formed = b"\x80\0\0\0\0" if judge.masked else b"\0"
    if judge.refuses(header[:1] + well_formed):
        return 0
    return 1 if judge.refuses(header[:2]) else 2


def wrong_byte_of_close(payload: bytes, error: ProtocolError) -> int:
    """Return which byte of a close frame's payload is wrong, given the error that it is."""
    if error.close_code != 1007:
        return 0  # the code
    content = Content(None)
    content.begin(TEXT, False)
    return 2 + content.wrong_byte(payload[2:])[0]
