"""A message that is encoded once and sent to many: :class:`PreparedMessage`."""

from __future__ import annotations

from .protocol.frames import data_payload, encode_frame
from .protocol.zlibs import Settings, compress_once

__all__ = ["PreparedMessage"]


class PreparedMessage:
    """A message for many connections: ``ws.send(prepared)`` does for each of them only what differs.

    It cannot be changed. Any thread may send it, on any number of connections, as often as it likes.

    :param data: ``str`` for text, bytes-like for binary.
    :raises TypeError: data is neither.
    :raises ValueError: text that UTF-8 cannot encode, such as a lone surrogate.
    """

    __slots__ = ("_compressed", "frame", "opcode", "payload")

    def __init__(self, data: str | bytes | bytearray | memoryview) -> None:
        self.opcode, self.payload = data_payload(data)
        self.frame = encode_frame(self.opcode, self.payload)  # a server's, which is not masked
        self._compressed: dict[Settings, bytes] = {}

    def compressed(self, settings: Settings) -> bytes:
        """Return the server's frame with the payload compressed, once for all connections that agreed on the same."""
        frame = self._compressed.get(settings)
        if frame is None:
            payload = compress_once(self.payload, settings)
            frame = self._compressed[settings] = encode_frame(self.opcode, payload, True, True)
        return frame

    def __repr__(self) -> str:
        return f"<PreparedMessage of {len(self.payload)} bytes>"
