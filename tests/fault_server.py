"""A server in a process of its own, for faults that need options or handlers that ``syncws echo`` has not.

``python fault_server.py HANDLER OPTIONS``: the options are a JSON object, those of :class:`syncws.WebSocketServer` and
``gevent``, ``certfile``, and ``path``, of a Unix socket to listen on. It ends with a signal.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import syncws

SENDERS = 8


class Peers:
    """What the handlers are run by: starts a function on threads or greenlets, and waits for it."""

    def __init__(self, gevent: bool) -> None:
        self.gevent = gevent

    def start(self, function: Callable[..., object], *arguments: Any) -> Any:
        if self.gevent:
            import gevent

            return gevent.spawn(function, *arguments)
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        return thread

    def echo(self, ws: syncws.WebSocket) -> None:
        for message in ws:
            ws.send(message)

    def senders(self, ws: syncws.WebSocket) -> None:
        """Send from eight sides at once, ping from a ninth, and close: ``/COUNT/CLOSE_AT``.

        Each side sends COUNT messages, its number and that of the message. If CLOSE_AT is not 0, a tenth side closes
        when the first one is there. Then a line on standard output says for how many messages send() has returned.
        """
        count, close_at = map(int, ws.path.split("/")[1:])
        sent = [0] * SENDERS
        over = False

        def send(sender: int) -> None:
            try:
                for number in range(count):
                    ws.send(f"{sender} {number} {'x' * (number % 200)}")
                    sent[sender] += 1
                    if sender == 0 and sent[0] == close_at:
                        tasks.append(self.start(ws.close, 4000))
            except syncws.ConnectionClosed:
                pass

        def ping() -> None:
            try:
                while not over:
                    ws.ping(timeout=60)
            except syncws.ConnectionClosed:
                pass

        tasks: list[Any] = []
        tasks += [self.start(send, sender) for sender in range(SENDERS)]
        pinging = self.start(ping)
        for task in tasks[:SENDERS]:
            task.join()
        ws.close(4000)
        over = True
        pinging.join()
        for task in tasks[SENDERS:]:
            task.join()
        print(json.dumps(sent), flush=True)

    def forking(self, ws: syncws.WebSocket) -> None:
        """Echo; to ``fork``, fork a child and send its port; to ``wait``, send what it has ended with."""
        child = 0
        for message in ws:
            if message == "fork":
                child, port = self._fork()
                ws.send(str(port))
            elif message == "wait":
                ws.send(str(os.waitpid(child, 0)[1]))
            else:
                ws.send(message)

    def _fork(self) -> tuple[int, int]:
        """Fork a child that serves one connection of its own, as any process does, and ends; pid and port."""
        reading, writing = os.pipe()
        if self.gevent:
            import gevent.os

            import syncws.gevent as servers

            child = gevent.os.fork()
        else:
            servers = syncws  # type: ignore[assignment]
            child = os.fork()
        if child == 0:
            try:
                gc.collect()

                def echo_and_stop(ws: syncws.WebSocket) -> None:
                    self.echo(ws)
                    server.shutdown()

                with servers.WebSocketServer(("127.0.0.1", 0), echo_and_stop, ping_interval=0.1) as server:
                    os.write(writing, b"%d" % server.server_address[1])
                    server.serve_forever()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        port = int(os.read(reading, 100))
        os.close(reading)
        os.close(writing)
        return child, port


def main(handler: str, options: dict[str, Any]) -> None:
    gevent, certfile = options.pop("gevent", False), options.pop("certfile", None)
    address = options.pop("path", ("127.0.0.1", 0))
    if certfile is not None:
        options["ssl"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        options["ssl"].load_cert_chain(certfile)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if gevent:
        import syncws.gevent as servers
    else:
        servers = syncws  # type: ignore[assignment]
    with servers.WebSocketServer(address, getattr(Peers(gevent), handler), **options) as server:
        scheme = "wss" if certfile else "ws"
        print(
            f"listening on {scheme}://127.0.0.1:{server.server_address[1]}/"
            if isinstance(address, tuple)
            else f"listening on {scheme}+unix:{address}",
            flush=True,
        )
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
