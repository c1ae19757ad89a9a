"""The app that every host serves: the same handlers in a plain WSGI app, in one of Flask and in one of Bottle.

``app`` is the Flask app, as ``flask run`` wants it. Its WSGI side gives Flask the requests for paths below ``/flask``,
Bottle those below ``/bottle``, and all others to the plain app, which also answers the questions of the tests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import syncws

from . import bottle_site
from .flask_site import site as app
from .handlers import HANDLERS, register, run

__all__ = ["app"]

REFUSALS = {"/401": "401 Unauthorized", "/403": "403 Forbidden", "/404": "404 Not Found"}

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path in HANDLERS:
        handler, options = HANDLERS[path]
        try:
            ws = syncws.upgrade(environ, **options)
        except syncws.HandshakeError as error:
            return error.respond(start_response)
        run(handler, ws)
        # What nobody may see any more (RFC 6455, 5.5.1).
        return page(start_response, "200 OK", "behind the close frame")
    if path in REFUSALS:
        # RFC 9110, 15.5.2: a 401 says how to authenticate.
        return page(start_response, REFUSALS[path], "not for you", [("WWW-Authenticate", "Basic"), ("X-App", "plain")])
    if path == "/body":
        return page(start_response, "200 OK", environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
    return page(start_response, "200 OK", asked(path, parse_qs(environ["QUERY_STRING"])))


def asked(path: str, query: dict[str, list[str]]) -> str:
    """The answer to a question of the tests."""
    key = query.get("key", [""])[0]
    if path == "/ended":
        return register.ended.get(key, "")
    if path == "/noted":
        return register.noted.get(key, "")
    if path == "/running":
        return str(len(register.open))
    if path == "/close-other":
        register.open[key].close(4000, "by another request")
        return "closed"
    return "hello"


def page(
    start_response: Callable[..., Any], status: str, text: str, fields: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *fields])
    return [body]


def dispatcher(**apps: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI app that calls another one for paths that begin with its name, and the plain app for all others."""

    def dispatch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        first = environ["PATH_INFO"].split("/")[1]
        return apps.get(first, plain)(environ, start_response)

    return dispatch


app.wsgi_app = dispatcher(flask=app.wsgi_app, bottle=bottle_site.site)  # type: ignore[method-assign]
