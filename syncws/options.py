"""The options of a connection: each with its unit, its default and the meaning of ``None``, checked in one place.

:class:`Options` is a value; any thread may read it. Functions that take ``**options`` turn them into one with
:meth:`Options.of`, so that a misspelt name or an impossible value is an error where it was written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from .backlog import POLICIES
from .protocol.deflate import Deflate
from .protocol.fields import check_fields, check_subprotocols
from .protocol.origins import Origins, check_origins
from .transport_traced import Tracer, check_tracer

__all__ = ["Options", "check_number", "check_seconds"]

# Sizes and counts: at least this much, or the protocol cannot work.
_LEAST = {"max_message_size": 0, "max_fragments": 1, "max_backlog": 1}
# Durations that may be None: for ever.
_SECONDS = ("message_timeout", "send_timeout", "open_timeout", "close_timeout")


# Those that the keeper looks after: no finer than it looks.
_INTERVALS = ("ping_interval", "ping_timeout", "idle_timeout", "max_age")
_LEAST_INTERVAL = 0.1
# So many in a second, at least: one in a hundred seconds.
_RATES = ("max_messages_per_second", "max_control_frames_per_second")
_LEAST_RATE = 0.01


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be set for a connection.

    :param subprotocols: the subprotocols spoken, the preferred one first (RFC 6455, 1.9). Default: none.
    :param origins: server only. From which web pages connections are accepted: ``"same"`` (default): pages of the
        same host and port, and programs that send no ``Origin``; a sequence of patterns such as
        ``"https://example.com"``, ``"https://*.example.com"``, ``"http://localhost:*"``; ``None``: from anywhere.
    :param headers: extra header fields, on a server's 101 or a client's request: a mapping, or pairs of name and value.
    :param compression: permessage-deflate (RFC 7692): ``None`` or ``False`` (default): off; ``True``: with default
        settings; a :class:`~syncws.Deflate`: with these.
    :param max_message_size: bytes a received message may have. Default: 1 MiB; ``None``: no limit. Of a compressed
        message that is what it inflates to; on the wire it may have a quarter more, as what cannot be compressed grows.
    :param max_fragments: frames a received message may consist of. Default: 65536; ``None``: no limit.
    :param max_messages_per_second: messages that may be received in a second; over it, the connection is closed (1008).
        What has arrived while the program was doing something else may be received all at once. Default: ``None``: no
        limit.
    :param max_control_frames_per_second: in the same way, pings of the peer, and pongs that answer no ping. Default:
        1000; ``None``: no limit.
    :param message_timeout: seconds that may be spent on waiting for the rest of a message that has begun to arrive;
        of a message read with ``receive_stream()``, for the next piece. Default: 60; ``None``: no limit.
    :param send_timeout: seconds ``send()`` may wait for a peer that does not read. Default: 60; ``None``: for ever.
    :param max_backlog: bytes of messages of ``send(wait=False)`` that may wait for a peer that does not read. Default:
        1 MiB, and never more than 16384 messages; ``None``: no limit.
    :param backlog_policy: what happens over that limit. ``"close"`` (default): the connection is closed with 1013;
        ``"drop-oldest"``: the oldest messages that wait are dropped; ``"error"``: ``send()`` raises
        :exc:`~syncws.BacklogFull`.
    :param coalesce: while more messages wait to be received, let those that are sent leave together, a millisecond
        later at the most. Default: ``True``; ``False``: each leaves when it is sent.
    :param open_timeout: seconds for the opening handshake, TLS included. Default: 10; ``None``: for ever.
    :param ping_interval: seconds from one ping to the next, which goes out whatever else happens. Default: 20;
        ``None``: no pings.
    :param ping_timeout: seconds that the peer may take to answer one, or to show in another way that it is there; then
        the connection is dropped (1006). Default: 20; ``None``: for ever.
    :param idle_timeout: seconds without a message in either direction until the connection is closed with 1001, or up
        to a tenth more. Default: ``None``: never.
    :param max_age: seconds from the opening handshake until the connection is closed with 1001. Default: ``None``:
        never.
    :param close_timeout: seconds for the closing handshake, from our close frame to the end of the TCP connection.
        Default: 10; ``None``: for ever.
    :param trace: a :class:`syncws.trace.Recorder` that is to see every byte that passes. Default: ``None``: none.
    :raises TypeError: a value of another type.
    :raises ValueError: a value that cannot be.
    """

    subprotocols: Sequence[str] = ()
    origins: Origins = "same"
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    compression: Deflate | bool | None = None
    max_message_size: int | None = 2**20
    max_fragments: int | None = 65536
    max_messages_per_second: float | None = None
    max_control_frames_per_second: float | None = 1000
    message_timeout: float | None = 60.0
    send_timeout: float | None = 60.0
    max_backlog: int | None = 2**20
    backlog_policy: Literal["close", "drop-oldest", "error"] = "close"
    coalesce: bool = True
    open_timeout: float | None = 10.0
    close_timeout: float | None = 10.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    idle_timeout: float | None = None
    max_age: float | None = None
    trace: Tracer | None = None

    def __post_init__(self) -> None:
        # A frozen dataclass is filled in by object.__setattr__.
        assign = object.__setattr__
        assign(self, "subprotocols", check_subprotocols(self.subprotocols))
        assign(self, "origins", check_origins(self.origins))
        assign(self, "headers", tuple(check_fields(self.headers)))
        if not isinstance(self.compression, (Deflate, bool, type(None))):
            raise TypeError(f"compression must be True, None or a syncws.Deflate, not {self.compression!r}")
        if self.backlog_policy not in POLICIES:
            raise ValueError(f"backlog_policy must be one of {', '.join(POLICIES)}, not {self.backlog_policy!r}")
        if not isinstance(self.coalesce, bool):
            raise TypeError(f"coalesce must be True or False, not {self.coalesce!r}")
        check_tracer(self.trace)
        for name, least in _LEAST.items():
            check_number(name, getattr(self, name), int, least)
        for name in _SECONDS:
            check_number(name, getattr(self, name), (int, float), 0)
        for name in _INTERVALS:
            check_number(name, getattr(self, name), (int, float), _LEAST_INTERVAL)
        for name in _RATES:
            check_number(name, getattr(self, name), (int, float), _LEAST_RATE)

    @property
    def deflate(self) -> Deflate | None:
        """The settings for permessage-deflate; ``None`` if it is off."""
        if isinstance(self.compression, Deflate):
            return self.compression
        return Deflate() if self.compression else None

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The extra header fields, as pairs of name and value."""
        return list(self.headers)  # type: ignore[arg-type]  # pairs, as they have been checked

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Options:
        """Return the options named in a mapping, for example a function's ``**options``.

        :raises TypeError: there is no option of that name; the message lists those there are.
        """
        return cls().replace(options)

    def replace(self, options: Mapping[str, Any]) -> Options:
        """Return a copy with some options set to other values; errors as in :meth:`of`."""
        names = [field.name for field in dataclasses.fields(self)]
        for name in options:
            if name not in names:
                raise TypeError(f"there is no option {name!r}; the options are {', '.join(names)}")
        return dataclasses.replace(self, **options) if options else self


def check_seconds(name: str, value: float | None) -> float | None:
    """Return a number of seconds that a person has given, or ``None``.

    :raises TypeError: it is neither.
    """
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r}")
    return value


def check_number(
    name: str, value: object, types: type | tuple[type, ...], least: float, *, optional: bool = True
) -> None:
    """Check an option that is a number.

    :param optional: it may be ``None``.
    :raises TypeError: it is of another type than ``types``.
    :raises ValueError: it is less than ``least``.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, types):
        kind = "an int" if types is int else "a number"
        raise TypeError(f"{name} must be {kind}{' or None' if optional else ''}, not {value!r}")
    if not value >= least:  # type: ignore[operator]  # NaN is refused as well
        hint = ", or None for no limit" if optional else ""
        raise ValueError(f"{name} must be at least {least}{hint}; it is {value!r}")
