"""From a socket to a working echo in forty lines, for one client at a time. An exercise for a class.

Run: python examples/forty_lines.py [PORT]
Try: ws = new WebSocket("ws://127.0.0.1:8765/") in a browser's console, and ws.send("hello"). It believes whatever the
     client says: handshake_by_hand.py checks more, and serves many. plain_socket.py has syncws.accept() do it all.
"""

import base64
import contextlib
import hashlib
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def serve(stream) -> None:
    fields = {}
    while line := stream.readline().strip():  # "GET / HTTP/1.1", then "Name: value", up to an empty line
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    accept = base64.b64encode(hashlib.sha1(fields.get(b"sec-websocket-key", b"") + GUID).digest())
    stream.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    stream.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    first = 0
    while first & 0x0F != 8:  # the close frame is the last one
        stream.flush()
        first, length = stream.read(2)  # FIN and the opcode; MASK, which a client sets, and the length
        size = stream.read({126: 2, 127: 8}.get(length & 0x7F, 0))  # of the payload, if it did not fit there
        key, masked = stream.read(4), stream.read(int.from_bytes(size, "big") if size else length & 0x7F)
        first += first & 0x0F == 9  # a ping is answered with a pong; all else comes back as it is
        payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(masked))
        stream.write(bytes([first, length & 0x7F]) + size + payload)


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        while True:
            connection, _ = listener.accept()
            # ValueError: the client is gone, and there are no two bytes to read.
            with contextlib.suppress(ValueError, OSError), connection, connection.makefile("rwb") as stream:
                serve(stream)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
