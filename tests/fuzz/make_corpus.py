"""Writes the seeds that are checked in: ``python tests/fuzz/make_corpus.py``.

A seed is a case that means something, from which atheris finds others. What it finds worth keeping, such as an input
that crashed, goes beside them under another name; this leaves it alone.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))

from fuzz.model import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT  # noqa: E402
from fuzz.peer import BITS, BROKEN, BROKEN_DEFLATE, Compress, frame, message  # noqa: E402
from fuzz.targets import KEY  # noqa: E402

__all__ = ["CORPUS", "seeds"]

CORPUS = ROOT / "corpus"
UNUSUAL = b"\x01\x02\x03\x04"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]
REQUEST = ["Host: example.com", *UPGRADE, f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
RESPONSE = [*UPGRADE, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
OFFER = "permessage-deflate; client_max_window_bits"


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")


def posted(*fields: str) -> bytes:
    return head("POST / HTTP/1.1", "Host: a", *fields)


def choose(*choices: tuple[int, int]) -> bytes:
    """The two bytes that choose the options: pairs of a choice and of how many there are."""
    number, factor = 0, 1
    for choice, count in choices:
        number += choice * factor
        factor *= count
    return number.to_bytes(2, "little")


def frames() -> Iterator[tuple[str, bytes]]:
    wires = {
        "text": [message("héllo", [], [], UNUSUAL, None)],
        "fragments": [message("fünf Teile", [0, 3, 3, 5], [(PING, b"1"), (PONG, b"2")], UNUSUAL, None)],
        "binary-126": [frame(BINARY, bytes(range(126)), UNUSUAL)],
        "two-and-close": [
            frame(TEXT, b"", UNUSUAL),
            frame(BINARY, b"x", UNUSUAL),
            frame(CLOSE, b"\x03\xe8bye", UNUSUAL),
        ],
        "lone-continuation": [frame(CONTINUATION, b"", UNUSUAL)],
        "interleaved": [frame(TEXT, b"", UNUSUAL, fin=False), frame(TEXT, b"", UNUSUAL)],
        "many-fragments": [frame(TEXT, b"", UNUSUAL, fin=False), frame(CONTINUATION, b"", UNUSUAL, fin=False) * 4],
        "length-64": [b"\x82\xff" + (2**40).to_bytes(8, "big") + UNUSUAL + b"x"],
        "length-sign": [b"\x82\xff\x80" + bytes(7) + UNUSUAL],
        "length-not-minimal": [frame(TEXT, b"a", UNUSUAL, width=2)],
        "unmasked": [frame(TEXT, b"a", None)],
        "cut": [frame(TEXT, "aé".encode(), UNUSUAL)[:-1]],
        "surrogate-in-fragments": [
            frame(TEXT, b"\xed", UNUSUAL, fin=False),
            frame(CONTINUATION, b"\xa0", UNUSUAL, fin=False),
        ],
    }
    wires |= {
        name.replace(" ", "-").lower(): [frame(first, payload[:200], UNUSUAL, fin=False)]
        for name, (first, payload) in BROKEN.items()
    }
    masked, plain = choose((1, 2), (0, 2), (0, 2), (0, 4), (1, 2)), choose((0, 2), (0, 2), (0, 2), (1, 4), (0, 2))
    for name, wire in wires.items():
        yield name, masked + b"".join(wire)
    yield "from-a-server", plain + message("héllo", [1], [(PING, b"1")], None, None) + frame(CLOSE, b"", None)
    for takeover in (False, True):
        settings = choose((1, 2), (1, 2), (int(takeover), 2), (2, 4), (0, 2))
        compress = Compress(takeover)
        wire = [
            message(text, [4], [(PING, b"")], UNUSUAL, compress)
            for text in ("hello hello hello", "hello", "", "é" * 50)
        ]
        yield f"compressed-takeover-{takeover:d}", settings + b"".join(wire)
        for number, payload in enumerate(BROKEN_DEFLATE):
            yield f"deflate-broken-{number}-{takeover:d}", settings + frame(TEXT, payload, UNUSUAL, rsv1=True)


def request() -> Iterator[tuple[str, bytes]]:
    upgrade = head("GET /chat?a=b HTTP/1.1", *REQUEST)
    heads = {
        "upgrade": upgrade + frame(TEXT, b"early", UNUSUAL),
        "full": head(
            "GET / HTTP/1.1", *REQUEST, "Origin: http://example.com", "Sec-WebSocket-Protocol: v2, chat",
            f"Sec-WebSocket-Extensions: {OFFER}",
        ),
        "foreign": head("GET / HTTP/1.1", *REQUEST, "Origin: https://evil.example:444"),
        "absolute": head("GET http://example.com/x HTTP/1.1", *REQUEST),
        "old": head("GET / HTTP/1.0", *REQUEST),
        "version-8": upgrade.replace(b": 13", b": 8"),
        "post": posted("Content-Length: 3", "Expect: 100-continue") + b"abc" + head("GET / HTTP/1.1", "Host: a"),
        "chunked": posted("Transfer-Encoding: chunked") + b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n" + upgrade,
        "pipelined": b"\r\n" + head("HEAD / HTTP/1.1", "Host: a") * 2 + head("GET / HTTP/1.0"),
        "options": head("OPTIONS * HTTP/1.1", "Host: [::1]:80", "Connection: close"),
        "two-framings": posted("Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        "two-lengths": posted("Content-Length: 3", "Content-Length: 4") + b"abcd",
        "two-hosts": head("GET / HTTP/1.1", "Host: a", "Host: b"),
        "bare-lf": b"GET / HTTP/1.1\nHost: a\n\n",
        "folded": head("GET / HTTP/1.1", "Host: a", "X: 1", " 2"),
        "nul": head("GET / HTTP/1.1", "Host: a", "X: 1\0"),
        "space-before-colon": head("GET / HTTP/1.1", "Host : a"),
        "long-target": head("GET /" + "x" * 80 + " HTTP/1.1", "Host: a"),
        "many-fields": head("GET / HTTP/1.1", "Host: a", *["X: y"] * 12),
        "tls": b"\x16\x03\x01\x02\x00\x01",
        "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "connect": head("CONNECT a:1 HTTP/1.1", "Host: a"),
        "h2c": head("GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    }  # fmt: skip
    for name, wire in heads.items():
        yield name, choose((1, 2), (1, 2)) + wire


def response() -> Iterator[tuple[str, bytes]]:
    switch = "HTTP/1.1 101 Switching Protocols"
    heads = {
        "switch": head(switch, *RESPONSE) + frame(TEXT, b"early", None),
        "full": head(switch, *RESPONSE, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"),
        "interim": head("HTTP/1.1 100 Continue")
        + head("HTTP/1.1 103 Early Hints", "Link: </a>")
        + head(switch, *RESPONSE),
        "not-found": head("HTTP/1.1 404 Not Found", "Content-Length: 4") + b"gone",
        "no-reason": head("HTTP/1.1 500"),
        "wrong-accept": head(switch, *UPGRADE, "Sec-WebSocket-Accept: x"),
        "unasked": head(switch, *RESPONSE, "Sec-WebSocket-Protocol: x"),
        "unasked-extension": head(switch, *RESPONSE, "Sec-WebSocket-Extensions: x"),
        "two-framings": head("HTTP/1.1 200 OK", "Content-Length: 4", "Transfer-Encoding: chunked"),
        "bare-lf": b"HTTP/1.1 200 OK\n\n",
        "old": head("HTTP/1.0 200 OK"),
        "status-000": head("HTTP/1.1 000 x"),
        "ssh": b"SSH-2.0-OpenSSH\r\n",
    }
    for name, wire in heads.items():
        yield name, choose((1, 2)) + wire


def extensions() -> Iterator[tuple[str, bytes]]:
    values = {
        "offer": OFFER,
        "browser": f"{OFFER}, x-webkit-deflate-frame",
        "all": "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
        "client_max_window_bits=9",
        "quoted": 'permessage-deflate; client_max_window_bits="1\\5"',
        "two": "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "twice": "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "unknown": 'foo; bar=1; baz="a b", permessage-deflate; x',
        "empty": ", ,\n\t",
        "two-fields": "a\nb",
        "not-closed": 'a; b="c',
    }
    for name, value in values.items():
        yield name, choose((0, 2), (3, 7)) + value.encode()


def inflate() -> Iterator[tuple[str, bytes]]:
    def payloads(*payloads: bytes) -> bytes:
        return b"".join(bytes([len(payload)]) + payload for payload in payloads)

    def ended(data: bytes) -> bytes:
        stream = zlib.compressobj(wbits=-9)
        return stream.compress(data) + stream.flush()

    for takeover in (False, True):
        for size in (1, 3):
            settings = choose((BITS - 9, 7), (int(takeover), 2), (size, 4))
            compress = Compress(takeover)
            yield (
                f"messages-{takeover:d}-{size}",
                settings + payloads(*map(compress, (b"hello" * 9, b"hello", b"", b"x" * 200))),
            )
    settings = choose((3, 7), (1, 2), (2, 4))
    stored = b"\x00\x03\x00\xfc\xffabc"
    yield "stored", settings + payloads(stored + b"\x00")
    yield "final-block", settings + payloads(ended(b"final"), ended(b"again") + b"\x00", ended(b"a") + ended(b"b"))
    yield "empty", settings + payloads(b"\x00", b"", b"\x00")
    for number, payload in enumerate(BROKEN_DEFLATE):
        yield f"broken-{number}", settings + payloads(payload)


def deflate() -> Iterator[tuple[str, bytes]]:
    content = b"hello hello\n\n" + b"(" * 60 + b"\n" + bytes(range(11, 256)) + b"\nhello again"
    for way in range(3):
        for takeover in range(2):
            yield f"way-{way}-{takeover}", choose((way * 3, 7), (takeover, 2), (way * 4, 9), (way, 3)) + content


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of every seed."""
    for target in (frames, request, response, extensions, inflate, deflate):
        for name, data in target():
            yield target.__name__, name, data


if __name__ == "__main__":
    for target, name, data in seeds():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        (CORPUS / target / name).write_bytes(data)
