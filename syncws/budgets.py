"""What a server may have at the same time: connections, opening handshakes, connections of one address.

A :class:`Budget` says how much; :class:`Places` counts, and gives each connection a :class:`Place`. A connection takes
its place when it is accepted. Its opening handshake is in progress from then on until the head of its first request is
complete, TLS included. What exceeds the budget is an :class:`OverBudget`, which says what the client is to be answered;
the first of a row has been logged by then.

The address that a connection counts for is that of its TCP peer, for as long as the connection lasts. If the peer is a
trusted proxy, it is the client's, for as long as the request lasts: one connection of a proxy serves many clients.

The methods may be called from any thread or greenlet; none of them waits.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .bursts import Bursts
from .errors import HandshakeError
from .forwarded import TrustedProxies
from .protocol.headers import Headers

__all__ = ["Budget", "OverBudget", "Place", "Places"]

# How soon, in seconds, a refused client should try again.
_RETRY_AFTER = "5"
# The part of an IPv6 address that tells one site from another; a host chooses the rest as it likes (RFC 8981).
_SITE = 64

# What a client is counted as; None: it is not.
_Client = ipaddress.IPv4Address | ipaddress.IPv6Network | None
_Refusal = tuple[str, int, str]  # the option that allows no more, the status to answer, and why
# What a server counts a refusal as, by that option.
_REASONS = {
    "max_connections": "connections",
    "max_handshakes": "handshakes",
    "max_connections_per_address": "address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much there may be at the same time; ``None``: no limit.

    :param max_connections: connections.
    :param max_handshakes: connections whose first request is not complete.
    :param max_connections_per_address: connections of one IPv4 address, or one /64 network of IPv6.
    :param trusted_proxies: who is believed to know the client's address.
    """

    max_connections: int | None = None
    max_handshakes: int | None = None
    max_connections_per_address: int | None = None
    trusted_proxies: TrustedProxies = field(default_factory=lambda: TrustedProxies(()))


class OverBudget(HandshakeError):
    """The server does not serve this client now; status, header fields and message are what the client is answered.

    :param status: 503, or 429 if it is the client that has too much.
    :param reason: one of the :data:`~syncws.stats.REASONS`.
    """

    def __init__(self, status: int = 503, reason: str = "other") -> None:
        # RFC 6585, 4: 429 SHOULD explain, and MAY say how long to wait; RFC 9110, 15.6.4: so does 503.
        text = "Too many connections from your address" if status == 429 else "The server is busy"
        super().__init__(f"{text}; try again later.", status=status, headers=[("Retry-After", _RETRY_AFTER)])
        self.reason = reason


class Place:
    """The place of one connection. This one is of a connection that nobody counts."""

    __slots__ = ()

    def admit(self, headers: Headers) -> None:
        """Note that the head of a request is complete.

        :raises OverBudget: the request must not be served.
        """

    def idle(self) -> None:
        """Note that a request has been served, and the connection waits for another one."""

    def leave(self) -> None:
        """Note that the connection is over; once more changes nothing."""

    def client_of(self, headers: Headers) -> str:
        """Return the IP address of the client behind a proxy that is trusted; ``""`` if there is no such proxy."""
        return ""


class Places:
    """The places that are taken.

    :param lock: guards what is here; reentrant, if a signal handler may interrupt who holds it.
    :param budget: how many there are.
    :param bursts: logs what is refused.
    """

    def __init__(self, lock: Any, budget: Budget, bursts: Bursts) -> None:
        self._lock = lock
        self._budget = budget
        self._bursts = bursts
        self._taken = 0
        self._handshakes = 0
        self._of_client: Counter[_Client] = Counter()

    def take(self, remote_address: Any) -> Place:
        """Return a place for a connection that has been accepted.

        :param remote_address: of its peer, as :meth:`socket.socket.accept` returns it.
        :raises OverBudget: there is none.
        """
        proxied = self._budget.trusted_proxies.trusts(remote_address)
        # A proxy's connection counts for nobody until it has a request.
        client = None if proxied else self._client_of(remote_address, ())
        place = _CountedPlace(self, remote_address, client, proxied=proxied)  # first: there may be no memory for it
        with self._lock:
            refusal = self._full() or self._full_for(client)
            if refusal is None:
                self._taken += 1
                self._handshakes += 1
                self._add(client)
        if refusal is not None:
            raise self._over(*refusal)
        return place

    def end_handshake(self) -> None:
        """Note that the opening handshake of a connection is over."""
        with self._lock:
            self._handshakes -= 1

    def move(self, before: _Client, remote_address: Any, forwarded_for: Iterable[str]) -> _Client:
        """Let the connection of a proxy count for another client than before; return what that one is counted as.

        :raises OverBudget: it has too many; the connection goes on to count for the one before.
        """
        client = self._client_of(remote_address, forwarded_for)
        with self._lock:
            refusal = self._full_for(client)
            if refusal is None:
                self._remove(before)
                self._add(client)
        if refusal is not None:
            raise self._over(*refusal)
        return client

    def forget(self, client: _Client) -> None:
        """Let a connection count for nobody."""
        with self._lock:
            self._remove(client)

    def give_back(self) -> None:
        """Note that there is a connection less."""
        with self._lock:
            self._taken -= 1

    def client_of(self, remote_address: Any, headers: Headers) -> str:
        """Return the IP address of a proxy's client; ``""`` if it has none."""
        proxies = self._budget.trusted_proxies
        return str(proxies.client_of(remote_address, headers.get_all("X-Forwarded-For")) or "")

    def _add(self, client: _Client) -> None:
        if client is not None:
            self._of_client[client] += 1

    def _remove(self, client: _Client) -> None:
        if client is not None:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]  # there are more addresses than a process can remember

    def _client_of(self, remote_address: Any, forwarded_for: Iterable[str]) -> _Client:
        """Return what the client is counted as; ``None`` if it is not."""
        if self._budget.max_connections_per_address is None:
            return None
        address = self._budget.trusted_proxies.client_of(remote_address, forwarded_for)
        if isinstance(address, ipaddress.IPv6Address):
            return ipaddress.IPv6Network((address, _SITE), strict=False)
        return address

    def _full(self) -> _Refusal | None:
        """Return why there may not be another connection."""
        budget = self._budget
        if budget.max_connections is not None and self._taken >= budget.max_connections:
            return "max_connections", 503, f"the server has {self._taken} connections"
        if budget.max_handshakes is not None and self._handshakes >= budget.max_handshakes:
            return "max_handshakes", 503, f"the server has {self._handshakes} handshakes in progress"
        return None

    def _full_for(self, client: _Client) -> _Refusal | None:
        """Return why there may not be another connection of a client."""
        if client is None:
            return None
        limit, count = self._budget.max_connections_per_address, self._of_client[client]
        if limit is None or count < limit:
            return None
        return "max_connections_per_address", 429, f"{client} has {count} connections"

    def _over(self, option: str, status: int, reason: str) -> OverBudget:
        message = f"refusing connections: {reason}, as many as there may be ({option})"
        self._bursts.note(f"refusing connections ({option})", message)
        return OverBudget(status, _REASONS[option])


class _CountedPlace(Place):
    """The place of a connection that is counted; used by one thread at a time.

    :param client: what the connection is counted as.
    :param proxied: the peer is a trusted proxy.
    """

    __slots__ = ("_client", "_left", "_opening", "_places", "_proxied", "_remote_address")

    def __init__(self, places: Places, remote_address: Any, client: _Client, *, proxied: bool) -> None:
        self._places = places
        self._remote_address = remote_address if proxied else None
        self._client = client
        self._proxied = proxied
        self._opening = True
        self._left = False

    def admit(self, headers: Headers) -> None:
        self._end_handshake()
        if self._proxied:
            self._client = self._places.move(self._client, self._remote_address, headers.get_all("X-Forwarded-For"))

    def idle(self) -> None:
        if self._proxied:
            self._forget_client()

    def leave(self) -> None:
        if self._left:
            return
        self._left = True
        self._end_handshake()
        self._forget_client()
        self._places.give_back()

    def client_of(self, headers: Headers) -> str:
        return self._places.client_of(self._remote_address, headers) if self._proxied else ""

    def _end_handshake(self) -> None:
        if self._opening:
            self._opening = False
            self._places.end_handshake()

    def _forget_client(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            self._places.forget(client)
