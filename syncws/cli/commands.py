"""The commands: each is a function from the parsed arguments to the exit status.

A command raises :class:`Failure` with the line to show and the exit status, whatever went wrong. It is called in the
main thread, where Python handles signals: SIGINT and SIGTERM end it, a second one ends the process at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import operator
import os
import signal
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

from .. import console
from ..client import connect
from ..demo import DemoApp
from ..errors import HandshakeError
from ..logs import get_logger
from ..protocol.headers import Headers
from ..server import WebSocketServer
from ..server_wsgi import WSGIServer
from ..tls import server_context
from ..uri import parse_uri
from ..websocket import WebSocket
from ..wsgi import WSGIApp

__all__ = ["COMMANDS", "Failure", "client_context", "stop_signals"]

_log = get_logger("syncws.cli")

_BUDGET = ("max_connections", "max_connections_per_address", "max_handshakes")


class Failure(Exception):
    """A command cannot do its work: ``str()`` is the line to show, ``status`` the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _RunBy(NamedTuple):
    """What a server is run by: threads or greenlets."""

    websocket_server: type[WebSocketServer]
    wsgi_server: type[WSGIServer]
    make_queue: Callable[[], Any]  # a queue.SimpleQueue, or what can do the same
    spawn: Callable[[Callable[[], None]], Any]  # runs a function; returns something with join()


def _start_thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, name="syncws-accept")
    thread.start()
    return thread


_THREADS = _RunBy(WebSocketServer, WSGIServer, SimpleQueue, _start_thread)


def _greenlets(*, patch: bool) -> _RunBy:
    """Return what servers are run by with --gevent.

    :param patch: have the standard library wait for greenlets, so that code that knows nothing of them does.
    """
    try:
        import gevent
        import gevent.monkey
        import gevent.queue
    except ImportError as error:
        raise Failure(f"--gevent needs the package gevent: pip install 'syncws[gevent]' ({error})", 1) from error
    if patch:
        gevent.monkey.patch_all()
    from .. import gevent as servers

    return _RunBy(servers.WebSocketServer, servers.WSGIServer, gevent.queue.SimpleQueue, gevent.spawn)


def _demo(arguments: argparse.Namespace) -> int:
    return _run_server(_THREADS, WSGIServer, (arguments.host, arguments.port), DemoApp(), "http")


def _serve(arguments: argparse.Namespace) -> int:
    # Before the app is imported: it may do input and output in any way, and one that is not patched stops everything.
    run_by = _greenlets(patch=True) if arguments.gevent else _THREADS
    app = _import_app(arguments.app)
    context = _server_context(arguments)
    scheme = "https" if context else "http"
    budget = {name: getattr(arguments, name) for name in _BUDGET}
    budget["trusted_proxies"] = arguments.trusted_proxy
    options = {**budget, **_rates(arguments)}
    return _run_server(run_by, run_by.wsgi_server, arguments.bind, app, scheme, ssl=context, **options)


def _echo(arguments: argparse.Namespace) -> int:
    run_by = _greenlets(patch=False) if arguments.gevent else _THREADS
    context = _server_context(arguments)
    options = {**_message_options(arguments), **_rates(arguments)}
    if arguments.origin is not None:
        options["origins"] = None if "*" in arguments.origin else arguments.origin
    address = (arguments.host, arguments.port)
    scheme = "wss" if context else "ws"
    return _run_server(run_by, run_by.websocket_server, address, _send_back, scheme, ssl=context, **options)


def _send_back(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def _connect(arguments: argparse.Namespace) -> int:
    context = client_context(arguments)
    output = None if arguments.output is None else Path(arguments.output)
    try:
        display = console.Display(json=arguments.json, output=output)
    except OSError as error:
        raise Failure(f"cannot save messages in {arguments.output}: {error.strerror}", 2) from error

    def open_connection() -> WebSocket:
        return connect(
            arguments.uri,
            headers=arguments.header,
            subprotocols=arguments.subprotocol,
            ssl=context,
            trace=console.recorder_on(display) if arguments.trace else None,
            **_message_options(arguments),
        )

    events: SimpleQueue[str] = SimpleQueue()
    with stop_signals(events):
        try:
            return console.converse(open_connection, events, display, wait=arguments.wait, commands=arguments.commands)
        except HandshakeError as error:
            raise Failure(_one_line(error), 1) from error
        except OSError as error:  # before ValueError, since ssl.SSLCertVerificationError is both
            # Not the URI as it was given: that may hold a password.
            place = f"cannot connect to {parse_uri(arguments.uri)}: "
            raise Failure(f"{place}{error.strerror}" if error.strerror else str(error), 1) from error
        except ValueError as error:
            raise Failure(str(error), 2) from error
        except ImportError as error:
            raise Failure(str(error), 1) from error


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": _demo,
    "serve": _serve,
    "echo": _echo,
    "connect": _connect,
}


def _one_line(error: HandshakeError) -> str:
    """Return the message and the first line of the server's explanation, if that is text."""
    lines = error.body.decode(errors="replace").strip().splitlines()
    explained = lines and Headers(error.headers).get("Content-Type", "").startswith("text/plain")
    return console.printable(f"{error}: {lines[0]}" if explained else str(error)).replace("\n", " ")


def _message_options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("compression", "max_message_size", "max_fragments")}


def _rates(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("max_messages_per_second", "max_control_frames_per_second")}


def _server_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if arguments.certfile is None:
        if arguments.keyfile is not None:
            raise Failure("--keyfile needs --certfile, the certificate that the key belongs to", 2)
        return None
    try:
        return server_context(arguments.certfile, arguments.keyfile)
    except ValueError as error:
        raise Failure(str(error), 2) from error


def client_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return how TLS is to be done with the server of ``arguments.uri``; ``None``: as usual."""
    if (arguments.no_verify or arguments.cafile) and not arguments.uri.lower().startswith("wss:"):
        raise Failure("--cafile and --no-verify are for URIs that begin with wss://", 2)
    if arguments.no_verify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if arguments.cafile is None:
        return None
    if not arguments.cafile:  # for ssl that is no file, and it would trust whom the system trusts
        raise Failure("--cafile needs the path of a file, not ''", 2)
    try:
        return ssl.create_default_context(cafile=arguments.cafile)
    except OSError as error:
        raise Failure(f"cannot use the certificates in {arguments.cafile}: {error.strerror or error}", 2) from error


def _import_app(name: str) -> WSGIApp:
    """Return the WSGI app of ``"module:app"``, looking for the module in the current directory first."""
    module_name, _, path = name.partition(":")
    if not (module_name and path):
        raise Failure(f"write MODULE:APP, for example hello:app, not {name!r}", 2)
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module can fail in any way when it is imported
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # The import machinery itself says nothing to anybody.
        place = "" if frame.filename.startswith("<frozen") else f" ({frame.filename}, line {frame.lineno})"
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise Failure(f"cannot import {module_name!r}: {what}{place}", 2) from error
    try:
        app: WSGIApp = operator.attrgetter(path)(module)
    except AttributeError as error:
        raise Failure(f"there is no {path!r} in {module_name!r}: {error}", 2) from error
    if not callable(app):
        raise Failure(f"{name} is not a WSGI app: an object of type {type(app).__name__} cannot be called", 2)
    return app


def _run_server(
    run_by: _RunBy,
    server_class: type[WSGIServer | WebSocketServer],
    address: tuple[str, int] | str,
    serves: Callable[..., Any],
    scheme: str,
    **options: Any,
) -> int:
    """Serve until a signal comes, then stop gracefully: every WebSocket is closed with 1001."""
    try:
        server = server_class(address, serves, **options)
    except ValueError as error:
        raise Failure(str(error), 2) from error
    except TypeError as error:  # of bind(): a host that cannot be a name
        raise Failure(f"cannot listen on {address!r}: {error}", 2) from error
    except OSError as error:
        where = address if isinstance(address, str) else "{}:{}".format(*address)
        raise Failure(f"cannot listen on {where}: {error.strerror or error}", 1) from error
    events = run_by.make_queue()
    with server, stop_signals(events):
        print(f"listening on {_url(scheme, server.server_address)}", flush=True)
        # socketserver wants shutdown() to be called from another thread than serve_forever(). Signals arrive in the
        # main thread, so the server gets the other one.
        accepting = run_by.spawn(lambda: _accept(server, events))
        stopped = console.next_event(events) == console.STOP
        _log.info("stopping: no new connections, WebSockets are closed with 1001")
        server.shutdown()
        accepting.join()
    return 0 if stopped else 1


def _accept(server: WSGIServer | WebSocketServer, events: SimpleQueue[str]) -> None:
    try:
        server.serve_forever()
    finally:
        events.put("ended")  # a server that accepts nothing more must not look alive


def _url(scheme: str, address: Any) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


@contextlib.contextmanager
def stop_signals(events: SimpleQueue[str]) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM put ``STOP`` into ``events``, and the second end the process at once."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        # put() may interrupt get() of the same thread, if the queue is a SimpleQueue; Event.set() might wait for ever.
        for number in previous:
            signal.signal(number, signal.SIG_DFL)
        events.put(console.STOP)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
