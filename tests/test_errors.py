"""The exception tree: what each one carries, and what it says to a person."""

from __future__ import annotations

import pickle

import pytest

import syncws.errors
from syncws.errors import (
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


def test_a_protocol_error_carries_the_close_code() -> None:
    error = ProtocolError("text is not UTF-8", 1007)
    assert (str(error), error.message, error.close_code) == ("text is not UTF-8", "text is not UTF-8", 1007)
    assert ProtocolError("reserved opcode 3").close_code == 1002


def test_a_message_that_is_too_big_says_by_how_much() -> None:
    error = MessageTooBig(1025, 1024)
    assert str(error) == "message of at least 1025 bytes is over max_message_size, 1024 bytes"
    assert (error.size, error.limit, error.close_code) == (1025, 1024, 1009)
    assert str(MessageTooBig(2, 1, "message after inflation")).startswith("message after inflation of at least 2")


@pytest.mark.parametrize(
    "error",
    [
        HandshakeError("no", status=403, headers=[("A", "1")], body=b"b"),
        ConnectionClosed(4000, "bye", "local"),
        ProtocolError("bad", 1007),
        MessageTooBig(2, 1, "frame"),
        ConcurrencyError("two receivers"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_survives_the_way_to_another_process(error: SyncwsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
