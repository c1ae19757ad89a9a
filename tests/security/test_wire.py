"""Nothing of an exception goes over the wire, wherever it is raised: no text, no type, no name of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from raw_client import CLOSE, TEXT, WS_FIELDS, RawClient, frame, request
from security.servers import SERVERS, serving

import syncws

SECRET = "password of the database"
GOODBYE = frame(CLOSE, b"\x03\xe8")


class SecretError(Exception):
    """What must stay in the log."""


def fail(*_: object) -> Any:
    raise SecretError(SECRET)


def fail_later() -> Iterator[bytes]:
    yield b"begin"
    fail()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/app":
        fail()
    if path == "/body":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return fail_later()
    if path == "/fields":
        syncws.upgrade(environ, more_fields=fail)
    if path == "/forged-fields":
        syncws.upgrade(environ, more_fields=lambda: [("X", f"a\r\nSet-Cookie: {SECRET}")])
    if path == "/options":
        syncws.upgrade(environ, secret_option=SECRET)
    if path == "/handler":
        syncws.upgrade(environ).receive()
        fail()
    if path == "/handed-over":
        syncws.hand_over(environ, fail)
    if path == "/callback":
        syncws.upgrade(environ).on_close(fail)
    start_response("200 OK", [("Content-Length", "0")])
    return []


@pytest.fixture(scope="module", params=SERVERS)
def address(request: pytest.FixtureRequest) -> Iterator[Any]:
    with serving(request.param, app, tracebacks=True) as where:
        yield where


def everything(client: RawClient) -> bytes:
    answer = client.read_to_end()
    for word in (SECRET, "SecretError", "Traceback", 'File "', ".py", "Set-Cookie", "ValueError", "TypeError"):
        assert word.encode() not in answer, answer
    return answer


@pytest.mark.parametrize("path", ["/app", "/fields", "/forged-fields", "/options"])
def test_before_the_answer_it_is_500_and_no_more(address: Any, path: str) -> None:
    with RawClient(address) as client:
        client.send(request(*WS_FIELDS, line=f"GET {path} HTTP/1.1"))
        answer = everything(client)
        assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert answer.endswith(b"\r\n\r\ninternal server error\n")


def test_within_the_answer_the_connection_ends(address: Any) -> None:
    with RawClient(address) as client:
        client.send(request(*WS_FIELDS, line="GET /body HTTP/1.1"))
        assert everything(client).endswith(b"\r\n\r\n5\r\nbegin\r\n")


@pytest.mark.parametrize("path", ["/handler", "/handed-over"])
def test_of_a_handler_it_is_1011_and_no_more(address: Any, path: str) -> None:
    with RawClient(address) as client:
        client.send(request(*WS_FIELDS, line=f"GET {path} HTTP/1.1") + frame(TEXT, b"go") + GOODBYE)
        assert everything(client).endswith(b"\r\n\r\n\x88\x10\x03\xf3internal error")


def test_of_a_callback_there_is_nothing(address: Any) -> None:
    with RawClient(address) as client:
        client.send(request(*WS_FIELDS, line="GET /callback HTTP/1.1") + GOODBYE)
        assert everything(client).endswith(b"\r\n\r\n\x88\x02\x03\xe8")
