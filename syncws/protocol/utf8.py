"""Text out of UTF-8, whole or in pieces that are cut anywhere (RFC 6455, sections 5.6 and 8.1).

A byte that cannot be part of UTF-8 raises :class:`ProtocolError` with close code 1007 as soon as it arrives, whatever
may follow. There is no "need more": :meth:`Utf8Decoder.decode` keeps an incomplete character for the next call.

:func:`decode` may be called by any thread, a decoder by one at a time.
"""

from __future__ import annotations

import codecs

from ..errors import ProtocolError

__all__ = ["Utf8Decoder", "decode"]

# How Python calls a byte that does not continue a character.
_CONTINUATION = "invalid continuation byte"


def decode(data: bytes) -> str:
    """Return the text of a whole message.

    :raises ProtocolError: 1007, the data is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None


class Utf8Decoder:
    """Decodes one message that arrives in pieces."""

    __slots__ = ("_incomplete",)

    def __init__(self) -> None:
        self._incomplete = b""  # at most 3 bytes that begin a character

    def decode(self, data: bytes, *, last: bool) -> str:
        """Return the characters that ``data``, the next piece, completes.

        :param last: the message ends here, so it must not end within a character.
        :raises ProtocolError: 1007, the data is not UTF-8.
        """
        if self._incomplete:
            data = self._incomplete + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", last)
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None
        self._incomplete = data[used:]
        # RFC 3629, 3: no surrogates. Python waits for the third byte of one, but the second tells already.
        if b"\xed\xa0" <= self._incomplete < b"\xee":
            raise _not_utf8(UnicodeDecodeError("utf-8", self._incomplete, 0, 1, _CONTINUATION))
        return text


def _not_utf8(error: UnicodeDecodeError) -> ProtocolError:
    # Python names where a character begins; if it is not continued, the byte behind what is right of it is wrong.
    byte = error.object[error.end if error.reason == _CONTINUATION else error.start]
    # RFC 6455, 8.1: an endpoint that finds a byte stream not to be UTF-8 MUST fail the connection; 7.4.1: with 1007.
    return ProtocolError(f"text message is not UTF-8: {error.reason} 0x{byte:02X} (RFC 6455, 8.1)", 1007)
