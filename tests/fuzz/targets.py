"""What is fuzzed: functions that take any bytes, and raise AssertionError if the library does what it must not.

Whatever the bytes: only the documented exceptions are raised, what comes out is bounded, the result is the same however
the input is cut, and what was encoded is decoded to the same. The first byte or two choose the options.

Needs nothing but the library. ``run_atheris.py`` lets atheris find inputs, ``test_corpus.py`` runs those that are
checked in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from fuzz.model import CLOSE, Broken, Frames, Inflate, Message
from fuzz.peer import BITS

from syncws.errors import HandshakeError, MessageTooBig, ProtocolError
from syncws.http import BadRequest, Limits, RequestReader, read_response_head, response_bytes, text_response
from syncws.protocol.deflate import Compressor, Deflate, Inflater
from syncws.protocol.extensions import parse_extensions
from syncws.protocol.handshake import RequestHead, ResponseHead, check_response, respond
from syncws.protocol.messages import MessageReader, Piece
from syncws.protocol.negotiation import answer_offers, check_answer, offer
from syncws.protocol.parser import Frame

__all__ = ["KEY", "TARGETS"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LIMITS = Limits(max_target=64, max_head=600, max_fields=12)
SIZES = (100, 1000, 4000, None)
Event = tuple[object, ...]


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The ways in which bytes arrive: at once, one by one, and in parts whose sizes are found in the bytes."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    parts, start = [], 0
    while start < len(data):
        size = 1 + data[start] % 61
        parts.append(data[start : start + size])
        start += size
    yield parts


def options(data: bytes, *choices: int) -> tuple[list[int], bytes]:
    """Take as many choices of so many from the first two bytes; return them and the rest."""
    number = int.from_bytes(data[:2], "little")
    chosen = []
    for count in choices:
        number, choice = divmod(number, count)
        chosen.append(choice)
    return chosen, data[2:]


# Frames and messages.


def frames(data: bytes) -> None:
    """Bytes of a peer: a MessageReader against the model, whole messages and pieces."""
    (masked, deflate, takeover, size, few), wire = options(data, 2, 2, 2, len(SIZES), 2)
    limit, fragments = SIZES[size], 3 if few else None

    def reader() -> MessageReader:
        return MessageReader(
            masked=bool(masked),
            inflater=Inflater(BITS, bool(takeover)) if deflate else None,
            max_message_size=limit,
            max_fragments=fragments,
        )

    def message(limited: bool) -> Message:
        inflate = Inflate(BITS, bool(takeover)) if deflate else None
        return Message(inflate, limit if limited else None, fragments)

    found = Frames(masked=bool(masked), deflate=bool(deflate))
    found.feed(wire)
    expected = list(modelled(found, message(True)))
    in_pieces = list(modelled(found, message(False)))
    for parts in cuts(wire):
        compare(received(reader(), MessageReader.next_message, parts), expected)
        compare(received(reader(), MessageReader.next_piece, parts), in_pieces)


def modelled(found: Frames, message: Message) -> Iterator[Event]:
    """The events that the model finds; at the end whether something is unfinished."""
    try:
        for part in found.parts:
            if part.control:
                yield part.opcode, part.payload
                if part.opcode == CLOSE:
                    return
                continue
            message.add(part)
            if message.complete:
                yield "message", message.content
                message.begin()
        if found.broken:
            raise found.broken
    except Broken as broken:
        yield "error", broken.codes
        return
    yield "unfinished", bool(found.rest or found.missing or message.fragments)


def received(
    reader: MessageReader,
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None],
    parts: list[bytes],
) -> Iterator[Event]:
    """The events that the library finds; pieces are put together."""
    pieces: list[str | bytes] = []
    try:
        for part in parts:
            reader.feed(part)
            while (item := pull(reader)) is not None:
                if isinstance(item, Frame):
                    yield item.opcode, item.payload
                elif isinstance(item, Piece):
                    assert item.last or item.data
                    assert len(item.data) <= 65536
                    pieces.append(item.data)
                    if item.last:
                        yield "message", item.data[:0].join(pieces)  # type: ignore[arg-type]
                        pieces = []
                else:
                    yield "message", item
    except ProtocolError as error:
        assert reader.ended
        assert isinstance(error, MessageTooBig) is (error.close_code == 1009)
        one_line(error)
        yield "error", (error.close_code,)
        reader.feed(b"\x89\x00\x89\x80\0\0\0\0")
        assert pull(reader) is None
        return
    if not reader.ended:
        yield "unfinished", reader.unfinished


def compare(events: Iterator[Event], expected: list[Event]) -> None:
    found = list(events)
    if found and found[-1][0] == "error":
        (code,) = found[-1][1]  # type: ignore[misc]
        # Compressed data may be known to be wrong before it is complete, which is when the model looks at it.
        if expected and expected[-1][0] == "error" and code in expected[-1][1]:  # type: ignore[operator]
            found[-1] = expected[-1]
    assert found == expected, (found, expected)


# The opening handshake.


def request(data: bytes) -> None:
    """Bytes of a client: heads, bodies, and the answer to a handshake."""
    (compressed, same), wire = options(data, 2, 2)
    heads: list[RequestHead] = []
    results = [list(requests(parts, heads)) for parts in cuts(wire)]
    assert all(result == results[0] for result in results), results
    for head in heads[: len(heads) // len(results)]:
        answer(head, Deflate() if compressed else None, "same" if same else None)


def requests(parts: list[bytes], heads: list[RequestHead]) -> Iterator[Event]:
    """What a RequestReader makes of a connection: the first three requests, and what is left behind them."""
    arriving = iter(parts)
    reader = RequestReader(lambda: next(arriving, b""), LIMITS)
    try:
        for _ in range(3):
            head = reader.read_head()
            if head is None:
                yield ("end",)
                return
            heads.append(head)
            check_head(head)
            yield "head", shown(head), reader.keep_alive, reader.expects_continue, reader.has_body
            body = b""
            while piece := reader.read_body(50):
                assert len(piece) <= 50
                body += piece
            assert not reader.has_body
            yield "body", body
    except BadRequest as error:
        assert error.status in (400, 414, 431, 501, 505)
        one_line(error)
        text_response(error.status, str(error), "GET")
        # Which of two errors comes first may depend on how much has arrived; that there is one may not.
        yield ("error",)
        return
    yield "left", reader.leftover() + b"".join(arriving)


def check_head(head: RequestHead) -> None:
    """Rules of RFC 9112 whose breach would let a proxy in front see other requests than this server."""
    names = [name.lower() for name, _ in head.headers.pairs()]
    assert names.count("host") <= 1
    assert head.version == "1.0" or "host" in names
    assert names.count("transfer-encoding") == 0 or "content-length" not in names
    assert names.count("content-length") <= 1 or len(set(head.headers.get_all("content-length"))) == 1
    assert len(head.target) <= LIMITS.max_target
    assert len(names) <= LIMITS.max_fields
    for name, value in head.headers.pairs():
        assert re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name)
        assert not re.search(r"[\r\n\0]", value), value
    assert not re.search(r"[\s\0]", head.target)


def answer(head: RequestHead, compression: Deflate | None, origins: str | None) -> None:
    try:
        agreement, fields = respond(
            head, subprotocols=("chat", "v2"), origins=origins, compression=compression, headers=[("X-A", "b")]
        )
    except HandshakeError as error:
        assert error.status in (400, 403, 405, 426, 505)
        one_line(error)
        wire = text_response(error.status, str(error), head.method, fields=error.headers)
        assert read(wire)[0].status == error.status
        return
    assert agreement.subprotocol in (None, "chat", "v2")
    assert compression is not None or agreement.deflate is None
    response, left = read(response_bytes(101, None, fields, close=False))
    assert not left
    assert response.headers.pairs() == tuple(fields)
    # The other side's view of the same agreement, unless it would have offered less than this client has.
    keys = head.headers.get_all("sec-websocket-key")
    same = check_response(response, keys[0].strip(), subprotocols=("chat", "v2"), compression=compression and Deflate())
    assert same.subprotocol == agreement.subprotocol
    assert (same.deflate is None) is (agreement.deflate is None)


def response(data: bytes) -> None:
    """Bytes of a server: the answer to a client's handshake."""
    (compressed,), wire = options(data, 2)
    results: list[tuple[Event, bytes] | None] = []
    for parts in cuts(wire):
        try:
            head, left = read(*parts)
        except HandshakeError as error:
            assert error.status == 0
            one_line(error)
            results.append(None)
        else:
            results.append((shown(head), left))
    assert all(result == results[0] for result in results)
    if results[0] is None:
        return
    compression = Deflate() if compressed else None
    try:
        agreement = check_response(head, KEY, subprotocols=("chat",), compression=compression)
    except HandshakeError as error:
        assert error.status == head.status
        one_line(error)
    else:
        assert head.status == 101
        assert agreement.subprotocol in (None, "chat")
        assert compression is not None or agreement.deflate is None


def shown(head: RequestHead | ResponseHead) -> Event:
    """A head as something to compare: its fields in order."""
    names = (name for name in head.__slots__ if name != "headers")
    return (*(getattr(head, name) for name in names), head.headers.pairs())


def read(*parts: bytes) -> tuple[ResponseHead, bytes]:
    """The head of a response, and all that is behind it."""
    arriving = iter(parts)
    head, left = read_response_head(lambda: next(arriving, b""), LIMITS)
    return head, left + b"".join(arriving)


def extensions(data: bytes) -> None:
    """Text of Sec-WebSocket-Extensions, as offers and as an answer."""
    (takeover, window), text = options(data, 2, 7)
    config = Deflate(context_takeover=bool(takeover), max_window_bits=9 + window)
    values = text.decode("latin-1").split("\n")
    try:
        found = parse_extensions(values)
    except HandshakeError as error:
        one_line(error)
        return
    assert parse_extensions([", ".join(map(str, found))] if found else []) == found
    accepted = answer_offers(found, config)
    if accepted is not None:
        parameters, element = accepted
        assert 9 <= parameters.server_max_window_bits <= config.max_window_bits
        assert 8 <= parameters.client_max_window_bits <= 15
        assert len(parse_extensions([element])) == 1
    for configured in (config, None):
        try:
            check_answer(found, configured)
        except HandshakeError as error:
            one_line(error)
    ours = answer_offers(parse_extensions([offer(config)]), config)
    assert ours is not None
    assert check_answer(parse_extensions([ours[1]]), config) == ours[0]


# permessage-deflate.


def inflate(data: bytes) -> None:
    """Compressed data of a peer, in messages of which a byte in front of each tells the size."""
    (bits, takeover, size), rest = options(data, 7, 2, len(SIZES))
    limit = SIZES[size]
    payloads = []
    while rest:
        payloads.append(rest[1 : 1 + rest[0]])
        rest = rest[1 + rest[0] :]
    model = Inflate(9 + bits, bool(takeover))
    expected: list[Event] = []
    for payload in payloads:
        try:
            content = model(payload, True)
        except Broken:
            expected.append(("error", (1007, 1009)))
            break
        if limit is not None and len(content) > limit:
            expected.append(("error", (1009,)))
            break
        expected.append(("message", content))
    for way in range(3):
        for release in (False, True):
            compare(inflated(Inflater(9 + bits, bool(takeover)), payloads, way, limit, release), expected)
    if limit is None:
        compare(inflated(Inflater(9 + bits, bool(takeover)), payloads, 3, limit), expected)


def inflated(
    inflater: Inflater, payloads: list[bytes], way: int, limit: int | None, release: bool = False
) -> Iterator[Event]:
    """Inflate payloads.

    :param way: in which a payload is cut; 3: whole, and its content comes in pieces.
    :param release: give back the memory in front of each.
    """
    for payload in payloads:
        content = b""
        if release:
            inflater.release()
        parts = [payload] if way == 3 else (list(cuts(payload))[way] or [b""])
        try:
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                if way == 3:
                    for piece in inflater.inflate_pieces(part, last=last, piece_size=100):
                        assert 1 <= len(piece) <= 100
                        content += piece
                else:
                    content += inflater.inflate(part, last=last, limit=limit, already=len(content))
                assert limit is None or len(content) <= limit
        except ProtocolError as error:
            assert isinstance(error, MessageTooBig) is (error.close_code == 1009)
            if isinstance(error, MessageTooBig):
                assert limit is not None and error.size == limit + 1
            one_line(error)
            yield "error", (error.close_code,)
            return
        yield "message", content


def deflate(data: bytes) -> None:
    """Messages, compressed and inflated again."""
    (bits, takeover, level, way), rest = options(data, 7, 2, 9, 3)
    config = Deflate(level=1 + level, mem_level=1 + level)
    compressor = Compressor(9 + bits, bool(takeover), config)
    inflater = Inflater(9 + bits, bool(takeover))
    model = Inflate(9 + bits, bool(takeover))
    for message in rest.split(b"\n"):
        message *= 1 + (message[0] if message else 0) % 40
        parts = list(cuts(message))[way] or [b""]
        pieces = [compressor.compress_piece(part, last=False) for part in parts[:-1]]
        for before, piece in zip(parts, pieces, strict=False):
            # All that has been put in so far can be read.
            assert inflater.inflate(piece, last=False) == before
        end = compressor.compress_piece(parts[-1], last=True)
        assert inflater.inflate(end, last=True) == parts[-1]
        assert model(b"".join(pieces) + end, True) == message
        # What has fallen idle gives back its memory, one side without the other.
        if len(message) % 2:
            compressor.release()
        if len(message) % 3 == 1:
            inflater.release()


def one_line(error: Exception) -> None:
    """What goes to a log cannot forge a line of it, nor control a terminal, and is not long."""
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", str(error)), str(error)
    assert len(str(error)) < 2000


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (frames, request, response, extensions, inflate, deflate)
}
