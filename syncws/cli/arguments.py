"""The arguments of the command line, checked as far as that needs nothing but the arguments.

:func:`parse` returns them, or ends the process as argparse does: with status 0 after ``--help`` and ``--version``,
and with status 2 and one line on standard error if they cannot be parsed.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Sequence
from typing import NoReturn

import syncws

from ..options import Options
from ..server import ServerOptions

__all__ = ["parse"]

_DEFAULTS = Options()
_CONNECT = """\
Talk to a WebSocket server: each line of the input is sent as a text message, each message is shown as a line. On a
terminal, lines that begin with a slash are commands: /ping, /close, /file, /help. The end of the input closes the
connection. The exit status is 0 if the connection ended with 1000, 1001 or 1005, or as /close said, and 1 with any
other close code."""
_TRACE = """\
Listen for clients, send on all that passes between them and a server, unchanged except for the fields Host and Origin,
and show it: the opening handshake, each frame with its bits, and what breaks the rules. Let the client connect to the
address that is printed. Ctrl-C ends it."""
_DECODE = """\
Show what bytes mean: those of a recording, as syncws trace --record writes it, or hex digits. Without a handshake in
front of them, hex digits are frames; whose they are tells the MASK bit of the first one, unless you do."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; ``command`` is the name of the command, the rest is named like the options.

    :param argv: what to parse; ``None``: the arguments of the process.
    :raises SystemExit: see the top of this module.
    """
    parser = _Parser(prog="syncws", description="WebSockets without an event loop: servers to try out, and a client.")
    build = "compiled" if syncws.compiled else "pure Python"
    version = f"syncws {syncws.__version__} ({build}) on {platform.python_implementation()} {platform.python_version()}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, add_arguments, summary, description in (
        ("demo", _add_demo, "serve a page that shows WebSockets at work, and every frame of them", ""),
        ("serve", _add_serve, "serve a WSGI app, in which syncws.upgrade() works", ""),
        ("echo", _add_echo, "serve WebSockets that send every message back", ""),
        ("connect", _add_connect, "talk to a WebSocket server from the terminal or a pipe", _CONNECT),
        ("trace", _add_trace, "show what passes between any client and any server", _TRACE),
        ("decode", _add_decode, "show what the bytes of a recording, or hex digits, mean", _DECODE),
    ):
        sentence = f"{summary[0].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=description or sentence)
        add_arguments(command)
        command.add_argument(
            "--log-level",
            choices=["debug", "info", "warning", "error"],
            default="info",
            help="the least important messages to log on standard error (default: %(default)s)",
        )
    return parser.parse_args(argv)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help explains it\n")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    _add_host_and_port(parser, 8000)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:APP", help="the module to import, and the name of the WSGI app in it")
    parser.add_argument(
        "--bind",
        type=_address,
        default=("127.0.0.1", 8000),
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one; unix:PATH is a Unix socket (default: 127.0.0.1:8000)",
    )
    _add_gevent(parser, "greenlets instead of threads; gevent patches the standard library before the app is imported")
    _add_budget(parser)
    parser.add_argument("--access-log", action="store_true", help="log a line for each WebSocket at its end")
    _add_rates(parser)
    _add_tls(parser)


def _add_echo(parser: argparse.ArgumentParser) -> None:
    _add_host_and_port(parser, 8765)
    parser.add_argument(
        "--origin",
        action="append",
        metavar="PATTERN",
        help="accept pages of this origin, for example https://*.example.com or http://localhost:*; may be repeated; "
        "* accepts every page (default: pages of the same host and port)",
    )
    _add_gevent(parser, "greenlets instead of threads")
    _add_message_options(parser)
    _add_rates(parser)
    _add_tls(parser)


def _add_connect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="for example ws://localhost:8765/ or wss://example.com/chat")
    parser.add_argument(
        "--header", action="append", type=_header, default=[], metavar="'NAME: VALUE'", help="send this header field"
    )
    parser.add_argument("--subprotocol", action="append", default=[], metavar="NAME", help="offer this subprotocol")
    _add_trust(parser)
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="after the end of the input, close when no message has come for so long; inf waits until the server "
        "closes (default: 1; 0 if the input is a terminal)",
    )
    _add_dialogue(parser)
    _add_message_options(parser)


def _add_dialogue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--commands",
        action=argparse.BooleanOptionalAction,
        help="lines of the input that begin with a slash are commands (default: if the input is a terminal)",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--json",
        action="store_true",
        default=None,
        help="show JSON objects and arrays with one member in a line (default: on a terminal)",
    )
    shown.add_argument("--raw", action="store_false", dest="json", help="show JSON as it came")
    parser.add_argument(
        "--trace", action="store_true", help="show every frame on standard error, with what its bytes mean"
    )
    parser.add_argument("--output", metavar="DIR", help="save binary messages in this directory, as 0001.bin and so on")


def _add_trace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="the server, for example ws://localhost:8765/ or wss://example.com/")
    parser.add_argument(
        "--listen",
        type=_tcp_address,
        default=("127.0.0.1", 9000),
        metavar="HOST:PORT",
        help="where to listen for clients; port 0 takes a free one (default: 127.0.0.1:9000)",
    )
    parser.add_argument("--record", metavar="FILE", help="write a recording to this file, for syncws decode")
    parser.add_argument("--html", metavar="FILE", help="at the end, write what has passed to this file, as a page")
    parser.add_argument(
        "--keep-host", action="store_true", help="send on the fields Host and Origin as the client has sent them"
    )
    _add_trust(parser)
    _add_view(parser)


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="a recording or hex digits; - is standard input (default)"
    )
    parser.add_argument("--hex", action="store_true", help="the file has hex digits, whatever it looks like")
    side = parser.add_mutually_exclusive_group()
    for name in ("client", "server"):
        help = f"the hex digits are frames of a {name}"
        side.add_argument(f"--{name}", dest="side", action="store_const", const=name, default="", help=help)
    parser.add_argument("--compression", action="store_true", help="permessage-deflate is in use in these frames")
    parser.add_argument("--html", metavar="FILE", help="write a page to this file, instead of text")
    _add_view(parser)


def _add_view(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write lines of JSON, one for each item, instead of text")
    parser.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours: on a terminal if the package rich is there, always or never (default: %(default)s)",
    )


def _add_trust(parser: argparse.ArgumentParser) -> None:
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cafile", metavar="FILE", help="trust the certificates of these authorities (PEM) only")
    trust.add_argument("--no-verify", action="store_true", help="accept any certificate: anybody may listen in")


def _add_host_and_port(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=port, help="0 takes a free port (default: %(default)s)")


def _add_gevent(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--gevent", action="store_true", help=f"{what} (needs the package gevent)")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    defaults = ServerOptions()
    for name, limited in (
        ("max_connections", "how many connections there may be at once"),
        ("max_connections_per_address", "how many of them one address may have, of IPv6 one /64 network"),
        ("max_handshakes", "how many of them may have no complete request yet"),
    ):
        default = getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_limit,
            default=default,
            metavar="COUNT",
            help=f"limit {limited}; none is no limit (default: {'none' if default is None else default})",
        )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="NETWORK",
        help="count the connections of this proxy for the clients that it names in X-Forwarded-For; an address, a "
        "network such as 10.0.0.0/8, or unix for whoever connects to a Unix socket; may be repeated (default: none)",
    )


def _add_rates(parser: argparse.ArgumentParser) -> None:
    for name, limited in (
        ("max_messages_per_second", "the messages of a WebSocket"),
        ("max_control_frames_per_second", "the pings of a WebSocket, and its pongs that answer none,"),
    ):
        default = getattr(_DEFAULTS, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_limit,
            default=default,
            metavar="COUNT",
            help=f"limit {limited} in a second; none is no limit (default: {'none' if default is None else default})",
        )


def _add_tls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--certfile", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    parser.add_argument("--keyfile", metavar="FILE", help="the certificate's private key, if --certfile has none")


def _add_message_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--compression", action="store_true", help="use permessage-deflate (RFC 7692) if the other side has it"
    )
    for name, unit, limited in (
        ("max_message_size", "BYTES", "the size of a received message, before and after inflation"),
        ("max_fragments", "COUNT", "the frames of a received message"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_limit,
            default=getattr(_DEFAULTS, name),
            metavar=unit,
            help=f"limit {limited}; none is no limit (default: %(default)s)",
        )


# What the arguments are turned into. An ArgumentTypeError becomes "argument --port: …", and exit status 2.


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _address(text: str) -> tuple[str, int] | str:
    if text.startswith("unix:"):
        if text == "unix:":
            raise argparse.ArgumentTypeError("the path of the Unix socket is missing: write unix:PATH")
        return text.removeprefix("unix:")
    return _host_and_port(text, "HOST:PORT, [IPV6]:PORT or unix:PATH")


def _tcp_address(text: str) -> tuple[str, int]:
    forms = "HOST:PORT or [IPV6]:PORT"
    if text.startswith("unix:"):
        raise argparse.ArgumentTypeError(f"write {forms}, not {text!r}")
    return _host_and_port(text, forms)


def _host_and_port(text: str, forms: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise argparse.ArgumentTypeError(f"write {forms}, not {text!r}")
    return host.strip("[]"), _port(port)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"write a header field as 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"write a whole number or none, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"write a number of seconds, or inf, not {text!r}")
    return seconds
