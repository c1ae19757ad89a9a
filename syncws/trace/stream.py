"""The frames of one direction of a connection, out of bytes that come in pieces cut anywhere.

A :class:`FrameStream` returns items as soon as their bytes have come. A frame that breaks a rule is shown whole, with
the :class:`~syncws.trace.items.Problem` behind it, as soon as the rest of it has come, or it is clear that nobody waits
for that: then :meth:`FrameStream.flush` is called. Behind it nothing is read any more, as the other side does not.
However the bytes are cut, the items are the same. Memory is bounded, whatever lengths are declared.

Nothing is raised for what a peer has sent. One thread at a time.
"""

from __future__ import annotations

import re

from ..errors import ProtocolError
from ..protocol.codes import BINARY, CLOSE, TEXT
from ..protocol.deflate import Parameters
from ..protocol.frames import MAX_CONTROL_PAYLOAD
from ..transport_traced import Sender
from .items import Frame, Item, Problem
from .judge import INFLATE_LIMIT, Content, Judge, inflater_of, wrong_byte_of_close, wrong_byte_of_header
from .layout import Header, close_meaning, section_of

__all__ = ["FrameStream", "split_section"]

_SECTION = re.compile(r" \((RFC [0-9]+, [0-9.]+)\)$")
_LOST = "RFC 6455, 7.1.5"
_NO_MORE = "RFC 6455, 5.5.1"


def split_section(message: str) -> tuple[str, str]:
    """Return the message of an error without the section at its end, and that section."""
    found = _SECTION.search(message)
    return (message[: found.start()], found[1]) if found else (message, "")


class FrameStream:
    """Reads what one side sends once the connection is open.

    :param sender: that side.
    :param offset: how many bytes it has sent before.
    :param parameters: those of permessage-deflate, if it is in use.
    :param shown: how many bytes of a payload are shown, and how many characters of a text.
    """

    def __init__(self, connection: int, sender: Sender, offset: int, parameters: Parameters | None, shown: int) -> None:
        self._connection = connection
        self._sender = sender
        self._shown = shown
        self._judge = Judge(sender, parameters)
        self._content: Content | None = Content(inflater_of(parameters, sender))  # None when the judge has given up
        self._in_message = self._is_text = self._compressed = False  # the message that has begun, or the latest one
        self._offset = offset  # of the next byte
        self._closed = False  # by a close frame
        self._over = False  # nothing counts any more
        self._told = False  # that the judge has given up
        self._begin_frame()

    def _begin_frame(self) -> None:
        self._start = self._offset
        self._header = Header()
        self._judged = 0  # bytes of the header
        self._payload = bytearray()  # as on the wire, its beginning
        self._got = 0  # bytes of it
        self._inflated = b""
        self._text = ""
        self._wrong: tuple[int, bytes, ProtocolError] | None = None  # index in the frame, byte, rule

    def feed(self, time: float, data: bytes) -> list[Item]:
        """Take the next bytes; return what is complete now."""
        items: list[Item] = []
        position = 0
        while position < len(data) and not self._over:
            if self._closed:
                # RFC 6455, 1.4: after a close frame, a peer discards any further data received.
                message = "behind its close frame a side sends nothing; the other side drops what it does send"
                items.append(self._problem(time, self._offset, data[position : position + 1], message, None, _NO_MORE))
                self._over = True
                break
            header = self._header
            missing = header.length - self._got if header.complete else header.next_step - len(header.data)
            piece = data[position : position + missing]
            position += len(piece)
            self._offset += len(piece)
            if header.complete:
                self._add_to_payload(piece)
            else:
                self._add_to_header(piece)
            if header.complete and self._got == header.length:
                items += self._end_frame(time)
        self._offset += len(data) - position
        return items

    def flush(self, time: float) -> list[Item]:
        """Return a frame that breaks a rule without waiting for the rest of it."""
        return self._end_frame(time) if self._wrong is not None else []

    def end(self, time: float, *, recording: bool = False) -> list[Item]:
        """Return what is to be said of the end of the stream.

        :param recording: it is only that of the recording.
        """
        items = self.flush(time)
        if self._over or self._closed:
            return items
        what = "" if recording else "without a close frame"
        if self._offset > self._start:
            what = "in the middle of a frame"
            if self._header.complete:
                what += f", {self._header.length - self._got} bytes of its payload are missing"
            items += self._end_frame(time)
        elif self._in_message:
            what = "in the middle of a message, fragments are missing"
        self._over = True
        if what:
            message = f"the recording ends {what}" if recording else f"the connection ends {what}"
            items.append(self._problem(time, self._offset, b"", message, None if recording else 1006, _LOST))
        return items

    def _add_to_header(self, piece: bytes) -> None:
        header = self._header
        step = header.next_step
        header.data += piece
        if len(header.data) < step or self._wrong is not None:
            return
        fed = bytes(header.data[self._judged :])
        self._judged = len(header.data)
        begins = header.complete and header.opcode in (TEXT, BINARY) and not self._in_message
        if begins:
            self._is_text = header.opcode == TEXT
            self._compressed = header.data[0] & 64 != 0
            if self._content is not None:
                self._content.begin(header.opcode, self._compressed)
        error = self._judge.feed(fed)
        if error is None:
            if header.complete and not header.length:
                self._take(b"")
        elif error.close_code == 1007:
            self._wrong = (header.size, b"", error)  # nothing is wrong but that the message ends here
        else:
            index = wrong_byte_of_header(self._judge, bytes(header.data))
            self._wrong = (index, bytes(header.data[index : index + 1]), error)

    def _add_to_payload(self, piece: bytes) -> None:
        header = self._header
        unmasked = header.unmasked(piece, self._got)
        self._payload += piece[: max(0, max(self._shown, MAX_CONTROL_PAYLOAD) - len(self._payload))]
        self._got += len(piece)
        if self._wrong is not None:
            return
        error = self._judge.feed(piece)
        if error is None:
            self._take(unmasked)
            return
        if header.opcode >= CLOSE:
            index = wrong_byte_of_close(header.unmasked(bytes(self._payload)), error)
            wire = bytes(self._payload[index : index + 1])
        else:
            assert self._content is not None
            index, inflated, text = self._content.wrong_byte(unmasked)
            self._show(inflated, text)
            wire = piece[index : index + 1]
            index += self._got - len(piece)
        self._wrong = (header.size + index, wire, error)

    def _take(self, payload: bytes) -> None:
        """Note what a part of the payload, which is right, amounts to."""
        header = self._header
        if self._judge.gave_up:
            self._content = None
        if header.opcode < CLOSE and self._content is not None:
            last = header.fin and self._got == header.length
            self._show(*self._content.add(payload, last=last))

    def _show(self, inflated: bytes, text: str) -> None:
        if self._compressed and len(self._inflated) <= self._shown:
            self._inflated += inflated[: self._shown + 1]
        if len(self._text) <= self._shown:
            self._text += text[: self._shown + 1]

    def _end_frame(self, time: float) -> list[Item]:
        """Return the frame, as far as it has come, and what is wrong with it; begin the next one."""
        items: list[Item] = []
        if len(self._header.data) > 1:
            items.append(self._frame(time))
        if self._wrong is not None:
            index, wire, error = self._wrong
            message, section = split_section(error.message)
            if wire and self._header.complete and self._header.masked and index >= self._header.size:
                unmasked = self._header.unmasked(wire, index - self._header.size)
                message += f"; unmasked, the byte is 0x{unmasked[0]:02X}"
            items.append(self._problem(time, self._start + index, wire, message, error.close_code, section))
            self._over = True
        elif self._header.complete and self._got == self._header.length:
            if self._header.opcode >= CLOSE:
                self._closed = self._header.opcode == CLOSE
            else:
                self._in_message = not self._header.fin
        if self._judge.gave_up and not self._told:
            self._told = True
            message = f"the message inflates to more than {INFLATE_LIMIT} bytes: from here on, nothing is inflated"
            items.append(self._problem(time, None, b"", message, None, "RFC 7692, 8"))
        self._judge.frame_ends()
        self._begin_frame()
        return items

    def _frame(self, time: float) -> Frame:
        header = self._header
        is_data = header.opcode < CLOSE
        compressed = is_data and self._compressed and self._judge.rsv1_allowed
        wire = bytes(self._payload[: self._shown])
        payload = header.unmasked(wire)
        known = self._content is not None and (self._wrong is None or self._wrong[2].close_code == 1007)
        text = self._text if is_data and self._is_text and known else None
        code, reason = _close_of(header.unmasked(bytes(self._payload))) if header.opcode == CLOSE else (None, None)
        cut = not header.complete or max(header.length, self._got) > len(wire)
        if text is not None and len(text) > self._shown:
            cut, text = True, text[: self._shown]
        inflated = self._inflated[: self._shown] if compressed and known else None
        return Frame(
            connection=self._connection,
            time=time,
            sender=self._sender,
            offset=self._start,
            name=header.name,
            opcode=header.opcode,
            fin=header.fin,
            rsv1=header.data[0] & 64 != 0,
            rsv2=header.data[0] & 32 != 0,
            rsv3=header.data[0] & 16 != 0,
            masked=header.masked,
            masking_key=header.key.hex() if len(header.key) == 4 else None,
            length=header.length,
            length_form=header.form,
            hex=(bytes(header.data) + wire).hex(),
            payload=payload.hex(),
            payload_masked=wire.hex(),
            cut=cut or len(self._inflated) > self._shown,
            compressed=compressed,
            inflated=None if inflated is None else inflated.hex(),
            text=text,
            close_code=code,
            close_reason=reason,
            section=section_of(header.name),
            parts=header.parts(wire, _meaning(payload, text, inflated, code, reason), compressed=compressed),
        )

    def _problem(
        self, time: float, offset: int | None, byte: bytes, message: str, close_code: int | None, section: str
    ) -> Problem:
        return Problem(self._connection, time, self._sender, offset, byte.hex() or None, message, close_code, section)


def _close_of(payload: bytes) -> tuple[int | None, str | None]:
    """Return code and reason of a close frame, right or wrong."""
    if len(payload) < 2:
        return None, None
    return int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")


def _meaning(payload: bytes, text: str | None, inflated: bytes | None, code: int | None, reason: str | None) -> str:
    """Return what a payload means."""
    if code is not None:
        return f"{code}, {close_meaning(code)}" + (f": {reason}" if reason else "")
    if text is not None:
        return text
    return (payload if inflated is None else inflated).hex()
