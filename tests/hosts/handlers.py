"""The handlers that the tests run on every host, whatever app calls them.

A client names itself with ``?key=...``; what has become of its handler, :data:`register` knows.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import syncws

__all__ = [
    "BLOCKED",
    "FAILURE",
    "HANDLERS",
    "MEANWHILE",
    "MESSAGES_EACH",
    "MIB",
    "QUEUED",
    "SENDERS",
    "Handler",
    "register",
    "run",
]

FAILURE = "on purpose"
SENDERS = 20
MESSAGES_EACH = 20
# A message that no socket's buffer has room for, in bytes; and how many come the other way while it waits.
BLOCKED = 32 * 2**20
MEANWHILE = 50
MIB = 2**20
# So many messages of a MiB are more than the buffers have room for.
QUEUED = 16
GREENLETS = os.environ.get("HOSTS_GREENLETS") == "1"

Handler = Callable[[syncws.WebSocket], object]


class Register:
    """Which handlers run and how those that do not have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # never held while waiting, so greenlets may share it
        self.open: dict[str, syncws.WebSocket] = {}
        self.ended: dict[str, str] = {}
        self.noted: dict[str, str] = {}

    @contextlib.contextmanager
    def running(self, ws: syncws.WebSocket) -> Iterator[None]:
        """Note that a handler runs, and how it ends."""
        key = key_of(ws)
        with self._lock:
            self.open[key] = ws
        outcome = "returned"
        try:
            yield
        except BaseException as error:
            outcome = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
            raise
        finally:
            with self._lock:
                del self.open[key]
                self.ended[key] = outcome


register = Register()


def key_of(ws: syncws.WebSocket) -> str:
    """What the client calls itself."""
    return parse_qs(ws.request.target.partition("?")[2]).get("key", [str(id(ws))])[0]


def spawn(function: Callable[[], object]) -> Callable[[], object]:
    """Run a function in a thread, or in a greenlet on hosts that use them; return what waits for its end."""
    if GREENLETS:
        import gevent

        return gevent.spawn(function).get  # type: ignore[no-any-return]
    thread = threading.Thread(target=function)
    thread.start()
    return thread.join


def pause(seconds: float) -> None:
    """Let others run."""
    if GREENLETS:
        import gevent

        gevent.sleep(seconds)
    else:
        time.sleep(seconds)


# The handlers.


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def echo_to_the_end(ws: syncws.WebSocket) -> None:
    """Echo, whatever code ends it: Werkzeug's debugger logs each exception that leaves an app."""
    with contextlib.suppress(syncws.ConnectionClosed):
        echo(ws)


def tell(ws: syncws.WebSocket) -> None:
    """Say what the server knows about the connection."""
    cookie, forwarded = ws.headers.get("Cookie"), ws.headers.get("X-Forwarded-For")
    ws.send(json.dumps({"cookie": cookie, "forwarded": forwarded, "subprotocol": ws.subprotocol, "path": ws.path}))


def send_from_many(ws: syncws.WebSocket) -> None:
    """Send messages, each behind its checksum, from many threads at once; a text message ends them."""

    def send(number: int) -> None:
        numbers = random.Random(number)
        for _ in range(MESSAGES_EACH):
            data = numbers.randbytes(numbers.choice([3, 200, 5000, 70000]))
            ws.send(hashlib.sha256(data).digest() + data)

    for wait in [spawn(functools.partial(send, number)) for number in range(SENDERS)]:
        wait()
    ws.send("all sent")


def send_receive_and_ping(ws: syncws.WebSocket) -> None:
    """Receive while one thread is stuck in send() and another one waits for a pong; tell what could be received."""
    ws.receive()
    sent = []
    waits = [spawn(lambda: sent.append(ws.send(b"x" * BLOCKED))), spawn(ws.ping)]
    received = [ws.receive() for _ in range(MEANWHILE)]
    register.noted[key_of(ws)] = f"{len(set(received))} messages while send() {'returned' if sent else 'waited'}"
    for wait in waits:
        wait()
    ws.send("pinged" if ws.latency is not None else "not pinged")


def be_elsewhere(ws: syncws.WebSocket) -> None:
    """Do not receive until it is over; then tell what was kept."""
    while not ws.closed:
        pause(0.02)
    register.noted[key_of(ws)] = f"{ws.receive()}, then {ws.close_code}"


def wait_for_nobody(ws: syncws.WebSocket) -> None:
    """Tell how it ends."""
    try:
        ws.receive()
    except syncws.ConnectionClosed as error:
        register.noted[key_of(ws)] = f"{error.code}: {error.reason}"


def send_without_waiting(ws: syncws.WebSocket) -> None:
    for number in range(QUEUED):
        ws.send(bytes([number]) * MIB, wait=False)
    register.noted[key_of(ws)] = "queued" if ws.backlog else "sent"
    ws.receive()
    ws.send("all sent")


def receive_until_closed(ws: syncws.WebSocket) -> None:
    ws.send("ready")
    ws.receive()


def time_out(ws: syncws.WebSocket) -> None:
    """Have two receives time out, then go on."""
    for _ in range(2):
        try:
            ws.receive(timeout=0.05)
        except TimeoutError:
            ws.send("nothing came")
    echo(ws)


def close_first(ws: syncws.WebSocket) -> None:
    ws.send("last")
    ws.close(4321, "done")


def return_at_once(ws: syncws.WebSocket) -> None:
    pass


def fail(ws: syncws.WebSocket) -> None:
    ws.receive()
    raise RuntimeError(FAILURE)


HANDLERS: dict[str, tuple[Handler, dict[str, Any]]] = {
    "/echo": (echo, {"max_message_size": 16 * 2**20}),
    "/limited": (echo, {"compression": True}),
    "/conformance": (echo_to_the_end, {"compression": True, "max_message_size": 16 * 2**20}),
    "/tell": (
        tell,
        {
            "subprotocols": ["chat.v2", "chat.v1"],
            "headers": [("X-Room", "lobby"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")],
        },
    ),
    "/many": (send_from_many, {}),
    "/duplex": (send_receive_and_ping, {}),
    "/elsewhere": (be_elsewhere, {}),
    "/silence": (wait_for_nobody, {"ping_interval": 0.3, "ping_timeout": 0.6}),
    "/queue": (send_without_waiting, {"max_backlog": 32 * MIB}),
    "/closed": (receive_until_closed, {}),
    "/timeout": (time_out, {}),
    "/close": (close_first, {}),
    "/return": (return_at_once, {}),
    "/fail": (fail, {}),
}


def run(handler: Handler, ws: syncws.WebSocket) -> None:
    with register.running(ws):
        handler(ws)
