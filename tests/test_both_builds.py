"""The compiled protocol against the same source in plain Python: the same frames, messages, errors and close codes.

Both run in this process; what arrives is anything, cut anywhere. Where no extension modules are, there is nothing to
compare.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import JSON, TAIL, contents, peer_final, peer_message
from pure_build import load

import syncws

if not syncws.compiled:
    pytest.skip(
        "this is the pure build, which has no other beside it; the compiled one compares", allow_module_level=True
    )

Step = tuple[Any, ...]

NAMES = ["mask", "frames", "parser", "messages", "zlibs", "compressor", "inflater", "deflate"]
COMPILED = {name: importlib.import_module(f"syncws.protocol.{name}") for name in NAMES}
PURE = {name: load(name) for name in NAMES}
KEY = bytes.fromhex("80fa21bd")
# Where the encoding of the length changes, where C types end, and around it.
SIZES = [0, 1, 125, 126, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**23 - 1, 2**23, 2**24]
BITS = (7, 8, 15, 16, 23, 24, 31, 32, 33, 62, 63)
LENGTHS = sorted({2**bits + more for bits in BITS for more in (-1, 0, 1)} | {2**64 - 1})


class Bytes(bytes):
    """Of a class of its own: compiled code takes no other than bytes."""


bits = st.integers(0, 255)
keys = st.binary(min_size=4, max_size=4)
payloads = st.one_of(
    st.binary(max_size=140),
    st.text(max_size=40).map(str.encode),
    st.integers(0, 70000).map(lambda size: b"\xe9" * size),
)
frames = st.builds(
    lambda opcode, payload, fin, rsv1, key: PURE["frames"].encode_frame(opcode, payload, fin, rsv1, key),
    st.sampled_from([0, 1, 2, 8, 9, 10]),
    payloads,
    st.booleans() | st.just(True),
    st.booleans() | st.just(False),
    st.none() | keys,
)
headers = st.builds(lambda first, second, rest: bytes((first, second)) + rest, bits, bits, st.binary(max_size=14))
wires = st.lists(st.one_of(frames, frames, headers, st.binary(max_size=30)), max_size=6).map(b"".join)
cuts = st.lists(st.one_of(st.integers(1, 20), st.integers(1, 70000)), min_size=1, max_size=8)
pulls = st.lists(
    st.sampled_from(["next_message", "next_message", "next_plain", "next_piece", "next_control"]),
    min_size=1,
    max_size=4,
)


# What is compressed, by itself or not, or looks like it.
deflated = st.one_of(
    st.builds(peer_message, contents),
    st.builds(peer_final, contents),
    st.builds(lambda data, size: peer_message(data)[:size], contents, st.integers(0, 400)),
    st.binary(max_size=8).map(lambda end: peer_message(JSON) + TAIL + end),
    st.binary(max_size=20),
    st.just(peer_message(bytes(70_000))),
)
deflated_frames = st.builds(
    lambda opcode, payload, key: PURE["frames"].encode_frame(opcode, payload, True, True, key),
    st.sampled_from([1, 2, 2]),
    deflated,
    st.none() | keys,
)
deflated_wires = st.lists(st.one_of(deflated_frames, deflated_frames, frames), max_size=6).map(b"".join)


def arriving(wire: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The parts in which the bytes arrive; they grow, lest a long wire be thousands of bytes."""
    start = number = 0
    while start < len(wire):
        size = sizes[number % len(sizes)] * (1 + number // 50)
        yield wire[start : start + size]
        start += size
        number += 1


def seen(item: Any) -> Step:
    """What a program can see of a frame, a piece or a message."""
    if type(item).__name__ == "Frame":
        names = ("opcode", "fin", "rsv1", "length", "payload", "first", "last")
        values = tuple(getattr(item, name) for name in names)
        return repr(item), values, tuple(map(type, values))
    return type(item).__name__, item


def seen_error(error: Exception) -> Step:
    return type(error).__name__, str(error), sorted(vars(error).items())


def outcome(call: Callable[..., object], *arguments: object) -> Step:
    try:
        return seen(call(*arguments))
    except Exception as error:
        return seen_error(error)


def frames_of(
    modules: dict[str, ModuleType], parts: list[bytes], *, masked: bool, rsv1_allowed: bool, gather: bool = False
) -> list[Step]:
    """All that a parser does with the parts."""
    parser = modules["parser"].Parser(masked=masked, rsv1_allowed=rsv1_allowed)
    steps: list[Step] = []
    for part in parts:
        parser.feed(part)
        try:
            while (frame := parser.next_frame(gather)) is not None:
                steps.append(("frame", *seen(frame)))
        except Exception as error:
            return [*steps, seen_error(error)]
        steps.append(("more", parser.mid_frame))
    return [*steps, parser.take_gathered()]


def plain_messages_of(
    modules: dict[str, ModuleType], parts: list[bytes], limit: int, *, masked: bool, rsv1_allowed: bool
) -> list[Step]:
    """All that a parser does with the parts, whole messages first; each is taken back once."""
    parser = modules["parser"].Parser(masked=masked, rsv1_allowed=rsv1_allowed)
    steps: list[Step] = []
    for part in parts:
        parser.feed(part)
        try:
            while True:
                steps.append(("plain", parser.has_plain()))
                if (payload := parser.next_plain(limit)) is not None:
                    parser.take_back()
                    again = parser.next_plain(limit)
                    steps.append((payload, again, parser.plain_is_text(), parser.plain_compressed()))
                elif (frame := parser.next_frame()) is not None:
                    steps.append(("frame", *seen(frame)))
                else:
                    break
        except Exception as error:
            return [*steps, seen_error(error)]
        steps.append(("more", parser.mid_frame))
    return steps


def messages_of(modules: dict[str, ModuleType], parts: list[bytes], pulls: list[str], **options: Any) -> list[Step]:
    """All that a reader does with the parts, pulled from in these ways in turn."""
    if (takeover := options.pop("takeover", None)) is not None:
        options["inflater"] = modules["inflater"].Inflater(15, takeover)
    reader = modules["messages"].MessageReader(**options)
    steps: list[Step] = []
    number = 0
    for part in parts:
        reader.feed(part)
        try:
            while True:
                pull = pulls[number % len(pulls)]
                number += 1
                item = getattr(reader, pull)()
                if item is None:
                    break
                steps.append((pull, *seen(item)))
        except Exception as error:
            steps.append(seen_error(error))
        steps.append((reader.unfinished, reader.owed, reader.streaming, reader.arrived, reader.ended, reader.completed))
        steps.append((reader.between(), reader.has_plain()))
    return steps


def both_parse(parts: list[bytes], *, masked: bool, rsv1_allowed: bool) -> list[Step]:
    options = {"masked": masked, "rsv1_allowed": rsv1_allowed}
    compiled = frames_of(COMPILED, parts, **options)
    assert compiled == frames_of(PURE, parts, **options)
    assert frames_of(COMPILED, parts, gather=True, **options) == frames_of(PURE, parts, gather=True, **options)
    for limit in (100, 2**63 - 1):
        assert plain_messages_of(COMPILED, parts, limit, **options) == plain_messages_of(PURE, parts, limit, **options)
    return compiled


def both_do(name: str, *arguments: object) -> Step:
    compiled = outcome(getattr(COMPILED["frames"], name), *arguments)
    assert compiled == outcome(getattr(PURE["frames"], name), *arguments)
    return compiled


def test_they_are_two_builds() -> None:
    for name in ("frames", "parser"):
        assert (COMPILED[name].__file__ or "").endswith((".so", ".pyd"))
        assert (PURE[name].__file__ or "").endswith(f"{name}.py")
    assert COMPILED["parser"].Parser is not PURE["parser"].Parser
    assert PURE["mask"].apply_mask.__module__.endswith("_mask_pure")


@given(wires, cuts, st.booleans(), st.booleans())
def test_any_bytes_in_any_parts_are_the_same_frames(
    wire: bytes, sizes: list[int], masked: bool, rsv1_allowed: bool
) -> None:
    both_parse(list(arriving(wire, sizes)), masked=masked, rsv1_allowed=rsv1_allowed)


@given(wires, cuts, st.sampled_from([0, 100, 2**31, 2**63 - 1]), st.booleans(), st.booleans())
def test_any_bytes_in_any_parts_are_the_same_plain_messages(
    wire: bytes, sizes: list[int], limit: int, masked: bool, rsv1_allowed: bool
) -> None:
    options = {"masked": masked, "rsv1_allowed": rsv1_allowed}
    parts = list(arriving(wire, sizes))
    assert plain_messages_of(COMPILED, parts, limit, **options) == plain_messages_of(PURE, parts, limit, **options)


@given(wires, cuts, pulls, st.booleans(), st.sampled_from([None, 0, 100, 70000]), st.sampled_from([None, 1, 3]))
def test_any_bytes_in_any_parts_are_the_same_messages(
    wire: bytes, sizes: list[int], pulls: list[str], masked: bool, max_size: int | None, max_fragments: int | None
) -> None:
    options = {"masked": masked, "max_message_size": max_size, "max_fragments": max_fragments}
    parts = list(arriving(wire, sizes))
    assert messages_of(COMPILED, parts, pulls, **options) == messages_of(PURE, parts, pulls, **options)


@settings(deadline=None)
@given(deflated_wires, cuts, pulls, st.booleans(), st.sampled_from([None, 0, 100, 70000]), st.booleans())
def test_any_compressed_bytes_in_any_parts_are_the_same_messages(
    wire: bytes, sizes: list[int], pulls: list[str], masked: bool, max_size: int | None, takeover: bool
) -> None:
    options = {"masked": masked, "max_message_size": max_size, "takeover": takeover}
    parts = list(arriving(wire, sizes))
    assert messages_of(COMPILED, parts, pulls, **options) == messages_of(PURE, parts, pulls, **options)


large_frames = st.builds(
    lambda opcode, size, key: PURE["frames"].encode_frame(opcode, b"\xc3\xa9" * size, True, False, key),
    st.sampled_from([1, 2, 2, 2]),
    st.integers(131_072 - 2, 200_000),
    st.none() | keys,
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.one_of(large_frames, frames), min_size=1, max_size=3).map(b"".join),
    st.lists(st.integers(1, 70000), min_size=1, max_size=8),
    pulls,
    st.booleans(),
    st.sampled_from([None, 262_144, 2**62]),
)
def test_large_frames_in_any_parts_are_the_same_messages(
    wire: bytes, sizes: list[int], pulls: list[str], masked: bool, max_size: int | None
) -> None:
    parts = list(arriving(wire, sizes))
    options: dict[str, Any] = {"masked": masked, "max_message_size": max_size}
    assert messages_of(COMPILED, parts, pulls, **options) == messages_of(PURE, parts, pulls, **options)


@settings(deadline=None)
@given(st.lists(contents, max_size=5), st.integers(1, 9), st.integers(9, 15), st.booleans(), st.booleans())
def test_compressors_of_both_write_the_same(
    messages: list[bytes], level: int, bits: int, takeover: bool, release: bool
) -> None:
    written = []
    for modules in (COMPILED, PURE):
        config = modules["deflate"].Deflate(level=level)
        compressor = modules["compressor"].Compressor(bits, takeover, config)
        payloads = []
        for message in messages:
            payloads.append(compressor.compress(message))
            payloads += [compressor.compress_piece(message, last=last) for last in (False, True)]
            if release:
                compressor.release()
        written.append(payloads)
    assert written[0] == written[1]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("first", range(256))
def test_every_pair_of_first_bytes(first: int, masked: bool) -> None:
    for second in range(256):
        wire = bytes((first, second)) + bytes(range(246, 256)) * 16
        for rsv1_allowed in (False, True):
            both_parse([wire], masked=masked, rsv1_allowed=rsv1_allowed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_that_a_header_can_declare(length: int, masked: bool) -> None:
    """Of the payload little has come, so a length that lost a bit on its way would be seen."""
    for opcode in (2, 9):
        for width, marker in ((2, 126), (8, 127)):
            if length >= 1 << 8 * width:
                continue
            header = bytes((0x80 | opcode, marker | (128 if masked else 0))) + length.to_bytes(width, "big")
            wire = header + (KEY if masked else b"") + b"\xff" * 100
            for parts in ([wire], [wire[:20], wire[20:]], [wire[at : at + 1] for at in range(len(wire))]):
                steps = both_parse(parts, masked=masked, rsv1_allowed=False)
                if opcode == 2 and width == 8 and 65536 <= length < 2**63:
                    assert steps[-2] == ("more", True)
                    assert f"of {length} bytes" in steps[-3][1]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("size", SIZES)
def test_every_payload_up_to_large_ones(size: int, key: bytes | None) -> None:
    payload = (bytes(range(255, 4, -1)) * (size // 251 + 1))[:size]
    wire = COMPILED["frames"].encode_frame(2, payload, True, False, key)
    assert wire == PURE["frames"].encode_frame(2, payload, True, False, key)
    middle = len(wire) // 2 + 1
    for parts in ([wire], [wire[:middle], wire[middle:]], [wire[:15], wire[15:] + wire]):
        both_parse([part for part in parts if part], masked=key is not None, rsv1_allowed=False)


@given(
    st.integers(0, 15),
    st.sampled_from([length for length in LENGTHS if length < 2**63]) | st.integers(0, 2**63 - 1),
    st.booleans(),
    st.booleans(),
    st.none() | keys,
)
def test_every_header(opcode: int, size: int, fin: bool, rsv1: bool, key: bytes | None) -> None:
    assert both_do("frame_header", opcode, size, fin, rsv1, key)[0] == "bytes"


@given(st.integers(-1, 70000), st.text(max_size=130), st.binary(max_size=130))
def test_close_frames_and_payloads(code: int, reason: str, payload: bytes) -> None:
    both_do("close_payload", code, reason)
    both_do("parse_close", payload)
    both_do("parse_close", (code & 0xFFFF).to_bytes(2, "big") + payload)
    for data in (reason, payload, Bytes(payload), bytearray(payload), memoryview(payload), code, None):
        both_do("data_payload", data)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_module_offers_is_the_same(name: str) -> None:
    compiled, pure = COMPILED[name], PURE[name]
    assert compiled.__all__ == pure.__all__
    for public in ["__doc__", *pure.__all__]:
        ours, theirs = getattr(pure, public), getattr(compiled, public)
        assert inspect.getdoc(theirs) == inspect.getdoc(ours), public
        if callable(ours) and not inspect.isclass(ours):
            assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters), public
        for member in [member for member in dir(ours) if not member.startswith("_") and inspect.isclass(ours)]:
            assert hasattr(theirs, member), member
            if callable(getattr(ours, member)) or isinstance(getattr(ours, member), property):
                assert inspect.getdoc(getattr(theirs, member)) == inspect.getdoc(getattr(ours, member)), member
