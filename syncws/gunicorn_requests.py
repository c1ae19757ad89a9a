"""What Gunicorn's settings and hooks mean for the requests of a worker of :mod:`syncws.gunicorn`.

:class:`Requests` is one for each worker and used by all of its connections, from any thread. A request that the
settings do not allow is answered here with 400, 404 or 431; the app does not see it.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .protocol.handshake import RequestHead
from .runtime import Runtime
from .wsgi import WSGIConnection
from .wsgi_exchange import Exchange

__all__ = ["Connection", "Request", "Requests"]

# For the log only, and some logs want a number: what nginx calls a client that has gone before there was an answer.
_NO_ANSWER = "499 Client Closed Request"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connection(WSGIConnection):
    """A connection whose requests :class:`Requests` deals with."""

    def __init__(self, requests: Requests, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._requests = requests

    def _answer(self, exchange: Exchange) -> bool:
        return self._requests.answer(exchange, self.remote_address)


@dataclass
class Request:
    """A request as Gunicorn's hooks and its access log want to see one."""

    method: str
    uri: str
    path: str
    query: str
    version: tuple[int, ...]
    headers: list[tuple[str, str]]
    remote_addr: Any
    scheme: str

    @classmethod
    def of(cls, head: RequestHead, remote_address: Any, scheme: str) -> Request:
        """Return what a head says."""
        version = tuple(int(number) for number in head.version.split("."))
        headers = [(name.upper(), value) for name, value in head.headers.pairs()]
        query = head.target.partition("?")[2]
        return cls(head.method, head.target, head.path, query, version, headers, remote_address, scheme)


@dataclass
class _Response:
    """A response as Gunicorn's hooks and its access log want to see one."""

    status: str
    headers: list[tuple[str, str]]
    sent: int | None

    @property
    def status_code(self) -> int:
        return int(self.status[:3])


class _NotAllowed(Exception):
    """The request is not one for the app.

    :ivar status: of the answer.
    """

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Requests:
    """The requests of a worker.

    :param worker: the worker; its ``end()`` is called when there have been ``max_requests``.
    :param runtime: of its connections.
    :param errors: makes what an app has as ``wsgi.errors``; for each request, as the log file may be another by then.
    """

    def __init__(self, worker: Any, runtime: Runtime, errors: Callable[[], Any]) -> None:
        self._worker = worker
        self._cfg = worker.cfg
        self._errors = errors
        self._lock = runtime.lock()
        self._everybody_trusted = "*" in self._cfg.forwarded_allow_ips
        self._trusted: list[_Network] = [
            ipaddress.ip_network(allowed, strict=False) for allowed in self._cfg.forwarded_allow_ips if allowed != "*"
        ]

    def answer(self, exchange: Exchange, remote_address: Any) -> bool:
        """Let the app answer a request, with the hooks around it; return whether the connection can serve another."""
        environ: dict[str, Any] = {}
        request = Request.of(exchange.head, remote_address, "http")

        def app(given: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            nonlocal environ
            environ = given
            try:
                self._prepare(environ, request)
            except _NotAllowed as refusal:
                start_response(refusal.status, [("Content-Type", "text/plain; charset=utf-8")])
                return [f"{refusal}\n".encode()]
            result: Iterable[bytes] = self._worker.wsgi(environ, start_response)
            return result

        began = time.monotonic()
        kept = exchange.run(app)
        status, headers, sent = exchange.outcome
        response = _Response(status or _NO_ANSWER, headers, sent)
        log = self._worker.log
        try:
            log.access(response, request, environ, timedelta(seconds=time.monotonic() - began))
        except Exception:
            log.exception("Exception in the access log")
        try:
            self._cfg.post_request(self._worker, request, environ, response)
        except Exception:
            log.exception("Exception in post_request hook")
        return kept

    def _prepare(self, environ: dict[str, Any], request: Request) -> None:
        """Count a request, and make its environ what the settings say.

        :raises _NotAllowed: it is not for the app.
        """
        environ["RAW_URI"] = request.uri
        environ["wsgi.errors"] = self._errors()
        environ["wsgi.multiprocess"] = self._cfg.workers > 1
        self._count()
        self._cfg.pre_request(self._worker, request)
        limit = self._cfg.limit_request_field_size
        for name, value in request.headers:
            if limit and len(name) + len(value) > limit:
                raise _NotAllowed("431 Request Header Fields Too Large", f"a field has more than {limit} bytes")
        trusted = self._is_trusted(request.remote_addr)
        self._set_scheme(environ, request, trusted)
        self._set_script_name(environ, request, trusted)

    def _count(self) -> None:
        worker = self._worker
        with self._lock:
            worker.nr += 1
            enough = worker.nr == worker.max_requests
        if enough:
            worker.log.info("Autorestarting worker after current request.")
            worker.end()

    def _is_trusted(self, remote_address: Any) -> bool:
        """Whether the client may say what a proxy says; over a Unix socket it always may."""
        if self._everybody_trusted or not isinstance(remote_address, tuple):
            return True
        address = ipaddress.ip_address(remote_address[0].partition("%")[0])
        return any(address in network for network in self._trusted)

    def _set_scheme(self, environ: dict[str, Any], request: Request, trusted: bool) -> None:
        request.scheme = environ["wsgi.url_scheme"]
        secure = self._cfg.secure_scheme_headers if trusted else {}
        schemes = {"https" if value == secure[name] else "http" for name, value in request.headers if name in secure}
        if len(schemes) > 1:
            raise _NotAllowed("400 Bad Request", "the header fields that tell of TLS contradict each other")
        for scheme in schemes:
            request.scheme = environ["wsgi.url_scheme"] = scheme
            environ.pop("HTTPS", None)
            if scheme == "https":
                environ["HTTPS"] = "on"

    def _set_script_name(self, environ: dict[str, Any], request: Request, trusted: bool) -> None:
        prefix = os.environ.get("SCRIPT_NAME", "")
        # A name with an underscore does not get into the environ in any other way; proxies have this one.
        if trusted and "SCRIPT_NAME" in self._cfg.forwarder_headers:
            prefix = dict(request.headers).get("SCRIPT_NAME", prefix)
        path = environ["PATH_INFO"]
        if not prefix:
            return
        if path != prefix and not path.startswith(f"{prefix}/"):
            raise _NotAllowed("404 Not Found", "the path does not begin with SCRIPT_NAME")
        environ["SCRIPT_NAME"] = prefix
        environ["PATH_INFO"] = path[len(prefix) :]
