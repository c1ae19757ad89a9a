"""syncws.protocol.negotiation: every parameter in offers and answers, and that both sides agree on the same."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import HandshakeError
from syncws.protocol.deflate import Deflate, Parameters, compressor_for, inflater_for
from syncws.protocol.extensions import parse_extensions
from syncws.protocol.negotiation import answer_offers, check_answer, offer

LARGEST = Deflate(max_window_bits=15)
SMALL = Deflate(max_window_bits=10)
FRESH = Deflate(max_window_bits=15, context_takeover=False)
NAME = "permessage-deflate"
PLAIN_FRESH = f"{NAME}; client_no_context_takeover; client_max_window_bits"


def answer(offers: str, config: Deflate) -> tuple[Parameters, str] | None:
    return answer_offers(parse_extensions([offers]), config)


def check(answered: str, config: Deflate | None) -> Parameters | None:
    return check_answer(parse_extensions([answered]), config)


@pytest.mark.parametrize(
    ("config", "offers"),
    [
        (LARGEST, f"{NAME}; client_max_window_bits"),
        (
            FRESH,
            f"{NAME}; server_no_context_takeover; client_no_context_takeover; client_max_window_bits, {PLAIN_FRESH}",
        ),
        (
            SMALL,
            f"{NAME}; server_max_window_bits=10; client_max_window_bits=10, {NAME}; client_max_window_bits",
        ),
        (
            Deflate(max_window_bits=9, context_takeover=False),
            (
                f"{NAME}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; "
                f"client_max_window_bits=9, {PLAIN_FRESH}"
            ),
        ),
    ],
)
def test_offer(config: Deflate, offers: str) -> None:
    assert offer(config) == offers


@pytest.mark.parametrize(
    ("config", "offered", "answered", "parameters"),
    [
        (LARGEST, "", "", Parameters(False, False, 15, 15)),
        (LARGEST, "; server_no_context_takeover", "; server_no_context_takeover", Parameters(True, False, 15, 15)),
        (LARGEST, "; client_no_context_takeover", "; client_no_context_takeover", Parameters(False, True, 15, 15)),
        (LARGEST, "; server_max_window_bits=9", "; server_max_window_bits=9", Parameters(False, False, 9, 15)),
        (LARGEST, '; server_max_window_bits="12"', "; server_max_window_bits=12", Parameters(False, False, 12, 15)),
        # RFC 7692, 7.1.2.1: accepted by including it.
        (LARGEST, "; server_max_window_bits=15", "; server_max_window_bits=15", Parameters(False, False, 15, 15)),
        (LARGEST, "; client_max_window_bits", "", Parameters(False, False, 15, 15)),
        (LARGEST, "; client_max_window_bits=15", "", Parameters(False, False, 15, 15)),
        (LARGEST, "; client_max_window_bits=11", "; client_max_window_bits=11", Parameters(False, False, 15, 11)),
        # A client that writes with 8 is read with 9.
        (LARGEST, "; client_max_window_bits=8", "; client_max_window_bits=8", Parameters(False, False, 15, 8)),
        # What the server asks for itself: the client's window only if the client has offered that.
        (SMALL, "", "; server_max_window_bits=10", Parameters(False, False, 10, 15)),
        (
            SMALL,
            "; client_max_window_bits",
            "; server_max_window_bits=10; client_max_window_bits=10",
            Parameters(False, False, 10, 10),
        ),
        (
            SMALL,
            "; client_max_window_bits=9; server_max_window_bits=12",
            "; server_max_window_bits=10; client_max_window_bits=9",
            Parameters(False, False, 10, 9),
        ),
        (FRESH, "", "; server_no_context_takeover; client_no_context_takeover", Parameters(True, True, 15, 15)),
        (
            FRESH,
            "; client_no_context_takeover; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover",
            Parameters(True, True, 15, 15),
        ),
    ],
)
def test_server_accepts(config: Deflate, offered: str, answered: str, parameters: Parameters) -> None:
    assert answer(NAME + offered, config) == (parameters, NAME + answered)


DECLINED = [
    "; unknown",
    "; unknown=1",
    "; Server_no_context_takeover",
    "; server_no_context_takeover; server_no_context_takeover",
    "; client_max_window_bits; client_max_window_bits=10",
    "; server_max_window_bits=10; server_max_window_bits=10",
    "; server_no_context_takeover=1",
    '; client_no_context_takeover="true"',
    "; server_max_window_bits",
    "; server_max_window_bits=7",
    "; server_max_window_bits=16",
    "; server_max_window_bits=08",
    "; server_max_window_bits=012",
    "; server_max_window_bits=+12",
    "; server_max_window_bits=1e1",
    "; server_max_window_bits=-15",
    "; client_max_window_bits=7",
    "; client_max_window_bits=16",
    "; client_max_window_bits=09",
    "; client_max_window_bits=x",
    # zlib cannot write with a window of 2**8 bytes.
    "; server_max_window_bits=8",
]


@pytest.mark.parametrize("offered", DECLINED)
def test_server_declines_and_goes_on_to_the_next_offer(offered: str) -> None:
    assert answer(NAME + offered, LARGEST) is None
    accepted = (Parameters(False, False, 12, 15), f"{NAME}; server_max_window_bits=12")
    assert answer(f"{NAME}{offered}, {NAME}; server_max_window_bits=12, {NAME}", LARGEST) == accepted
    assert answer(f"{NAME}; server_max_window_bits=12, {NAME}{offered}", LARGEST) == accepted


def test_server_ignores_other_extensions() -> None:
    assert answer("x-webkit-deflate-frame, permessage-bzip2; level=9", LARGEST) is None
    assert answer(f"x-webkit-deflate-frame, {NAME}", LARGEST) == (Parameters(False, False, 15, 15), NAME)
    assert answer_offers([], LARGEST) is None


@pytest.mark.parametrize(
    ("config", "answered", "parameters"),
    [
        (LARGEST, "", Parameters(False, False, 15, 15)),
        (LARGEST, "; server_no_context_takeover", Parameters(True, False, 15, 15)),
        (LARGEST, "; client_no_context_takeover", Parameters(False, True, 15, 15)),
        (LARGEST, "; server_max_window_bits=8", Parameters(False, False, 8, 15)),
        (LARGEST, '; client_max_window_bits="9"', Parameters(False, False, 15, 9)),
        (LARGEST, "; client_max_window_bits=15; server_max_window_bits=10", Parameters(False, False, 10, 15)),
        # The second of the two offers was accepted: the server is as it likes, the client as it has announced.
        (SMALL, "", Parameters(False, False, 15, 10)),
        (SMALL, "; client_max_window_bits=12", Parameters(False, False, 15, 10)),
        (SMALL, "; server_max_window_bits=10; client_max_window_bits=9", Parameters(False, False, 10, 9)),
        (FRESH, "", Parameters(False, True, 15, 15)),
        (FRESH, "; server_no_context_takeover; client_no_context_takeover", Parameters(True, True, 15, 15)),
    ],
)
def test_client_accepts(config: Deflate, answered: str, parameters: Parameters) -> None:
    assert check(NAME + answered, config) == parameters


@pytest.mark.parametrize("config", [None, LARGEST])
def test_server_may_answer_without_extensions(config: Deflate | None) -> None:
    assert check_answer([], config) is None


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ("permessage-bzip2", "has not offered"),
        (f"{NAME}, permessage-bzip2", "has not offered"),
        (f"{NAME}, {NAME}", "accepted 2 times"),
        (f"{NAME}; unknown=1", "unknown is not a parameter"),
        (
            f"{NAME}; server_no_context_takeover; server_no_context_takeover",
            "server_no_context_takeover is there twice",
        ),
        (f"{NAME}; server_no_context_takeover=1", "server_no_context_takeover has a value"),
        (f"{NAME}; server_max_window_bits", "server_max_window_bits must have a value of 8 to 15"),
        (f"{NAME}; server_max_window_bits=16", "server_max_window_bits must have a value of 8 to 15"),
        # RFC 7692, 7.1.2.2: in an answer it must have a value.
        (f"{NAME}; client_max_window_bits", "client_max_window_bits must have a value of 8 to 15"),
        (f"{NAME}; client_max_window_bits=010", "client_max_window_bits must have a value of 8 to 15"),
        (f"{NAME}; client_max_window_bits=8", "client_max_window_bits=8 is smaller than zlib can do"),
    ],
)
def test_client_refuses(answered: str, reason: str) -> None:
    with pytest.raises(HandshakeError, match=reason) as caught:
        check(answered, LARGEST)
    assert answered in str(caught.value)
    assert caught.value.status == 101


@pytest.mark.parametrize("answered", ["x" * 60_000, f"permessage-deflate; {'x' * 60_000}"])
def test_a_long_answer_does_not_make_a_long_message(answered: str) -> None:
    with pytest.raises(HandshakeError) as refused:
        check(answered, Deflate())
    assert len(str(refused.value)) < 600


def test_client_that_has_offered_nothing_refuses_any_answer() -> None:
    with pytest.raises(HandshakeError, match="has not offered"):
        check(NAME, None)


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_server_that_is_asked_for_a_smaller_window_obeys(window_bits: int) -> None:
    agreed = answer(f"{NAME}; server_max_window_bits={window_bits}", LARGEST)
    assert agreed is not None
    # A repetition that fits only into a larger window.
    message = random.Random(window_bits).randbytes(2**window_bits + 1) * 2
    payload = compressor_for(agreed[0], LARGEST, "server").compress(message)
    # Byte by byte, because zlib also looks back at what it has written in the same call.
    reader = zlib.decompressobj(-window_bits)
    received = bytearray()
    while piece := reader.decompress(payload, 1):
        received += piece
        payload = reader.unconsumed_tail
    assert received == message


configs = st.builds(
    Deflate,
    level=st.integers(1, 9),
    mem_level=st.integers(1, 9),
    context_takeover=st.booleans(),
    max_window_bits=st.integers(9, 15),
)


@given(configs, configs)
def test_any_client_and_any_server_understand_each_other(client: Deflate, server: Deflate) -> None:
    answered = answer(offer(client), server)
    assert answered is not None
    on_server, element = answered
    on_client = check(element, client)
    assert on_client == on_server
    for config in (client, server):
        assert on_client.server_max_window_bits <= config.max_window_bits
        assert on_client.client_max_window_bits <= config.max_window_bits
        assert config.context_takeover or on_client.server_no_context_takeover
        assert config.context_takeover or on_client.client_no_context_takeover
    message = bytes(range(256)) * 200
    to_server, from_client = compressor_for(on_client, client, "client"), inflater_for(on_server, "server")
    to_client, from_server = compressor_for(on_server, server, "server"), inflater_for(on_client, "client")
    for _ in range(2):
        assert from_client.inflate(to_server.compress(message), last=True) == message
        assert from_server.inflate(to_client.compress(message), last=True) == message
