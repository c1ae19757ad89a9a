"""The client's side of the opening handshake in a test, for :mod:`syncws.testing`: it shows all of the server's answer.

Nothing here starts a thread. What is asked for is a :class:`Request`, made from a URL or, for Werkzeug's test client,
which knows cookies and defaults, from the environ that the client has made of it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httptools

from .errors import HandshakeError
from .http import read_response_head, request_bytes
from .options import Options
from .protocol.handshake import Agreement, RequestHead, ResponseHead, check_response, new_key, request_fields
from .protocol.headers import Headers
from .transport import Transport
from .uri import WebSocketURI, basic_credentials, parse_uri

__all__ = ["Answer", "Opening", "Request", "request_for", "through_client"]

_BASE = parse_uri("ws://localhost/")
# What of a test client's environ the request itself says, besides its header fields.
_OF_THE_REQUEST = frozenset(
    {"PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "REQUEST_URI", "RAW_URI", "SERVER_PROTOCOL"}
)


class Request(NamedTuple):
    """What a client is to ask for.

    :param uri: with the host and the target of the request.
    :param fields: its header fields, besides those of the handshake.
    :param environ: what the app's environ is to have besides what the request says.
    """

    uri: WebSocketURI
    fields: list[tuple[str, str]]
    environ: dict[str, Any]


class Answer(NamedTuple):
    """How the server answered: with an agreement, or else with an error that has the whole body."""

    head: ResponseHead
    agreement: Agreement | None
    error: HandshakeError | None
    leftover: bytes


def request_for(url: str, fields: Iterable[tuple[str, str]]) -> Request:
    """Return the request for a path, or for a whole URL of another host than localhost.

    :raises TypeError: the URL is no str.
    :raises ValueError: it is none.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str such as '/chat', not {url!r}")
    uri = _BASE.resolve(url)
    credentials = [("Authorization", basic_credentials(uri.userinfo))] if uri.userinfo else []
    environ = {"wsgi.url_scheme": "https", "HTTPS": "on"} if uri.secure else {}
    return Request(uri, [*credentials, *fields], environ)


def through_client(
    client: Any, url: str, fields: Iterable[tuple[str, str]], handle: Callable[[Request], Answer]
) -> None:
    """Have a Werkzeug test client make the request, and let it learn from the answer: cookies, for example.

    :param handle: called with the request; what it raises goes on.
    """

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        answer = handle(_request_of(environ))
        start_response(f"{answer.head.status} {answer.head.reason or 'Unknown'}", answer.head.headers.pairs())
        return [answer.error.body if answer.error is not None else b""]

    def run(environ: dict[str, Any], *args: Any, **options: Any) -> Any:
        runner = copy.copy(client)
        runner.application = app
        return runner.run_wsgi_app(environ, *args, **options)

    # A copy has the same cookies; the original may be in use by other threads.
    asking = copy.copy(client)
    asking.run_wsgi_app = run
    uri, fields, _ = request_for(url, fields)
    scheme = "https" if uri.secure else "http"
    base = {"base_url": f"{scheme}://{uri.host_field}/"} if "://" in url else {}
    asking.open(uri.target, headers=fields, **base)


def _request_of(environ: Mapping[str, Any]) -> Request:
    """Return the request that an environ describes."""
    path = quote(environ["PATH_INFO"].encode("latin-1"), safe="/:@!$&'()*+,;=~")
    query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    uri = parse_uri(f"ws://{environ['HTTP_HOST']}{path}{query}")
    fields = [
        (key[5:].replace("_", "-").title(), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") and key != "HTTP_HOST"
    ]
    others = {
        key: value
        for key, value in environ.items()
        if key.isupper() and not key.startswith(("HTTP_", "CONTENT_")) and key not in _OF_THE_REQUEST
    }
    return Request(uri, fields, {**others, "wsgi.url_scheme": environ["wsgi.url_scheme"]})


class Opening:
    """One opening handshake; :meth:`send`, then :meth:`receive`.

    :param options: with the header fields, which are checked there.
    :param deadline: when the answer must be there.
    """

    def __init__(self, transport: Transport, uri: WebSocketURI, options: Options, deadline: float | None) -> None:
        self._transport = transport
        self._options = options
        self._deadline = deadline
        self._key = new_key()
        given = {name.lower() for name, _ in options.fields}
        fields = request_fields(
            uri.host_field,
            self._key,
            subprotocols=options.subprotocols,
            compression=options.deflate,
            headers=[*([] if "user-agent" in given else [("User-Agent", "syncws")]), *options.fields],
        )
        self._uri = uri
        self._received = bytearray()
        self.request = RequestHead("GET", uri.target, "1.1", Headers(fields))

    def send(self) -> None:
        """Send the request."""
        self._transport.send_all(
            request_bytes("GET", self.request.target, self.request.headers.pairs()), self._deadline
        )

    def receive(self) -> Answer:
        """Read the answer.

        :raises HandshakeError: there is none (status 0).
        :raises TimeoutError: it did not come in time.
        """
        head, leftover = read_response_head(self._recv)
        try:
            agreement = check_response(
                head, self._key, subprotocols=self._options.subprotocols, compression=self._options.deflate
            )
        except HandshakeError as error:
            return Answer(head, None, self._refusal(head, str(error)), b"")
        return Answer(head, agreement, None, leftover)

    def _recv(self) -> bytes:
        data = self._transport.recv(self._deadline)
        self._received += data
        return data

    def _refusal(self, head: ResponseHead, message: str) -> HandshakeError:
        """Read the rest of a response that is no 101, and return an error that shows all of it."""
        # The server sees that there will be no other request, and ends its direction behind the response.
        self._transport.shutdown_write()
        with contextlib.suppress(OSError):  # an endless response: what has arrived has to do
            while self._recv():
                pass
        body = _Body()
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            httptools.HttpResponseParser(body).feed_data(bytes(self._received))
        lines = [
            f"{self._uri.target}: {message}",
            "",
            f"{head.status} {head.reason}",
            *(f"{name}: {value}" for name, value in head.headers.pairs()),
            "",
            body.data.decode("utf-8", "replace"),
        ]
        return HandshakeError(
            "\n".join(lines).rstrip(), status=head.status, headers=head.headers.pairs(), body=bytes(body.data)
        )


class _Body:
    """httptools' callbacks while the body of a refusal is read."""

    def __init__(self) -> None:
        self.data = bytearray()

    def on_body(self, piece: bytes) -> None:
        self.data += piece
