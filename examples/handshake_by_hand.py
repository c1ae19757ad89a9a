"""A WebSocket server from nothing but a socket: the opening handshake and the frames by hand. An exercise for a class.

Run: python examples/handshake_by_hand.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8765/, or new WebSocket("ws://127.0.0.1:8765/") in a browser's console.
     Then compare with plain_socket.py and syncws.accept(). Missing here: Origin, UTF-8, order of frames, deadlines.
"""

import base64
import contextlib
import hashlib
import socket
import struct
import sys
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3: known only to those who speak WebSocket
FIN, CLOSE, PING, PONG = 0x80, 8, 9, 10
LONGEST = 2**20  # bytes that a frame may have


def open_websocket(stream) -> bool:
    fields = {}
    while line := stream.readline().strip():  # "GET / HTTP/1.1", then "Name: value", up to an empty line
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if b"sec-websocket-key" not in fields:
        stream.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return False
    accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest())
    stream.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    stream.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    return True


def read_frame(stream) -> tuple[int, bytes]:
    first, second = struct.unpack("!BB", stream.read(2))  # FIN and the opcode; MASK and the length
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", stream.read(8))
    if first & 0x70 or not second & 0x80 or length > LONGEST:  # reserved bits; a client that does not mask
        return FIN | CLOSE, struct.pack("!H", 1002)
    mask, *payload = struct.unpack(f"!4s{length}B", stream.read(4 + length))
    return first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def write_frame(stream, first: int, payload: bytes) -> None:
    size = len(payload)
    if size < 126:
        stream.write(struct.pack("!BB", first, size))
    else:
        stream.write(struct.pack("!BBH", first, 126, size) if size < 2**16 else struct.pack("!BBQ", first, 127, size))
    stream.write(payload)


def serve(connection: socket.socket) -> None:
    # The errors are how a peer goes: in the middle of a frame, or before it has read all.
    with contextlib.suppress(struct.error, OSError), connection, connection.makefile("rwb") as stream:
        opcode = 0 if open_websocket(stream) else CLOSE
        while opcode != CLOSE:
            stream.flush()
            first, payload = read_frame(stream)
            opcode = first & 0x0F
            if opcode == PING:
                write_frame(stream, FIN | PONG, payload)
            elif opcode != PONG:
                write_frame(stream, first, payload)  # an echo: a close frame too, and fragments as fragments


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
