"""The exception tree: what each one carries, and what it says to a person."""

from __future__ import annotations

import errno
import pickle
from typing import Any

import pytest

import syncws.errors
from syncws.errors import (
    BacklogFull,
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    MessageTooBig,
    ProtocolError,
    SyncwsError,
)


@pytest.mark.parametrize("name", syncws.errors.__all__)
def test_one_base_class_catches_all(name: str) -> None:
    assert issubclass(getattr(syncws.errors, name), SyncwsError)


def test_a_message_that_is_too_big_is_a_protocol_error() -> None:
    assert issubclass(MessageTooBig, ProtocolError)
    assert not issubclass(ConcurrencyError, ProtocolError)


def test_a_handshake_error_carries_the_response() -> None:
    error = HandshakeError("go away", status=403, headers=iter([("A", "1"), ("A", "2")]), body=b"no")
    assert str(error) == "go away"
    assert error.status == 403
    assert error.headers == [("A", "1"), ("A", "2")]
    assert error.body == b"no"


def test_a_handshake_error_is_a_bad_request_by_default() -> None:
    error = HandshakeError("malformed")
    assert (error.status, error.headers, error.body) == (400, [], b"")


def answered(error: HandshakeError, *, strict: bool = False) -> tuple[str, dict[str, str], bytes]:
    """What the error makes of a request to a WSGI app; ``strict``: the server minds fields about the connection."""
    responses = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        # PEP 3333: a second call is an error unless it says of which exception it is.
        assert not responses or exc_info
        responses.append((status, dict(headers)))
        assert not (strict and "Upgrade" in responses[-1][1])

    body = b"".join(error.respond(start_response))
    return *responses[-1], body


def test_a_handshake_error_answers_a_request() -> None:
    text = {"Content-Length": "9", "Content-Type": "text/plain; charset=utf-8"}
    assert answered(HandshakeError("no héll")) == ("400 Bad Request", text, "no héll\n".encode())
    page = HandshakeError("secret", status=403, headers=[("Content-Type", "text/html")], body=b"<p>no")
    assert answered(page) == ("403 Forbidden", {"Content-Type": "text/html", "Content-Length": "5"}, b"<p>no")
    # A client's error may have any status; and that of a client that has gone has none.
    assert answered(HandshakeError("", status=599))[0] == "599 "
    assert answered(HandshakeError("", status=0))[0] == "400 Bad Request"


def test_a_handshake_error_answers_on_a_server_that_keeps_the_connection_to_itself() -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
    error = HandshakeError("", status=426, headers=headers)
    assert dict(headers).items() <= answered(error)[1].items()
    status, fields, _ = answered(error, strict=True)
    assert (status, fields["Sec-WebSocket-Version"]) == ("426 Upgrade Required", "13")
    assert not {"Upgrade", "Connection"} & set(fields)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionClosed(1000), "closed by the peer with 1000"),
        (ConnectionClosed(1001, "moving", "remote"), "closed by the peer with 1001: moving"),
        (ConnectionClosed(4000, "", "local"), "closed by this side with 4000"),
        (ConnectionClosed(1002, "bad opcode", "local"), "closed by this side with 1002: bad opcode"),
        (ConnectionClosed(1006), "connection lost (1006): the peer sent no close frame"),
        (ConnectionClosed(1006, "reset by peer"), "connection lost (1006): reset by peer"),
    ],
)
def test_connection_closed_says_who_and_why(error: ConnectionClosed, text: str) -> None:
    assert str(error) == text


def test_connection_closed_carries_its_parts() -> None:
    error = ConnectionClosed(4000, "bye", "local")
    assert (error.code, error.reason, error.initiator) == (4000, "bye", "local")
    assert repr(error) == "ConnectionClosed(4000, 'bye', 'local')"


def test_a_protocol_error_carries_the_close_code() -> None:
    error = ProtocolError("text is not UTF-8", 1007)
    assert (str(error), error.message, error.close_code) == ("text is not UTF-8", "text is not UTF-8", 1007)
    assert ProtocolError("reserved opcode 3").close_code == 1002


def test_a_message_that_is_too_big_says_by_how_much() -> None:
    error = MessageTooBig(1025, 1024)
    assert str(error) == "message of at least 1025 bytes is over max_message_size, 1024 bytes"
    assert (error.size, error.limit, error.close_code) == (1025, 1024, 1009)
    assert str(MessageTooBig(2, 1, "message after inflation")).startswith("message after inflation of at least 2")


def test_a_backlog_that_is_full_says_what_is_in_it() -> None:
    error = BacklogFull(10, 1000, 3, 1005)
    assert str(error) == (
        "no room for a message of 10 bytes: the peer has not read the 1000 bytes in front of it "
        "(3 messages and what has been begun), and max_backlog is 1005 bytes"
    )
    assert (error.size, error.queued, error.messages, error.limit) == (10, 1000, 3, 1005)
    assert str(BacklogFull(10, 0, 0, 9)) == (
        "a message of 10 bytes can never wait in a backlog of 9 bytes; raise max_backlog, or send it without wait=False"
    )


@pytest.mark.parametrize(
    "error",
    [
        HandshakeError("no", status=403, headers=[("A", "1")], body=b"b"),
        ConnectionClosed(4000, "bye", "local"),
        ProtocolError("bad", 1007),
        MessageTooBig(2, 1, "frame"),
        ConcurrencyError("two receivers"),
        BacklogFull(10, 1000, 3, 1005),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_survives_the_way_to_another_process(error: SyncwsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_connection_closed_is_what_a_wsgi_server_takes_for_a_client_that_has_gone() -> None:
    error = ConnectionClosed(1001, "moving")
    assert isinstance(error, ConnectionResetError)
    assert error.errno == error.args[0] == errno.ECONNRESET


@pytest.mark.parametrize("code", [1000, 1006])
def test_a_reason_of_the_peer_cannot_forge_a_line(code: int) -> None:
    closed = ConnectionClosed(code, "bye\nCRITICAL forged\x1b[2J")
    assert str(closed).endswith(": bye\\nCRITICAL forged\\x1b[2J")
    assert closed.reason == "bye\nCRITICAL forged\x1b[2J"


@pytest.mark.parametrize("field", [("Location", "/a\r\nSet-Cookie: b"), ("X\nY", "a"), ("X", "a\0"), ("X", "世")])
def test_header_fields_of_an_answer_cannot_be_forged(field: tuple[str, str]) -> None:
    error = HandshakeError("elsewhere", status=302, headers=[field])
    with pytest.raises(ValueError, match="cannot be sent"):
        error.respond(lambda *_: None)
