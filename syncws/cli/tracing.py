"""The commands ``trace`` and ``decode``: what passes between a client and a server, live or from a file.

Each is a function from the parsed arguments to the exit status, as those of :mod:`syncws.cli.commands` are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TextIO

from .. import console
from ..console.tracing import may_colour
from ..protocol.deflate import MAX_WINDOW_BITS, Parameters
from ..trace import Annotator, Chunk, Item, Recorder, annotated, read_recording, render_html, render_text, to_json
from ..trace.hextext import parse_hex
from ..trace.proxy import TraceProxy
from ..trace.text import can_color
from ..transport_traced import Sender
from ..uri import WebSocketURI, parse_uri
from .commands import Failure, client_context, stop_signals
from .live_view import LiveView, failure_of_output
from .output import in_pieces, write

__all__ = ["COMMANDS"]

_INTERRUPTED = 130  # the exit status after Ctrl-C, as a shell has it: 128 + SIGINT
_POLL = 0.1  # how often, in seconds, the accept loop looks whether it is to stop
# The beginning of a request, or else of a response; no frame begins so.
_HEAD = re.compile(rb"([A-Z]+ [^\n]* HTTP/)|HTTP/[0-9]")
# A recording begins with a JSON object; bytes may be in braces, too.
_RECORDING = re.compile(r'\s*\{\s*["}]')
_LINE = re.compile(r".*\n?")
# With permessage-deflate, but no handshake that says how: what can read most.
_DEFLATE = Parameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=MAX_WINDOW_BITS,
    client_max_window_bits=MAX_WINDOW_BITS,
)


def _trace(arguments: argparse.Namespace) -> int:
    try:
        target = parse_uri(arguments.uri)
    except ValueError as error:
        raise Failure(str(error), 2) from error
    context = client_context(arguments)
    events: SimpleQueue[str] = SimpleQueue()
    view = LiveView(_renderer(arguments), events, json=arguments.json, keep=arguments.html is not None)
    with contextlib.ExitStack() as stack:
        try:
            proxy = TraceProxy(
                arguments.listen, target, Recorder(view.on_chunk), context=context, rewrite=not arguments.keep_host
            )
        except OSError as error:
            where = "{}:{}".format(*arguments.listen)
            raise Failure(f"cannot listen on {where}: {error.strerror or error}", 1) from error
        stack.enter_context(proxy)
        # Not before, since it empties files that are there.
        if arguments.record is not None:
            view.record = stack.enter_context(_writable(arguments.record))
        page = stack.enter_context(_writable(arguments.html)) if arguments.html is not None else None
        stack.enter_context(stop_signals(events))
        view.start(_url(proxy, target))
        accepting = threading.Thread(target=proxy.serve_forever, args=(_POLL,), name="syncws-accept")
        accepting.start()
        stopped = console.next_event(events) == console.STOP
        proxy.stop()
        accepting.join()
        view.finish()
        if view.failure is not None:
            raise view.failure
        if page is not None:
            _write(page, render_html(view.items, f"Wire view of {target}"))
    return 0 if stopped else 1


def _url(proxy: TraceProxy, target: WebSocketURI) -> str:
    host, port = proxy.socket.getsockname()[:2]
    return f"ws://[{host}]:{port}{target.target}" if ":" in host else f"ws://{host}:{port}{target.target}"


def _decode(arguments: argparse.Namespace) -> int:
    if arguments.json and arguments.html is not None:
        raise Failure("--json and --html are two forms of the same: write one of them", 2)
    shown = _renderer(arguments)
    try:
        items = _items_of(_read(arguments.file), arguments)
        if arguments.html is None:
            return _print(items, shown)
        text = render_html(items, f"Wire view of {_name_of(arguments.file)}")
    except ValueError as error:
        raise Failure(f"{_name_of(arguments.file)}: {error}", 2) from error
    except KeyboardInterrupt:
        return _INTERRUPTED
    with _writable(arguments.html) as page:
        _write(page, text)
    return 0


def _print(items: Iterator[Item], shown: Callable[[list[Item]], str]) -> int:
    for piece in in_pieces(items):
        try:
            write(shown(piece))
        except OSError as error:
            failure = failure_of_output(error)
            if failure is not None:
                raise failure from error
            return 1
    return 0


def _items_of(text: str, arguments: argparse.Namespace) -> Iterator[Item]:
    if arguments.hex or not _RECORDING.match(text):
        return _items_of_hex(parse_hex(text), arguments)
    if arguments.side or arguments.compression:
        raise Failure("--client, --server and --compression are for hex digits; a recording tells by itself", 2)
    # Line by line: splitlines() would make a second copy of all.
    return annotated(read_recording(line[0] for line in _LINE.finditer(text)))


def _items_of_hex(data: bytes, arguments: argparse.Namespace) -> Iterator[Item]:
    if not data:
        raise ValueError("there is nothing in it, no recording and no hex digits")
    sender: Sender = arguments.side or ("client" if data[1:2] >= b"\x80" else "server")
    annotator = Annotator(opened=True, deflate=_DEFLATE if arguments.compression else None)
    if head := _HEAD.match(data):
        sender = "client" if head[1] else "server"
        annotator = Annotator()
    return annotated([Chunk(1, 0.0, sender, data)], annotator)


def _renderer(arguments: argparse.Namespace) -> Callable[[list[Item]], str]:
    """Return what turns items into what is to be written."""
    if arguments.json:
        return lambda items: "".join(json.dumps(to_json(item)) + "\n" for item in items)
    if arguments.color == "always" and not can_color():
        raise Failure("--color always needs the package rich: pip install 'syncws[trace]'", 2)
    color = arguments.color == "always" or (arguments.color == "auto" and may_colour(sys.stdout))
    return lambda items: render_text(items, color)


def _read(name: str) -> str:
    try:
        if name == "-" and sys.stdin is None:
            raise Failure("standard input is closed", 2)
        if name == "-":
            if sys.stdin.isatty() and sys.stderr is not None:
                sys.stderr.write("type or paste hex digits, then Ctrl-D\n")
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:
                data = file.read()
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror or error}", 2) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{_name_of(name)} is neither hex nor a recording: it is no text", 2) from error


def _name_of(name: str) -> str:
    return "standard input" if name == "-" else name


@contextlib.contextmanager
def _writable(name: str) -> Iterator[TextIO]:
    """Open a file for what is to be written; each line is in it at once."""
    try:
        file = open(name, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed below
    except OSError as error:
        raise Failure(f"cannot write {name or repr(name)}: {error.strerror or error}", 2) from error
    try:
        yield file
    finally:
        # What cannot be written has been noticed already.
        with contextlib.suppress(OSError):
            file.close()


def _write(page: TextIO, text: str) -> None:
    try:
        page.write(text)
        page.flush()
    except OSError as error:
        raise Failure(f"cannot write {page.name}: {error.strerror or error}", 1) from error


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"trace": _trace, "decode": _decode}
