"""Frame → bytes (RFC 6455, section 5.2), and the payload of a close frame in both directions (5.5.1).

Pure functions; any thread may call them. Arguments are the library's own and are not checked again here, except
where a person may have given them: :func:`close_payload`.
"""

from __future__ import annotations

from ..errors import ProtocolError
from .codes import BINARY, TEXT, may_be_sent
from .mask import apply_mask

__all__ = [
    "MAX_CONTROL_PAYLOAD",
    "MAX_REASON",
    "close_payload",
    "data_payload",
    "encode_frame",
    "frame_header",
    "parse_close",
]

# RFC 6455, 5.5: all control frames MUST have a payload length of 125 bytes or less.
MAX_CONTROL_PAYLOAD = 125
# A close frame's payload is a two-byte code and the reason in UTF-8 (RFC 6455, 5.5.1).
MAX_REASON = MAX_CONTROL_PAYLOAD - 2

_FIN = 0x80
_RSV1 = 0x40
_MASK = 0x80
# Joining two of them is faster than bytes() of a tuple.
_OCTETS = tuple(bytes((value,)) for value in range(256))
# The headers of what is sent most: small messages of a server, by opcode and size.
_SMALL = tuple(tuple(bytes((_FIN | opcode, size)) for size in range(126)) for opcode in (0, TEXT, BINARY))


def frame_header(opcode: int, size: int, fin: bool = True, rsv1: bool = False, key: bytes | None = None) -> bytes:
    """Return the header of a frame, 2 to 14 bytes, ending with the masking key if there is one.

    :param size: payload length in bytes; RFC 6455, 5.2: the minimal number of bytes encodes it.
    :param rsv1: set the bit that marks a compressed message (RFC 7692, section 6).
    :param key: the masking key, 4 bytes, for a client's frame; ``None`` for a server's.
    """
    if size < 126 and fin and not rsv1 and key is None and 0 < opcode <= BINARY:
        return _SMALL[opcode][size]
    first = opcode | (_FIN if fin else 0) | (_RSV1 if rsv1 else 0)
    mask_bit = 0 if key is None else _MASK
    if size < 126:
        header = _OCTETS[first] + _OCTETS[mask_bit | size]
    elif size < 65536:
        header = _OCTETS[first] + _OCTETS[mask_bit | 126] + size.to_bytes(2, "big")
    else:
        header = _OCTETS[first] + _OCTETS[mask_bit | 127] + size.to_bytes(8, "big")
    return header if key is None else header + key


def encode_frame(opcode: int, payload: bytes, fin: bool = True, rsv1: bool = False, key: bytes | None = None) -> bytes:
    """Return a whole frame as one bytes object; see :func:`frame_header` for the parameters."""
    header = frame_header(opcode, len(payload), fin, rsv1, key)
    return header + (payload if key is None else apply_mask(payload, key))


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame.

    :param code: a close code that may go on the wire (RFC 6455, 7.4).
    :param reason: at most 123 bytes in UTF-8.
    :raises TypeError: code or reason is of another type.
    :raises ValueError: a code that must not be sent, a reason that is too long or not encodable.
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"close code must be an int, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"close reason must be a str, not {type(reason).__name__}")
    if not may_be_sent(code):
        raise ValueError(
            f"close code {code} must not be sent (RFC 6455, 7.4); use 1000 for a normal closure, "
            "or one of 3000-4999 for a meaning of your own"
        )
    try:
        encoded = reason.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"close reason cannot be encoded as UTF-8: {error.reason} at index {error.start}") from None
    if len(encoded) > MAX_REASON:
        raise ValueError(f"close reason is {len(encoded)} bytes in UTF-8; the limit is {MAX_REASON} (RFC 6455, 5.5)")
    return code.to_bytes(2, "big") + encoded


def parse_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame that was received; code 1005 and ``""`` if it has no payload.

    :raises ProtocolError: 1002 for a payload of one byte or a code that must not be sent, 1007 for a reason that
        is not UTF-8.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        # RFC 6455, 5.5.1: if there is a body, the first two bytes MUST be the code.
        raise ProtocolError("close frame with a payload of 1 byte; a close code takes 2 (RFC 6455, 5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        raise ProtocolError(f"close frame with code {code}, which must not be sent (RFC 6455, 7.4)")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError as error:
        # RFC 6455, 8.1: text that is not UTF-8 fails the connection.
        raise ProtocolError(
            f"close reason is not UTF-8: {error.reason} at byte {error.start} (RFC 6455, 5.5.1)", 1007
        ) from None


def data_payload(data: str | bytes | bytearray | memoryview) -> tuple[int, bytes]:
    """Return opcode and payload for data of a person: ``str`` goes as text, bytes-like as binary (RFC 6455, 5.6).

    :raises TypeError: data is neither.
    :raises ValueError: text that UTF-8 cannot encode, such as a lone surrogate.
    """
    if isinstance(data, str):
        try:
            return TEXT, data.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text cannot be sent as UTF-8: {error.reason} at index {error.start}, {data[error.start]!r}"
            ) from None
    if type(data) is bytes:  # compiled code takes no other
        return BINARY, data
    try:
        return BINARY, bytes(memoryview(data))
    except TypeError:
        raise TypeError(
            f"a message must be str (text) or bytes-like (binary), not {type(data).__name__}; "
            "encode other objects first, for example with json.dumps()"
        ) from None
