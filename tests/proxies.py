"""Small servers for the client's tests: a real proxy (CONNECT, SOCKS4, SOCKS5), and servers that follow a script."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

__all__ = ["TIMEOUT", "TunnelProxy", "drain", "read_head", "scripted", "tunnel_proxy"]

# Generous: it ends a test that hangs, and decides nothing else.
TIMEOUT = 10.0


class TunnelProxy(socketserver.ThreadingTCPServer):
    """A proxy on the loopback interface that opens tunnels to wherever it is asked to.

    ``requests`` has what each client asked for: protocol, host, port, and user name and password (``""`` if none).
    """

    daemon_threads = True

    def __init__(self, userinfo: tuple[str, str] | None) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.userinfo = userinfo
        self.requests: list[tuple[str, str, int, str]] = []

    def address(self, *, userinfo: str = "") -> str:
        return f"{userinfo}127.0.0.1:{self.server_address[1]}"


class _ProxyHandler(socketserver.StreamRequestHandler):
    server: TunnelProxy

    def handle(self) -> None:
        self.request.settimeout(TIMEOUT)
        first = self.rfile.read(1)
        if first:  # a client may think better of it, and go
            {b"\x04": self._socks4, b"\x05": self._socks5}.get(first, self._http)()

    def _http(self) -> None:
        target = self.rfile.readline().split()[1].decode()
        authorization = ""
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            if name == "Proxy-Authorization":
                authorization = base64.b64decode(value.removeprefix("Basic ")).decode("latin-1")
        host, _, port = target.rpartition(":")
        if self.server.userinfo is not None and authorization != ":".join(self.server.userinfo):
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        # In two pieces, as it may happen in any network.
        self._tunnel(
            "http", host.strip("[]"), int(port), authorization, [b"HTTP/1.1 200 OK\r", b"\nVia: 1.1 x\r\n\r\n"]
        )

    def _socks4(self) -> None:
        request = self.rfile.read(7)
        user = self._until_zero()
        host = socket.inet_ntoa(request[3:7])
        if host == "0.0.0.1":
            host = self._until_zero()
        reply = b"\x00\x5a" + bytes(6)
        self._tunnel("socks4", host, int.from_bytes(request[1:3], "big"), user, [reply])

    def _until_zero(self) -> str:
        text = bytearray()
        while (byte := self.rfile.read(1)) != b"\x00":
            text += byte
        return text.decode()

    def _socks5(self) -> None:
        methods = self.rfile.read(self.rfile.read(1)[0])
        user = ""
        if self.server.userinfo is None:
            self.wfile.write(b"\x05\x00")
        else:
            assert 2 in methods
            self.wfile.write(b"\x05\x02")
            assert self.rfile.read(1) == b"\x01"
            given = tuple(self.rfile.read(self.rfile.read(1)[0]).decode() for _ in range(2))
            if given != self.server.userinfo:
                self.wfile.write(b"\x01\x01")
                return
            self.wfile.write(b"\x01\x00")
            user = ":".join(given)
        kind = self.rfile.read(4)[3]
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, self.rfile.read(size))
        port = int.from_bytes(self.rfile.read(2), "big")
        self._tunnel("socks5", host, port, user, [b"\x05\x00\x00", b"\x01" + bytes(6)])

    def _tunnel(self, protocol: str, host: str, port: int, user: str, reply: list[bytes]) -> None:
        self.server.requests.append((protocol, host, port, user))
        with socket.create_connection((host, port), timeout=TIMEOUT) as upstream:
            for piece in reply:
                self.wfile.write(piece)
            back = threading.Thread(target=_pump, args=(upstream, self.request))
            back.start()
            _pump(self.request, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end of ``source``, and pass the end on; a lost connection is such an end as well."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tunnel_proxy(userinfo: tuple[str, str] | None = None) -> Iterator[TunnelProxy]:
    """Run a proxy; with ``userinfo`` it insists on that user name and password (SOCKS4 cannot)."""
    with TunnelProxy(userinfo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def scripted(*scripts: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a TCP server that gives its first connection to the first script, and so on; yields its port.

    Leaving the context waits for the scripts; an exception in one of them is raised there.
    """
    failures: list[BaseException] = []

    def serve() -> None:
        for script in scripts:
            try:
                with listener.accept()[0] as sock:
                    sock.settimeout(TIMEOUT)
                    script(sock)
            except BaseException as error:
                failures.append(error)
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()
    if failures:
        raise failures[0]


def read_head(sock: socket.socket) -> str:
    """Read the head of an HTTP request, without what may follow it."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"connection ended after {bytes(head)!r}"
        head += byte
    return head.decode("latin-1")


def drain(sock: socket.socket) -> None:
    """End our direction and read to the end of the other: closing a socket with unread input would reset it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
