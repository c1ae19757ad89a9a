"""One connection of a view: first HTTP, then, after a 101, frames; both directions, because one explains the other.

What a client sends behind a request for a WebSocket is frames or HTTP, by the server's answer; it waits for that.
Nothing is raised for what a peer has sent. One thread at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..http import DEFAULT_LIMITS, BadRequest
from ..protocol.deflate import Parameters
from ..protocol.fields import field_values
from ..protocol.handshake import RequestHead, ResponseHead, is_upgrade_request
from ..protocol.headers import Headers
from ..transport_traced import Sender
from .bodies import Body
from .heads import (
    Asked,
    NeedMore,
    accept_of,
    fields_of,
    judge_request,
    judge_response,
    malformed_at,
    place_of,
    read_request,
    read_response,
)
from .items import End, Handshake, Item, Problem
from .recorder import Chunk
from .stream import FrameStream, split_section

__all__ = ["Connection"]

# How long a first line may be that has not come to its end, and a head, in bytes.
_LONGEST_LINE = DEFAULT_LIMITS.max_target + 64
_LONGEST_HEAD = DEFAULT_LIMITS.max_head
# How many bytes of a client may wait for the server's answer; no honest one sends frames before that.
_MOST_HELD = 2**20
_REBUILT = "written again: a web server had read the request before syncws did"


class _Held:
    """What a client has sent that waits for the server's answer. However it comes, it takes no more than its size."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._latest: Chunk | None = None
        self._end: Chunk | None = None

    def add(self, chunk: Chunk) -> None:
        self.data += chunk.data
        if chunk.data:
            self._latest = chunk
        else:
            self._end = chunk

    def chunks(self) -> list[Chunk]:
        """Return it as one chunk, and the end if that has come."""
        data = [] if self._latest is None else [self._latest._replace(data=bytes(self.data))]
        return data if self._end is None else [*data, self._end]


class _Side:
    """One direction, as far as it has been read.

    :ivar offset: how many bytes have been read.
    :ivar head: the bytes of a head that is arriving.
    :ivar tried: so many of them are whole lines, and no whole head.
    :ivar body: the body that is arriving.
    :ivar frames: what reads the frames, once the connection is open.
    :ivar held: what waits for the other side's answer; ``None``: nothing has to wait.
    :ivar opaque: what comes is not looked at any more.
    """

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.offset = 0
        self.head = bytearray()
        self.tried = 0
        self.rebuilt = False
        self.body: Body | None = None
        self.frames: FrameStream | None = None
        self.held: _Held | None = None
        self.opaque = False
        self.ended = False


class Connection:
    """Reads one connection.

    :param shown: how much of payloads and texts is shown.
    """

    def __init__(self, number: int, shown: int) -> None:
        self._number = number
        self._shown = shown
        self._sides: dict[Sender, _Side] = {"client": _Side("client"), "server": _Side("server")}
        self._asked: deque[Asked] = deque()  # requests that have not been answered
        self._opened = False

    @property
    def over(self) -> bool:
        """Whether both sides have ended."""
        return all(side.ended for side in self._sides.values())

    def open(self, parameters: Parameters | None) -> None:
        """From here on, both sides send frames."""
        self._opened = True
        for side in self._sides.values():
            if not side.opaque:
                side.frames = FrameStream(self._number, side.sender, side.offset, parameters, self._shown)

    def feed(self, chunk: Chunk) -> list[Item]:
        """Take the next chunk; return what it has completed."""
        items: list[Item] = []
        other = self._sides["server" if chunk.sender == "client" else "client"]
        if other.frames is not None:
            # Whoever answers to a broken frame does not wait for the rest of it.
            items += other.frames.flush(chunk.time)
        side = self._sides[chunk.sender]
        if side.held is None:
            items += self._take(side, chunk)
            return items
        side.held.add(chunk)
        if len(side.held.data) > _MOST_HELD:
            message = f"more than {_MOST_HELD} bytes before the request was answered: nothing of them is looked at"
            byte = bytes(side.held.data[:1])
            items.append(self._problem(side, chunk.time, side.offset, byte, message, "RFC 6455, 4.1"))
            items += self._give_up(side, side.held)
        return items

    def _give_up(self, side: _Side, held: _Held) -> Iterator[Item]:
        """Do not look at what a client has sent behind its request, but for its end."""
        side.held, side.opaque = None, True
        for chunk in held.chunks():
            yield from self._take(side, chunk)

    def finish(self, time: float) -> list[Item]:
        """Return what is to be said because the recording ends here."""
        client = self._sides["client"]
        if client.held is not None and client.held.chunks() and not self._opened:
            # The answer is not in the recording. It was a WebSocket that was asked for, so take it for one.
            self.open(None)
            return [*self._release(time), *self.finish(time)]
        return [item for side in self._sides.values() for item in self._unfinished(side, time, recording=True)]

    def _take(self, side: _Side, chunk: Chunk) -> Iterator[Item]:
        if not chunk.data:
            yield from self._unfinished(side, chunk.time, recording=False)
            side.ended = True
            yield End(self._number, chunk.time, side.sender)
            client = self._sides["client"]
            if side.sender == "server" and client.held is not None:
                yield from self._give_up(client, client.held)  # there will be no answer
            return
        data = chunk.data
        while data:
            if side.held is not None:
                side.held.add(chunk._replace(data=data))
                return
            if side.frames is not None:
                yield from side.frames.feed(chunk.time, data)
                return
            if side.opaque:
                return
            if side.body is not None:
                rest = side.body.take(data)
                side.offset += len(data) - len(rest)
                data = rest
                if side.body.complete:
                    side.body = None
            else:
                side.rebuilt = side.rebuilt or chunk.rebuilt
                position, items = self._take_head(side, chunk.time, data)
                data = data[position:]
                yield from items
                if side.sender == "server":
                    yield from self._release(chunk.time)

    def _release(self, time: float) -> Iterator[Item]:
        """Read what the client has sent meanwhile, if that does not have to wait any more."""
        client = self._sides["client"]
        if client.held is None or (self._asked and not self._opened):
            return
        held, client.held = client.held, None
        for chunk in held.chunks():
            yield from self._take(client, chunk._replace(time=max(time, chunk.time)))

    def _take_head(self, side: _Side, time: float, data: bytes) -> tuple[int, list[Item]]:
        """Take bytes of a head, no more than belong to it; return how many, and what there is to say of it."""
        for position in range(len(data)):
            side.head.append(data[position])
            # RFC 9112, 2.2: empty lines before a head are ignored.
            if side.head == b"\r\n":
                side.offset += 2
                side.head.clear()
                continue
            size = len(side.head)
            if not (data[position] == 10 or size == 1 or size in (_LONGEST_LINE + 1, _LONGEST_HEAD + 1)):
                continue
            if side.head == b"\r":
                continue
            try:
                items = self._on_head(side, time, bytes(side.head))
            except NeedMore:
                side.tried = size if data[position] == 10 else side.tried
                continue
            except BadRequest as error:
                return position + 1, [self._broken_head(side, time, error)]
            side.offset += size
            side.head.clear()
            side.tried, side.rebuilt = 0, False
            return position + 1, items
        return len(data), []

    def _on_head(self, side: _Side, time: float, data: bytes) -> list[Item]:
        if side.sender == "client":
            return self._on_request(side, time, data, read_request(data))
        return self._on_response(side, time, data, read_response(data))

    def _broken_head(self, side: _Side, time: float, error: BadRequest) -> Problem:
        """Give a direction up whose head cannot be read."""
        side.opaque = True
        if side.sender == "client":
            self._asked.append(Asked(None, False))
        data = bytes(side.head)
        if error.message.startswith("malformed head"):
            place = malformed_at(data, response=side.sender == "server")
        elif data.endswith(b"\r\n\r\n"):  # a field is missing or wrong as a whole
            place = place_of(data, error.message)
        else:  # it is in the line that has come last
            place = min(side.tried, len(data) - 1)
        message, section = split_section(error.message)
        byte = data[place : place + 1]
        return self._problem(side, time, side.offset + place, byte, message, section)

    def _on_request(self, side: _Side, time: float, data: bytes, head: RequestHead) -> list[Item]:
        websocket = is_upgrade_request(head)
        self._asked.append(Asked(head, websocket))
        if websocket:
            side.held = _Held()
        body = Body(head.headers, until_end=False)
        side.body = None if body.complete else body
        items: list[Item] = [self._handshake(side, time, data, head.headers)]
        error = judge_request(head)
        if error is not None:
            message, section = split_section(str(error))
            place = place_of(data, message)
            message += f"; the answer is {error.status}"
            byte = data[place : place + 1]
            items.append(self._problem(side, time, side.offset + place, byte, message, section))
        return items

    def _on_response(self, side: _Side, time: float, data: bytes, head: ResponseHead) -> list[Item]:
        interim = head.status < 200 and head.status != 101
        if interim:
            return [self._handshake(side, time, data, head.headers)]
        asked = self._asked.popleft() if self._asked else Asked(None, False)
        item = self._handshake(side, time, data, head.headers, asked, head)
        if head.status != 101:
            method = asked.head.method if asked.head is not None else "GET"
            body = Body.of_response(head.status, head.headers, method)
            side.body = None if body.complete else body
            return [item]
        names = [value.lower() for value in field_values(head.headers, "Upgrade")]
        if not asked.websocket and "websocket" not in names:
            for each in self._sides.values():
                each.opaque = True  # some other protocol
            return [item]
        # Where the request is not known, nobody can tell whether this is an answer to it.
        parameters, error = judge_response(head, asked) if asked.head is not None else (None, None)
        problems: list[Item] = []
        if error is not None:
            message, section = split_section(str(error))
            place = place_of(data, message)
            problems = [self._problem(side, time, side.offset + place, data[place : place + 1], message, section)]
        side.offset += len(data)  # the frames are counted from here
        self.open(parameters)
        side.offset -= len(data)
        return [item, *problems]

    def _handshake(
        self,
        side: _Side,
        time: float,
        data: bytes,
        headers: Headers,
        asked: Asked | None = None,
        response: ResponseHead | None = None,
    ) -> Handshake:
        return Handshake(
            kind="request" if side.sender == "client" else "response",
            connection=self._number,
            time=time,
            sender=side.sender,
            offset=side.offset,
            line=data.partition(b"\r\n")[0].decode("latin-1"),
            fields=fields_of(headers, response=side.sender == "server"),
            note=_REBUILT if side.rebuilt else "",
            hex=data.hex(),
            accept=accept_of(asked, response) if asked is not None and response is not None else None,
        )

    def _unfinished(self, side: _Side, time: float, *, recording: bool) -> list[Item]:
        if side.ended:
            return []
        if side.frames is not None:
            return side.frames.end(time, recording=recording)
        if side.head and not side.opaque:
            side.opaque = True
            what = "the recording ends" if recording else "the connection ends"
            message = f"{what} in the middle of a head"
            return [self._problem(side, time, side.offset + len(side.head), b"", message, "RFC 9112, 8")]
        return []

    def _problem(self, side: _Side, time: float, offset: int, byte: bytes, message: str, section: str) -> Problem:
        return Problem(self._number, time, side.sender, offset, byte.hex() or None, message, None, section)
