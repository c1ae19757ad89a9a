"""The commands ``trace`` and ``decode``: what passes between a client and a server, live or from a file.

Each is a function from the parsed arguments to the exit status, as those of :mod:`syncws.cli.commands` are.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TextIO

from .. import console
from ..protocol.deflate import MAX_WINDOW_BITS, Parameters
from ..trace import Annotator, Chunk, Item, Recorder, annotated, read_recording, render_html, render_text, to_json
from ..trace.hextext import parse_hex
from ..trace.proxy import TraceProxy
from ..trace.recorder import write_recording
from ..trace.text import can_color
from ..transport_traced import Sender
from ..uri import WebSocketURI, parse_uri
from .commands import Failure, client_context, stop_signals

__all__ = ["COMMANDS"]

_BROKEN = "output broken"
_POLL = 0.1  # how often, in seconds, the accept loop looks whether it is to stop
# The beginning of a request, or else of a response; no frame begins so.
_HEAD = re.compile(rb"([A-Z]+ \S+ HTTP/)|HTTP/[0-9]")
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
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(_writable(arguments.record)) if arguments.record else None
        page = stack.enter_context(_writable(arguments.html)) if arguments.html else None
        view = _LiveView(_renderer(arguments), events, record, keep=page is not None)
        try:
            proxy = TraceProxy(
                arguments.listen, target, Recorder(view.on_chunk), context=context, rewrite=not arguments.keep_host
            )
        except OSError as error:
            where = "{}:{}".format(*arguments.listen)
            raise Failure(f"cannot listen on {where}: {error.strerror or error}", 1) from error
        with proxy, stop_signals(events):
            view.announce(_url(proxy, target), error_output=arguments.json)
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


class _LiveView:
    """Shows what passes while it does.

    :param shown: turns items into what is written to standard output.
    :param events: gets ``_BROKEN`` when something cannot be written any more.
    :param record: the file of a recording.
    :param keep: keep all items, for a page.
    :ivar items: these.
    :ivar failure: why something could not be written.
    """

    def __init__(
        self, shown: Callable[[list[Item]], str], events: SimpleQueue[str], record: TextIO | None, *, keep: bool
    ) -> None:
        self._shown = shown
        self._events = events
        self._record = record
        self._keep = keep
        self._annotator = Annotator()
        self._lock = threading.Lock()  # the recorder lets one thread at a time call on_chunk(), but finish() is ours
        self._over = False
        self.items: list[Item] = []
        self.failure: Failure | None = None

    def announce(self, url: str, *, error_output: bool) -> None:
        """Say where the proxy listens; with ``error_output``, standard output is for something else."""
        line = f"listening on {url}\n"
        if error_output:
            sys.stderr.write(line)
        else:
            self._print(line)

    def on_chunk(self, chunk: Chunk) -> None:
        """Show what a chunk has completed. Never raises: connections go on whatever happens here."""
        with self._lock:
            if self._over:
                return
            try:
                if self._record is not None:
                    write_recording(self._record, [chunk])
            except OSError as error:
                self._stop(Failure(f"cannot write the recording: {error.strerror}", 1))
            self._show(self._annotator.feed(chunk))

    def finish(self) -> None:
        """Show what is not complete. Nothing is written after that."""
        with self._lock:
            if not self._over:
                self._show(self._annotator.finish())
            self._over = True

    def _show(self, items: list[Item]) -> None:
        if self._keep:
            self.items += items
        if items:
            self._print(self._shown(items))

    def _print(self, text: str) -> None:
        try:
            _print(text)
        except OSError as error:
            self._stop(_failure_of_output(error))

    def _stop(self, failure: Failure | None) -> None:
        self._over = True
        self.failure = self.failure or failure
        self._events.put(_BROKEN)


def _decode(arguments: argparse.Namespace) -> int:
    text = _read(arguments.file)
    is_hex = arguments.hex or not text.lstrip().startswith("{")
    if not is_hex and (arguments.side or arguments.compression):
        raise Failure("--client, --server and --compression are for hex digits; a recording tells by itself", 2)
    try:
        if is_hex:
            items = _items_of_hex(parse_hex(text), arguments)
        else:
            items = list(annotated(read_recording(text.splitlines())))
    except ValueError as error:
        raise Failure(f"{_name_of(arguments.file)}: {error}", 2) from error
    if arguments.html:
        with _writable(arguments.html) as page:
            _write(page, render_html(items, f"Wire view of {_name_of(arguments.file)}"))
        return 0
    try:
        _print(_renderer(arguments)(items))
    except OSError as error:
        failure = _failure_of_output(error)
        if failure is not None:
            raise failure from error
        return 1
    return 0


def _items_of_hex(data: bytes, arguments: argparse.Namespace) -> list[Item]:
    if not data:
        raise ValueError("there is nothing in it, no recording and no hex digits")
    sender: Sender = arguments.side or ("client" if data[1:2] >= b"\x80" else "server")
    annotator = Annotator(opened=True, deflate=_DEFLATE if arguments.compression else None)
    if head := _HEAD.match(data):
        sender = "client" if head[1] else "server"
        annotator = Annotator()
    return list(annotated([Chunk(1, 0.0, sender, data)], annotator))


def _renderer(arguments: argparse.Namespace) -> Callable[[list[Item]], str]:
    """Return what turns items into what is to be written."""
    if arguments.json:
        return lambda items: "".join(json.dumps(to_json(item)) + "\n" for item in items)
    if arguments.color == "always" and not can_color():
        raise Failure("--color always needs the package rich: pip install 'syncws[trace]'", 2)
    color = arguments.color == "always" or (arguments.color == "auto" and _on_terminal() and can_color())
    return lambda items: render_text(items, color)


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _print(text: str) -> None:
    """Write to standard output.

    :raises OSError: that is not possible, and will not be from now on.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    try:
        # Whatever the terminal's encoding is; what it has no character for is no reason to stop.
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "backslashreplace"))
        sys.stdout.buffer.flush()
    except OSError:
        # Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _failure_of_output(error: OSError) -> Failure | None:
    """Return what is to be said of an error; nothing, if whoever reads has had enough."""
    return None if isinstance(error, BrokenPipeError) else Failure(f"cannot write: {error.strerror}", 1)


def _read(name: str) -> str:
    try:
        if name == "-" and sys.stdin is None:
            raise Failure("standard input is closed", 2)
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:
                data = file.read()
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror or error}", 2) from error
    try:
        return data.decode()
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
        raise Failure(f"cannot write {name}: {error.strerror or error}", 2) from error
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
