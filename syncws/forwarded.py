"""The address of a client that comes through proxies.

Whoever connects to a server can claim anything in ``X-Forwarded-For``, so that field is believed only from proxies that
are known. Each of them appends the address that it was contacted from. Read from the right, the first address that is
no trusted proxy's is therefore that of the client, and all to the left of it are claims.

Nothing here waits; any thread may call it. What peers send makes nothing here raise: what cannot be read is not
believed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["IPAddress", "TrustedProxies", "client_address", "parse_ip"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Among the networks of proxies: whoever connects to a Unix socket, which has no addresses.
_UNIX = "unix"
# RFC 4291, 2.5.5.2: IPv4-mapped IPv6 addresses.
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class TrustedProxies:
    """The proxies that are believed.

    :param networks: their addresses, or networks of them: ``["127.0.0.1", "10.0.0.0/8", "fd00::/8"]``. ``"unix"``
        stands for whoever connects to a Unix socket.
    :raises TypeError: it is a str instead of a list of them, or something else.
    :raises ValueError: an address or network that cannot be.
    """

    def __init__(self, networks: Iterable[Any]) -> None:
        if isinstance(networks, (str, bytes)) or not isinstance(networks, Iterable):
            raise TypeError(f"trusted_proxies must be a list of addresses and networks, not {networks!r}")
        networks = list(networks)
        self._unix = _UNIX in networks
        self._networks = [_network(network) for network in networks if network != _UNIX]

    def trusts(self, remote_address: Any) -> bool:
        """Whether a socket's peer is one of the proxies.

        :param remote_address: as :meth:`socket.socket.getpeername` gives it.
        """
        if isinstance(remote_address, tuple):
            return bool(self._networks) and self._trusts_ip(parse_ip(str(remote_address[0])))
        # None is the peer of a TCP connection that has gone already, who might be anybody.
        return self._unix and remote_address is not None

    def client_of(self, remote_address: Any, forwarded_for: Iterable[str]) -> IPAddress | None:
        """Return the address of a request's client; ``None`` if there is none, as with a Unix socket.

        :param remote_address: as for :meth:`trusts`.
        :param forwarded_for: the lines of ``X-Forwarded-For``.
        """
        client = parse_ip(str(remote_address[0])) if isinstance(remote_address, tuple) else None
        if not self.trusts(remote_address):
            return client
        for entry in reversed(",".join(forwarded_for).split(",")):
            address = parse_ip(_without_port(entry.strip()))
            if address is None:
                break  # whose is it? The nearest proxy is all that is known
            client = address
            if not self._trusts_ip(address):
                break
        return client

    def _trusts_ip(self, address: IPAddress | None) -> bool:
        return any(address in network for network in self._networks if address is not None)


def client_address(source: Any, trusted_proxies: Iterable[Any]) -> str:
    """Return the IP address that a WebSocket or a WSGI request comes from; ``""`` if it has none.

    :param source: a :class:`~syncws.WebSocket`, or the environ of a WSGI app, on any host.
    :param trusted_proxies: the proxies whose ``X-Forwarded-For`` is believed, as for the option of that name.
    :raises TypeError: as :class:`TrustedProxies`.
    :raises ValueError: as :class:`TrustedProxies`.
    """
    remote: Any
    if isinstance(source, Mapping):
        address = source.get("REMOTE_ADDR", "")
        remote, lines = (address, 0) if address else "", [source.get("HTTP_X_FORWARDED_FOR", "")]
    else:
        remote, lines = source.remote_address, source.headers.get_all("X-Forwarded-For")
    client = TrustedProxies(trusted_proxies).client_of(remote, lines)
    return "" if client is None else str(client)


def parse_ip(text: str) -> IPAddress | None:
    """Return the address that a text stands for; ``None`` if that is none.

    An IPv4 address that a socket for both kinds shows as one of IPv6 is returned as what it is.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(given: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if isinstance(given, (int, bytes)):  # for ipaddress, these are addresses too
        raise TypeError(f"a trusted proxy is an address or a network such as '10.0.0.0/8', not {given!r}")
    try:
        network = ipaddress.ip_network(given)
    except ValueError as error:
        raise ValueError(f"trusted_proxies: {error}; write '10.0.0.1', '10.0.0.0/8', 'fd00::/8' or 'unix'") from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        # An IPv4 network, as a socket for both kinds shows it; the addresses are compared as what they are.
        bits = network.prefixlen - _MAPPED.prefixlen
        return ipaddress.IPv4Network((network.network_address.packed[12:], bits))
    return network


def _without_port(text: str) -> str:
    """Some proxies write ``192.0.2.1:1234`` or ``[2001:db8::1]:1234``."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
