"""Clients for a host that runs, all by hand: for messages, for frames, and for plain HTTP on the same connection.

Not one of the libraries that have a thread to read: Python's TLS connections break when two threads use one of them.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from typing import NamedTuple

from hosts.runners import Served
from raw_client import BINARY, TEXT, WS_FIELDS, RawClient, frame, request

__all__ = ["Answer", "Conversation", "ask", "connect", "opened"]


class Conversation:
    """A WebSocket, as a program wants it.

    :ivar client: what writes and reads its frames.
    :ivar headers: of the 101.
    """

    def __init__(self, client: RawClient, path: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> None:
        fields = [f"{name}: {value}" for name, value in headers.items()]
        if subprotocols:
            fields.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
        client.send(request(*WS_FIELDS, *fields, line=f"GET {path} HTTP/1.1"))
        response = client.read_response()
        assert response.status == 101, response
        self.client = client
        self.headers = response.headers

    @property
    def subprotocol(self) -> str | None:
        return self.headers["Sec-WebSocket-Protocol"]

    def send(self, message: str | bytes) -> None:
        text = isinstance(message, str)
        self.client.send(frame(TEXT, message.encode()) if text else frame(BINARY, message))

    def receive(self) -> str | bytes:
        received = self.client.read_frame()
        assert received is not None, "the connection has ended"
        assert received.opcode in (TEXT, BINARY), received
        return received.payload.decode() if received.opcode == TEXT else received.payload


@contextlib.contextmanager
def connect(
    served: Served, path: str, *, headers: Mapping[str, str] | None = None, subprotocols: Sequence[str] = ()
) -> Iterator[Conversation]:
    """A WebSocket for messages; closed at the end with 1000."""
    with served.connect() as client:
        conversation = Conversation(client, path, headers or {}, subprotocols)
        yield conversation
        client.close_normally()


@contextlib.contextmanager
def opened(served: Served, path: str, *fields: str, glued: bytes = b"") -> Iterator[RawClient]:
    """A WebSocket for frames."""
    with served.connect() as client:
        yield client.open(*fields, target=path, glued=glued)


class Answer(NamedTuple):
    """The response to a plain request, of whatever version; ``stays``: another request may follow it."""

    status: int
    headers: Message
    body: bytes
    stays: bool

    @classmethod
    def to(cls, client: RawClient) -> Answer:
        """Read the response to the request that a client has sent."""
        response = http.client.HTTPResponse(client.sock)
        response.begin()
        return cls(response.status, response.headers, response.read(), not response.will_close)


def ask(client: RawClient, line: str, *fields: str, body: bytes = b"") -> Answer:
    """Send a plain request and read the response."""
    client.send(request("Host: localhost", *fields, line=line) + body)
    return Answer.to(client)
