"""What a view of a connection consists of: heads, frames, problems, ends; values, and their form in JSON.

Texts in them are the peers' and not fit for a terminal or a page as they are: whoever shows them escapes them.
Functions are pure; any thread may call them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from ..transport_traced import Sender

__all__ = ["Accept", "End", "Field", "Frame", "Handshake", "Item", "Part", "Problem", "to_json"]


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A header field, and what it is for.

    :param section: where that is written, for example ``"RFC 6455, 4.1"``; ``""`` if it has nothing to do with
        WebSockets.
    """

    name: str
    value: str
    note: str
    section: str


@dataclasses.dataclass(frozen=True, slots=True)
class Accept:
    """How ``Sec-WebSocket-Accept`` comes from ``Sec-WebSocket-Key`` (RFC 6455, 4.2.2): key + GUID → SHA-1 → base64.

    :param sha1: the digest, 20 bytes in hex.
    :param accept: what the response should have.
    :param received: what it has; ``None``: nothing.
    :param ok: these two are the same.
    """

    key: str
    guid: str
    sha1: str
    accept: str
    received: str | None
    ok: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Handshake:
    """The head of an HTTP request or response.

    :param offset: of its first byte, in all that this side has sent on this connection.
    :param line: the request line or the status line.
    :param note: what else is to be known of it, or ``""``.
    :param hex: its bytes.
    :param accept: for a 101 response, if the request had a key.
    """

    kind: Literal["request", "response"]
    connection: int
    time: float
    sender: Sender
    offset: int
    line: str
    fields: tuple[Field, ...]
    note: str
    hex: str
    accept: Accept | None


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A field of a frame (RFC 6455, 5.2).

    :param bits: as they are on the wire; ``""`` for masking key and payload, which are no numbers.
    :param offset: of its (first) byte in the frame.
    :param value: as a number, in hex, or as text.
    :param meaning: in words.
    """

    name: str
    bits: str
    offset: int
    value: str
    meaning: str
    section: str


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A frame, or as much of it as has come.

    :param offset: of its first byte, in all that this side has sent on this connection.
    :param length: of the payload, as the header declares it.
    :param masking_key: in hex; ``None`` if there is none.
    :param hex: the whole frame.
    :param payload: unmasked, in hex.
    :param payload_masked: as it is on the wire, in hex.
    :param cut: of these three, or of the text, there is more than is shown.
    :param compressed: it belongs to a compressed message.
    :param inflated: what the payload of a compressed frame amounts to, in hex.
    :param text: of a text message: the characters that this frame has completed.
    :param close_code: of a close frame.
    """

    connection: int
    time: float
    sender: Sender
    offset: int
    name: str
    opcode: int
    fin: bool
    rsv1: bool
    rsv2: bool
    rsv3: bool
    masked: bool
    masking_key: str | None
    length: int
    length_form: Literal["7 bits", "16 bits", "64 bits"]
    hex: str
    payload: str
    payload_masked: str
    cut: bool
    compressed: bool
    inflated: str | None
    text: str | None
    close_code: int | None
    close_reason: str | None
    section: str
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A rule that was broken.

    :param offset: of the byte that breaks it, in all that this side has sent on this connection; ``None``: it is no
        single byte.
    :param byte: that byte in hex; ``None``: it is one that is missing, or no single one.
    :param close_code: what a receiver fails the connection with; 1006: it learns that the connection was lost;
        ``None``: no close frame is sent for it.
    """

    connection: int
    time: float
    sender: Sender
    offset: int | None
    byte: str | None
    message: str
    close_code: int | None
    section: str


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """A side has ended its direction of the connection, or the connection was lost."""

    connection: int
    time: float
    sender: Sender


Item = Handshake | Frame | Problem | End
_KINDS = {Frame: "frame", Problem: "problem", End: "end"}


def to_json(item: Item) -> dict[str, Any]:
    """Return an item as a dictionary that :mod:`json` can write; ``kind`` says which it is."""
    found = dataclasses.asdict(item)
    return found if isinstance(item, Handshake) else {"kind": _KINDS[type(item)], **found}
