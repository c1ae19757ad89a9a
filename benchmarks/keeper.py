"""What the keeper costs while nothing happens: the CPU that a server with many idle connections uses.

``python benchmarks/keeper.py --connections 10000`` opens them, waits, and prints the share of one CPU that the server
used with pings off and with the default of one every 20 seconds, and the same for a server without connections. The
handlers wait in ``receive()``, or, with ``--elsewhere``, for something else, so that the keeper watches the sockets.
"""

from __future__ import annotations

import argparse
import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
import gevent.event

import syncws
import syncws.gevent

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING, PONG = 0x89, 0x8A


def serve(seconds: float, elsewhere: bool) -> None:
    """Run a server whose handlers do nothing; ``seconds`` between pings, 0 for none."""
    never = gevent.event.Event()
    handler = (lambda ws: never.wait()) if elsewhere else (lambda ws: ws.receive())
    server = syncws.gevent.WebSocketServer(
        ("127.0.0.1", 0), handler, ping_interval=seconds or None, max_connections=None, max_handshakes=None
    )
    with server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(connections: int, seconds: float, interval: float, elsewhere: bool) -> float:
    """The share of a CPU that a server uses, in percent."""
    command = [sys.executable, __file__, "--serve", str(interval), *(["--elsewhere"] if elsewhere else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        selector = selectors.DefaultSelector()
        socks = []
        for number in range(connections):
            # Twenty source addresses: one has too few ports.
            sock = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + number % 20}", 0))
            sock.sendall(REQUEST)
            while not sock.recv(4096).endswith(b"\r\n\r\n"):
                pass
            selector.register(sock, selectors.EVENT_READ)
            socks.append(sock)
        answer_pings(selector, 25.0)  # until each has had its first ping
        before, began = cpu_seconds(server.pid), time.monotonic()
        answer_pings(selector, seconds)
        share = (cpu_seconds(server.pid) - before) / (time.monotonic() - began) * 100
        server.kill()
        for sock in socks:
            sock.close()
        return share


def answer_pings(selector: selectors.BaseSelector, seconds: float) -> None:
    """Answer each ping for so long."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(4096)
            assert data[:1] == bytes([PING]), data
            key.fileobj.sendall(bytes([PONG, 0x80 | (len(data) - 2), 0, 0, 0, 0]) + data[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=40.0, help="to measure (default: 40)")
    parser.add_argument("--elsewhere", action="store_true", help="no handler receives")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.serve is not None:
        serve(arguments.serve, arguments.elsewhere)
        return
    for name, connections, interval in (
        ("no connections", 0, 0.0),
        (f"{arguments.connections} connections, no pings", arguments.connections, 0.0),
        (f"{arguments.connections} connections, pings every 20 s", arguments.connections, 20.0),
    ):
        share = measure(connections, arguments.seconds, interval, arguments.elsewhere)
        print(f"{name}: {share:.2f} % of a CPU", flush=True)


if __name__ == "__main__":
    main()
