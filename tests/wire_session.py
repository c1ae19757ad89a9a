"""Makes what docs/tutorial/byte-by-byte.rst shows: a recording of a real session, and the wire view of it.

Run, in the root directory:

    PYTHONPATH=tests python tests/wire_session.py --record      has the session again, and records it
    PYTHONPATH=tests python tests/wire_session.py               makes the views of the recording

Client and server are those of this package, over a real socket. Only chance is left out: the key is the example of
RFC 6455, and the masking keys are a series that begins with that of its example.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import syncws
from syncws import trace

__all__ = ["DIRECTORY", "NAMES", "all_views", "recorded", "session", "views"]

DIRECTORY = Path(__file__).resolve().parent.parent / "docs" / "tutorial" / "session"
RECORDING = DIRECTORY / "recording.jsonl"
PORT = 8765

# RFC 6455, 1.3 and 5.7: the examples there.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIRST_MASKING_KEY = 0x37FA213D

# What is in the recording, in order: each has a file of its own.
NAMES = [
    "request", "response", "text-from-client", "text-from-server", "longer-from-client", "longer-from-server",
    "first-fragment", "ping", "pong", "second-fragment", "last-fragment", "whole-from-server",
    "close-from-client", "close-from-server", "end-of-server", "end-of-client",
]  # fmt: skip


def session(port: int = 0) -> list[trace.Chunk]:
    """Have the session of the tutorial; return what the client has recorded.

    :param port: 0: a free one.
    """

    def answers(ws: syncws.WebSocket) -> None:
        for message in ws:
            ws.send(message)

    recorder = trace.Recorder()
    keys = iter(range(FIRST_MASKING_KEY, FIRST_MASKING_KEY + 100))
    client = threading.get_ident()

    def masking_key(size: int) -> bytes:
        # Not for the keeper, which may have a ping to send on a connection that somebody has forgotten.
        return next(keys).to_bytes(size, "big") if threading.get_ident() == client else os.urandom(size)

    server = syncws.WebSocketServer(("localhost", port), answers, subprotocols=["lesson"], ping_interval=None)
    thread = threading.Thread(target=server.serve_forever)
    with server:
        thread.start()
        try:
            with (
                mock.patch("syncws.client.new_key", lambda: KEY),
                mock.patch("syncws.hot_writer.urandom", masking_key),
                mock.patch("syncws.writer.urandom", masking_key),
            ):
                converse(f"ws://localhost:{server.server_address[1]}/answers?of=42", recorder)
        finally:
            server.shutdown()
            thread.join()
    return recorder.chunks


def converse(uri: str, recorder: trace.Recorder) -> None:
    """Be the client."""
    with syncws.connect(uri, subprotocols=["lesson"], trace=recorder, proxy=None, ping_interval=None) as ws:
        ws.send("Hello")
        ws.receive(timeout=30)
        ws.send(bytes(range(126)))
        ws.receive(timeout=30)

        def pieces() -> Iterator[str]:
            yield "Hel"
            ws.ping(b"there?", timeout=30)
            yield "lo"

        ws.send_fragments(pieces())
        ws.receive(timeout=30)
        ws.close(1000, "bye")


def recorded() -> list[trace.Chunk]:
    """Return the recording that is checked in."""
    with open(RECORDING) as file:
        return list(trace.read_recording(file))


def broken() -> list[trace.Chunk]:
    """Return the opening handshake of the recording, and behind it a frame that its client must not send."""
    request, response, *_ = recorded()
    return [request, response, trace.Chunk(1, response.time + 0.001, "client", bytes.fromhex("810548656c6c6f"))]


def views(chunks: list[trace.Chunk]) -> dict[str, str]:
    """Return the wire view of a session, by the names of its parts."""
    items = list(trace.annotated(chunks))
    assert len(items) == len(NAMES), trace.render_text(items)
    return {name: trace.render_text([item]).strip("\n") + "\n" for name, item in zip(NAMES, items, strict=True)}


def all_views() -> dict[str, str]:
    """Return the content of each file that the tutorial includes."""
    problem = list(trace.annotated(broken()))[2:]
    return {**views(recorded()), "problem": trace.render_text(problem).strip("\n") + "\n"}


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        with open(RECORDING, "w") as file:
            trace.write_recording(file, session(PORT))
    for name, text in all_views().items():
        (DIRECTORY / f"{name}.txt").write_text(text)
