"""What the tests of the wire view share: chunks written in hex, and a recorded session."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands import start
from wire import wait_until

from syncws.protocol.deflate import Parameters
from syncws.trace import Annotator, Chunk, Frame, Item, Problem, annotated

__all__ = [
    "DEFLATE",
    "KEY",
    "REQUEST",
    "RESPONSE",
    "SESSION",
    "chunk",
    "frames",
    "problem",
    "the_frame",
    "tracing",
    "view",
]

# A recorded session, and what it looks like as text and as JSON lines.
SESSION = Path(__file__).resolve().parent / "trace"
DEFLATE = Parameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)
# RFC 6455, 1.3: its example of a handshake.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nOrigin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
).encode()
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


def chunk(sender: Any, data: bytes | str, *, connection: int = 1, time: float = 0.0, rebuilt: bool = False) -> Chunk:
    """A chunk; its data may be written in hex."""
    return Chunk(connection, time, sender, bytes.fromhex(data) if isinstance(data, str) else data, rebuilt)


def view(*chunks: Chunk, **options: Any) -> list[Item]:
    """All items of a recording."""
    return list(annotated(chunks, Annotator(**options)))


def frames(sender: Any, data: str | bytes, *, deflate: Parameters | None = None) -> list[Item]:
    """All items of frames on an open connection."""
    return view(chunk(sender, data), opened=True, deflate=deflate)


def problem(items: list[Item]) -> Problem:
    """The only problem."""
    found = [item for item in items if isinstance(item, Problem)]
    assert len(found) == 1, found
    return found[0]


def the_frame(items: list[Item]) -> Frame:
    """The only frame."""
    found = [item for item in items if isinstance(item, Frame)]
    assert len(found) == 1, found
    return found[0]


@contextlib.contextmanager
def tracing(target: str, output: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, with its output in a file; and where it listens."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    with open(output, "w") as out, open(output.with_suffix(".err"), "w") as err:
        with start("trace", *listen, *arguments, target, stdin=subprocess.DEVNULL, stdout=out, stderr=err) as process:
            try:
                both = (output, output.with_suffix(".err"))
                wait_until(lambda: any("listening on " in each.read_text() for each in both))
                text = next(each.read_text() for each in both if "listening on " in each.read_text())
                yield process, text.partition("listening on ")[2].split()[0]
            finally:
                process.kill()
