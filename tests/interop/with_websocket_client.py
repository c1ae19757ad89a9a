"""The ``websocket-client`` package: a client only, without compression."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import websocket
from interop.peers import Library, Peer, Refusal
from websocket import ABNF
from wire import DEADLINE

__all__ = ["WebsocketClient"]


class _Peer(Peer):
    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection
        self._end: tuple[int, str] | None = None
        self._pongs: list[bytes] = []
        self.subprotocol = connection.subprotocol
        self.headers = dict(connection.headers)
        self.extensions = self.headers.get("sec-websocket-extensions", "")

    def send(self, data: str | bytes) -> None:
        self._connection.send(data, _opcode(data))

    def send_fragments(self, pieces: Sequence[str | bytes]) -> None:
        opcode = _opcode(pieces[0])
        for number, piece in enumerate(pieces):
            data = piece.encode() if isinstance(piece, str) else piece
            last = number == len(pieces) - 1
            self._connection.send_frame(ABNF.create_frame(data, ABNF.OPCODE_CONT if number else opcode, fin=int(last)))

    def receive(self) -> str | bytes:
        while self._end is None:
            message = self._receive()
            if message is not None:
                return message
        raise EOFError

    def _receive(self) -> str | bytes | None:
        """Read one message or control frame."""
        try:
            opcode, frame = self._connection.recv_data_frame(control_frame=True)
        except (websocket.WebSocketConnectionClosedException, OSError):
            self._end = (1006, "")
            return None
        if opcode == ABNF.OPCODE_CLOSE:
            self._end = _parse(frame.data)
            # It has answered, but the end of TCP is left to the program.
            self._connection.shutdown()
        elif opcode == ABNF.OPCODE_PONG:
            self._pongs.append(frame.data)
        elif opcode == ABNF.OPCODE_TEXT:
            return str(frame.data, "utf-8")
        elif opcode == ABNF.OPCODE_BINARY:
            return bytes(frame.data)
        return None

    def ping(self, data: bytes) -> bytes:
        self._connection.ping(data)
        while not self._pongs and self._end is None:
            self._receive()
        return self._pongs.pop(0)

    def close(self, code: int | None = None, reason: str = "") -> None:
        if code is not None:
            self._connection.close(code, reason, timeout=DEADLINE)
            answer = self._connection.close_frame
            self._end = (1006, "") if answer is None else _parse(answer.data)
            return
        self._connection.send(b"", ABNF.OPCODE_CLOSE)
        self.ended()

    def ended(self) -> tuple[int, str]:
        while self._end is None:
            self._receive()
        return self._end

    def dispose(self) -> None:
        self._connection.shutdown()


class WebsocketClient(Library):
    def client(
        self,
        uri: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        tls: Any = None,
        unix: str | None = None,
    ) -> Peer:
        sock = None
        if unix is not None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(unix)
        return _Peer(
            websocket.create_connection(
                uri,
                timeout=DEADLINE,
                subprotocols=list(subprotocols) or None,
                header=[f"{name}: {value}" for name, value in headers if name != "Origin"],
                origin=dict(headers).get("Origin"),
                suppress_origin="Origin" not in dict(headers),
                sslopt={"context": tls.client} if tls else None,
                socket=sock,
            )
        )

    def refused(self, uri: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
        try:
            self.client(uri, headers=headers)
        except websocket.WebSocketBadStatusException as error:
            return Refusal(error.status_code, dict(error.resp_headers or {}), error.resp_body)
        raise AssertionError("the server did not refuse")


def _opcode(data: str | bytes) -> int:
    return ABNF.OPCODE_TEXT if isinstance(data, str) else ABNF.OPCODE_BINARY


def _parse(payload: bytes) -> tuple[int, str]:
    if not payload:
        return 1005, ""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()
