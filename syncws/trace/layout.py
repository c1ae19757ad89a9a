"""The bits of a frame, each with its name and meaning (RFC 6455, section 5.2).

Only names are given here: whether a frame is right, :mod:`syncws.trace.judge` knows. So every frame can be laid out,
also one that breaks the rules, and one of which only the beginning has come. Functions are pure; any thread may call
them.
"""

from __future__ import annotations

from typing import Literal

from ..protocol.codes import CLOSE_CODE_MEANINGS, OPCODE_NAMES
from ..protocol.mask import apply_mask
from .items import Part

__all__ = ["Header", "close_meaning", "section_of"]

_BASE = "RFC 6455, 5.2"
_SECTIONS = {
    "continuation": "RFC 6455, 5.4",
    "text": "RFC 6455, 5.6",
    "binary": "RFC 6455, 5.6",
    "close": "RFC 6455, 5.5.1",
    "ping": "RFC 6455, 5.5.2",
    "pong": "RFC 6455, 5.5.3",
}
_OPCODE_MEANINGS = {
    "continuation": "a further fragment of a message",
    "text": "a text message begins: UTF-8",
    "binary": "a binary message begins",
    "close": "the sender sends no more frames",
    "ping": "asks for a pong with the same payload",
    "pong": "the answer to a ping",
}
_WIDTHS = {126: 2, 127: 8}


def section_of(name: str) -> str:
    """Return where frames of this kind are defined."""
    return _SECTIONS.get(name, _BASE)


class Header:
    """The header of a frame, as far as it has come.

    :ivar data: its bytes; may be appended to. All but :attr:`next_step` and :attr:`complete` want two of them at least.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def width(self) -> int:
        """How many bytes the extended payload length has: 0, 2 or 8."""
        return _WIDTHS.get(self.data[1] & 127, 0)

    @property
    def next_step(self) -> int:
        """The size at which more of the header can be told: flags, then the length, then all of it."""
        size = len(self.data)
        if size < 2:
            return 2
        return 2 + self.width if size < 2 + self.width else self.size

    @property
    def size(self) -> int:
        """How many bytes the header has."""
        return 2 + self.width + (4 if self.masked else 0)

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return len(self.data) >= 2 and len(self.data) == self.size

    @property
    def opcode(self) -> int:
        return self.data[0] & 15

    @property
    def name(self) -> str:
        """What kind of frame it is."""
        return OPCODE_NAMES.get(self.opcode, f"reserved opcode 0x{self.opcode:X}")

    @property
    def fin(self) -> bool:
        return self.data[0] > 127

    @property
    def masked(self) -> bool:
        return self.data[1] > 127

    @property
    def length(self) -> int:
        """The payload length; 0 as long as it has not come."""
        if not self.width:
            return self.data[1] & 127
        extended = self.data[2 : 2 + self.width]
        return int.from_bytes(extended, "big") if len(extended) == self.width else 0

    @property
    def form(self) -> Literal["7 bits", "16 bits", "64 bits"]:
        """How many bits the payload length has."""
        return "7 bits" if self.width == 0 else "16 bits" if self.width == 2 else "64 bits"

    @property
    def key(self) -> bytes:
        """The masking key; no bytes if there is none."""
        return bytes(self.data[2 + self.width :]) if self.masked else b""

    def unmasked(self, payload: bytes, position: int = 0) -> bytes:
        """Return a part of the payload, which begins at ``position`` in it, as it was before it was masked."""
        return apply_mask(payload, self.key, position) if self.key else payload

    def parts(self, payload: bytes, shown: str, *, compressed: bool) -> tuple[Part, ...]:
        """Return the fields of the frame, in the order of the wire, as far as they have come.

        :param payload: as on the wire, or its beginning.
        :param shown: what it means.
        :param compressed: the frame belongs to a compressed message.
        """
        parts = [*_first_byte(self.data[0], self.name, compressed=compressed), *self._second_byte()]
        if len(self.data) >= 2 + self.width and self.width:
            extended = self.data[2 : 2 + self.width]
            bits = "".join(f"{byte:08b}" for byte in extended)
            meaning = f"{self.length} bytes of payload"
            parts.append(Part("extended payload length", bits, 2, str(self.length), meaning, _BASE))
        if self.complete and self.masked:
            meaning = "byte i of the payload is XORed with byte i modulo 4 of this"
            parts.append(Part("masking key", "", self.size - 4, self.key.hex(), meaning, "RFC 6455, 5.3"))
        if self.complete and self.length:
            parts.append(Part("payload data", "", self.size, payload.hex(), shown, _BASE))
        return tuple(parts)

    def _second_byte(self) -> list[Part]:
        mask = "a masking key follows" if self.masked else "no masking key follows"
        who = "; a client must set it" if self.masked else "; a server must not set it"
        length = self.data[1] & 127
        if self.width:
            meaning = f"the length is in the next {self.width} bytes"
        else:
            meaning = "1 byte of payload" if length == 1 else f"{length} bytes of payload"
        return [
            Part("MASK", f"{self.masked:b}", 1, f"{self.masked:d}", mask + who, "RFC 6455, 5.1"),
            Part("payload length", f"{length:07b}", 1, str(length), meaning, _BASE),
        ]


def _first_byte(first: int, name: str, *, compressed: bool) -> list[Part]:
    fin = "the last fragment of its message" if first > 127 else "more fragments follow"
    rsv1 = (
        "the message is compressed" if compressed and first & 64 else "set, and nothing was agreed that it could mean"
    )
    if not first & 64:
        rsv1 = "not set"
    bits = [Part("FIN", f"{first >> 7:b}", 0, f"{first >> 7:d}", fin, _BASE)]
    bits.append(
        Part("RSV1", f"{first >> 6 & 1:b}", 0, f"{first >> 6 & 1:d}", rsv1, "RFC 7692, 6" if first & 64 else _BASE)
    )
    for number, bit in ((2, first >> 5 & 1), (3, first >> 4 & 1)):
        meaning = "set, and nothing was agreed that it could mean" if bit else "not set"
        bits.append(Part(f"RSV{number}", f"{bit:b}", 0, f"{bit:d}", meaning, _BASE))
    opcode = first & 15
    meaning = _OPCODE_MEANINGS.get(name, "nothing is defined for it")
    bits.append(Part("opcode", f"{opcode:04b}", 0, f"0x{opcode:X}", f"{name}: {meaning}", section_of(name)))
    return bits


def close_meaning(code: int) -> str:
    """Return what a close code stands for."""
    if code in CLOSE_CODE_MEANINGS:
        return CLOSE_CODE_MEANINGS[code]
    return "a meaning of the application's own" if 3000 <= code <= 4999 else "no meaning"
