"""The address of a client behind proxies: who is believed, and how far."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest

from syncws.forwarded import TrustedProxies, client_address, parse_ip
from syncws.protocol.headers import Headers

PROXIES = ["127.0.0.1", "10.0.0.0/8", "fd00::/8", "unix"]


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        # Nobody who connects directly is believed.
        (("192.0.2.1", 5), [], "192.0.2.1"),
        (("192.0.2.1", 5), ["198.51.100.7"], "192.0.2.1"),
        (("2001:db8::1", 5, 0, 0), ["198.51.100.7"], "2001:db8::1"),
        # A proxy tells of its client, and of nothing that the client claims.
        (("10.1.2.3", 5), ["198.51.100.7"], "198.51.100.7"),
        (("10.1.2.3", 5), ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (("10.1.2.3", 5), ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (("10.1.2.3", 5), ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        # A proxy in front of a proxy.
        (("10.1.2.3", 5), ["203.0.113.9, 198.51.100.7, 10.0.0.1 ,127.0.0.1"], "198.51.100.7"),
        (("fd00::1", 5, 0, 0), ["2001:db8::2, fd00::2"], "2001:db8::2"),
        # All of them are proxies: the first one is a client as well.
        (("10.1.2.3", 5), ["10.0.0.9, 10.0.0.1"], "10.0.0.9"),
        # A proxy that says nothing, or what cannot be read.
        (("10.1.2.3", 5), [], "10.1.2.3"),
        (("10.1.2.3", 5), [""], "10.1.2.3"),
        (("10.1.2.3", 5), ["198.51.100.7, unknown"], "10.1.2.3"),
        (("10.1.2.3", 5), ["198.51.100.7, _secret, 10.0.0.1"], "10.0.0.1"),
        (("10.1.2.3", 5), ["198.51.100.7,"], "10.1.2.3"),
        (("10.1.2.3", 5), ["[::1"], "::1"),
        # With ports, and in the other ways to write an address.
        (("10.1.2.3", 5), ["198.51.100.7:1234"], "198.51.100.7"),
        (("10.1.2.3", 5), ["[2001:db8::2]:1234"], "2001:db8::2"),
        (("10.1.2.3", 5), ["[2001:db8::2]"], "2001:db8::2"),
        (("::ffff:10.1.2.3", 5, 0, 0), ["::ffff:198.51.100.7"], "198.51.100.7"),
        (("fe80::1%eth0", 5, 0, 2), ["198.51.100.7"], "fe80::1"),
        # Unix sockets.
        ("", ["198.51.100.7"], "198.51.100.7"),
        ("", [], ""),
    ],
)
def test_client(peer: Any, lines: list[str], client: str) -> None:
    ws = SimpleNamespace(remote_address=peer, headers=Headers([("x-forwarded-for", line) for line in lines]))
    assert client_address(ws, PROXIES) == client
    environ = {"REMOTE_ADDR": peer[0] if isinstance(peer, tuple) else ""}
    if lines:
        environ["HTTP_X_FORWARDED_FOR"] = ", ".join(lines)
    assert client_address(environ, PROXIES) == client


def test_nobody_is_believed_without_being_named() -> None:
    proxies = TrustedProxies(())
    for peer in ("127.0.0.1", 5), ("::1", 5, 0, 0), "", None:
        assert not proxies.trusts(peer)
    assert proxies.client_of("", ["198.51.100.7"]) is None
    assert str(proxies.client_of(("127.0.0.1", 5), ["198.51.100.7"])) == "127.0.0.1"
    assert client_address({}, ()) == ""


def test_networks_may_be_objects() -> None:
    proxies = TrustedProxies(iter([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_address("::1")]))
    assert proxies.trusts(("10.2.3.4", 1))
    assert proxies.trusts(("::1", 1, 0, 0))
    assert not proxies.trusts(("11.2.3.4", 1))
    assert not proxies.trusts("")


@pytest.mark.parametrize(
    ("networks", "error", "words"),
    [
        ("10.0.0.0/8", TypeError, "must be a list of addresses and networks, not '10.0.0.0/8'"),
        (b"10.0.0.0/8", TypeError, "must be a list"),
        (None, TypeError, "must be a list"),
        ([10], TypeError, "such as '10.0.0.0/8', not 10"),
        ([b"\x0a\0\0\1"], TypeError, "such as '10.0.0.0/8'"),
        (["*"], ValueError, "'\\*' does not appear to be an IPv4 or IPv6 network; write '10.0.0.1'"),
        (["10.0.0.1/8"], ValueError, "has host bits set"),
        (["proxy.example.com"], ValueError, "does not appear to be"),
    ],
)
def test_wrong_proxies(networks: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        TrustedProxies(networks)


def test_what_is_no_address() -> None:
    for text in "", "localhost", "1.2.3", "1.2.3.4.5", ":::", "0x7f000001", "1.2.3.4/8", "\u0661.1.1.1":
        assert parse_ip(text) is None


def test_a_tcp_peer_that_has_gone_may_be_anybody() -> None:
    proxies = TrustedProxies(["unix", "0.0.0.0/0"])
    assert not proxies.trusts(None)
    assert proxies.client_of(None, ["198.51.100.7"]) is None


def test_addresses_of_other_families_are_not_trusted() -> None:
    assert not TrustedProxies(["unix", "::/0"]).trusts((2, 1024))  # AF_VSOCK


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3"])
def test_ipv4_networks_in_the_form_of_sockets_for_both(network: str) -> None:
    proxies = TrustedProxies([network])
    assert proxies.trusts(("10.1.2.3", 5))
    assert proxies.trusts(("::ffff:10.1.2.3", 5, 0, 0))
    assert not proxies.trusts(("11.1.2.3", 5))
