"""The wire view as a whole: a recorded session looks as it did, and however bytes are cut, the items are the same."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import REQUEST, RESPONSE, SESSION, chunk, view

from syncws.trace import (
    Annotator,
    Chunk,
    End,
    Frame,
    Handshake,
    Item,
    Problem,
    annotated,
    read_recording,
    render_text,
    to_json,
)


def session() -> list[Chunk]:
    with open(SESSION / "session.jsonl") as file:
        return list(read_recording(file))


def cut(chunks: list[Chunk], places: list[int]) -> list[Chunk]:
    """Chunks cut at these places, counted over all of their bytes."""
    pieces, position = [], 0
    for each in chunks:
        inside = sorted({place - position for place in places if position < place < position + len(each.data)})
        for start, end in itertools.pairwise([0, *inside, len(each.data)]):
            pieces.append(each._replace(data=each.data[start:end]))
        position += len(each.data)
    return pieces


def test_a_recorded_session_looks_as_it_did() -> None:
    items = list(annotated(session()))
    assert render_text(items) == (SESSION / "session.txt").read_text()
    lines = (SESSION / "session.items.jsonl").read_text().splitlines()
    assert [json.loads(json.dumps(to_json(item))) for item in items] == list(map(json.loads, lines))


def test_the_session_has_everything_in_it() -> None:
    items = list(annotated(session()))
    assert {type(item) for item in items} == {Handshake, Frame, Problem, End}


@given(st.lists(st.integers(1, 1900), max_size=40))
def test_any_cut_gives_the_same_items(places: list[int]) -> None:
    chunks = session()
    assert list(annotated(cut(chunks, places))) == list(annotated(chunks))


def test_byte_by_byte() -> None:
    chunks = session()
    assert list(annotated(cut(chunks, list(range(5000))))) == list(annotated(chunks))


@given(st.lists(st.tuples(st.sampled_from(["client", "server"]), st.binary(max_size=60)), max_size=20), st.booleans())
def test_nothing_is_raised_whatever_is_sent(sent: list[tuple[str, bytes]], opened: bool) -> None:
    chunks = [chunk(sender, data) for sender, data in sent]
    if not opened:
        chunks = [chunk("client", REQUEST), chunk("server", RESPONSE), *chunks]
    items = view(*chunks, opened=opened)
    for item in items:
        json.dumps(to_json(item))
    assert render_text(items).replace("\n", "").isprintable()


@given(
    st.lists(st.tuples(st.sampled_from(["client", "server"]), st.binary(min_size=1, max_size=60)), max_size=8),
    st.lists(st.integers(1, 480), max_size=30),
)
def test_any_cut_of_nonsense_gives_the_same_items(sent: list[tuple[str, bytes]], places: list[int]) -> None:
    chunks = [chunk(sender, data) for sender, data in sent]

    def items(chunks: list[Chunk]) -> list[Item]:
        return view(*chunks, opened=True)

    assert items(cut(chunks, places)) == items(chunks)


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(st.integers(1, 1900), max_size=20),
)
def test_a_damaged_session(damage: list[tuple[int, int]], places: list[int]) -> None:
    chunks = session()
    for position, byte in damage:
        for index, each in enumerate(chunks):
            if position < len(each.data):
                changed = bytearray(each.data)
                changed[position] = byte
                chunks[index] = each._replace(data=bytes(changed))
                break
            position -= len(each.data)
    items = list(annotated(chunks))
    assert list(annotated(cut(chunks, places))) == items
    assert all(char.isprintable() for char in render_text(items).replace("\n", ""))
    json.dumps([to_json(item) for item in items])


def test_items_come_as_soon_as_they_are_complete() -> None:
    annotate = Annotator()
    assert annotate.feed(chunk("client", REQUEST[:-1])) == []
    assert len(annotate.feed(chunk("client", REQUEST[-1:], time=2.0))) == 1
    (item,) = annotate.feed(chunk("server", RESPONSE, time=3.0))
    assert item.time == 3.0
    assert annotate.finish() == []
    assert annotate.finish() == []


@pytest.mark.parametrize(("kind", "count"), [("request", 1), ("response", 1), ("problem", 1), ("end", 2)])
def test_kinds_in_json(kind: str, count: int) -> None:
    found = [to_json(item) for item in annotated(session())]
    assert sum(item["kind"] == kind for item in found) == count
    assert all({"kind", "connection", "time", "sender"} <= item.keys() for item in found)


def test_a_frame_in_json() -> None:
    found = next(to_json(item) for item in annotated(session()) if isinstance(item, Frame))
    assert {
        "name", "opcode", "fin", "rsv1", "rsv2", "rsv3", "masked", "masking_key", "length", "length_form", "hex",
        "payload", "payload_masked", "cut", "compressed", "text", "close_code", "close_reason", "section", "parts",
    } <= found.keys()  # fmt: skip
    assert found["parts"][0] == {
        "name": "FIN", "bits": "1", "offset": 0, "value": "1", "meaning": "the last fragment of its message",
        "section": "RFC 6455, 5.2",
    }  # fmt: skip
