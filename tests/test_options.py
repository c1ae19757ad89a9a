"""Options: defaults, and every value that cannot be is an error where it is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from syncws.options import Options, check_seconds
from syncws.protocol.deflate import Deflate


def test_defaults() -> None:
    assert dataclasses.asdict(Options()) == {
        "subprotocols": (),
        "origins": "same",
        "headers": (),
        "compression": None,
        "max_message_size": 2**20,
        "max_fragments": 65536,
        "max_messages_per_second": None,
        "max_control_frames_per_second": 1000,
        "message_timeout": 60.0,
        "send_timeout": 60.0,
        "max_backlog": 2**20,
        "backlog_policy": "close",
        "coalesce": True,
        "open_timeout": 10.0,
        "close_timeout": 10.0,
        "ping_interval": 20.0,
        "ping_timeout": 20.0,
        "idle_timeout": None,
        "max_age": None,
        "trace": None,
    }
    assert Options().deflate is None
    assert Options().fields == []


def test_options_are_a_value() -> None:
    options = Options.of({"max_fragments": 3})
    assert options == Options(max_fragments=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_fragments = 4  # type: ignore[misc]


def test_replace() -> None:
    options = Options.of({"max_fragments": 3, "headers": {"X-A": "1"}, "origins": ["https://a.example"]})
    assert options.replace({}) is options
    changed = options.replace({"close_timeout": None})
    assert changed.close_timeout is None
    assert changed.max_fragments == 3
    assert changed.fields == [("X-A", "1")]
    assert changed.origins == options.origins


@pytest.mark.parametrize("make", [Options.of, Options().replace])
def test_a_misspelt_name(make: Any) -> None:
    with pytest.raises(
        TypeError, match=r"there is no option 'max_size'; the options are subprotocols, .*close_timeout"
    ):
        make({"max_size": 1})


@pytest.mark.parametrize(
    "headers", [{"X-A": "1", "X-B": "2"}, iter([("X-A", "1"), ("X-B", "2")])], ids=["mapping", "iterator"]
)
def test_headers(headers: Any) -> None:
    options = Options(headers=headers)
    assert options.fields == [("X-A", "1"), ("X-B", "2")]
    assert options.fields == options.replace({"max_fragments": 1}).fields


def test_compression() -> None:
    settings = Deflate(level=1)
    assert Options(compression=settings).deflate is settings
    assert Options(compression=True).deflate == Deflate()
    assert Options(compression=False).deflate is None
    with pytest.raises(TypeError, match=r"compression must be True, None or a syncws\.Deflate, not 'deflate'"):
        Options(compression="deflate")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["drop", None, 1013])
def test_policies(value: object) -> None:
    with pytest.raises(ValueError, match="backlog_policy must be one of close, drop-oldest, error, not "):
        Options.of({"backlog_policy": value})
    for policy in ("close", "drop-oldest", "error"):
        assert Options.of({"backlog_policy": policy}).backlog_policy == policy


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_coalesce_is_true_or_false(value: object) -> None:
    with pytest.raises(TypeError, match=f"coalesce must be True or False, not {value!r}"):
        Options.of({"coalesce": value})
    assert Options.of({}).coalesce
    assert not Options.of({"coalesce": False}).coalesce


@pytest.mark.parametrize("name", ["max_message_size", "max_fragments", "max_backlog"])
@pytest.mark.parametrize("value", ["1", 1.5, True])
def test_counts_are_integers(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be an int or None, not {value!r}"):
        Options.of({name: value})


@pytest.mark.parametrize(
    "name",
    [
        "message_timeout",
        "send_timeout",
        "open_timeout",
        "close_timeout",
        "ping_interval",
        "max_messages_per_second",
        "max_control_frames_per_second",
    ],
)
@pytest.mark.parametrize("value", ["1", False, []])
def test_seconds_and_rates_are_numbers(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a number or None, not "):
        Options.of({name: value})


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("max_message_size", -1, 0),
        ("max_fragments", 0, 1),
        ("max_messages_per_second", 0, 0.01),
        ("max_control_frames_per_second", float("nan"), 0.01),
        ("max_backlog", 0, 1),
        ("message_timeout", -0.1, 0),
        ("send_timeout", -1, 0),
        ("open_timeout", float("nan"), 0),
        ("close_timeout", float("-inf"), 0),
        ("ping_interval", 0, 0.1),
        ("max_age", 0.09, 0.1),
    ],
)
def test_values_that_are_too_small(name: str, value: float, least: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least {least}, or None for no limit; it is {value!r}"):
        Options.of({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_message_size", 0),
        ("max_message_size", None),
        ("max_fragments", 1),
        ("max_fragments", None),
        ("max_messages_per_second", 0.01),
        ("max_messages_per_second", float("inf")),
        ("max_control_frames_per_second", None),
        ("max_backlog", 1),
        ("max_backlog", None),
        ("message_timeout", 0),
        ("message_timeout", None),
        ("send_timeout", 0.5),
        ("open_timeout", float("inf")),
        ("close_timeout", 10**9),
        ("ping_interval", 0.1),
        ("ping_timeout", None),
        ("idle_timeout", float("inf")),
    ],
)
def test_values_at_the_limit(name: str, value: object) -> None:
    assert getattr(Options.of({name: value}), name) == value


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["a", "a"]}, ValueError),
        ({"origins": ["no origin"]}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
    ],
    ids=["text", "twice", "origin", "line break"],
)
def test_values_that_the_protocol_checks(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Options.of(options)


@pytest.mark.parametrize("value", [None, 0, 1.5])
def test_seconds(value: float | None) -> None:
    assert check_seconds("timeout", value) == value


def test_seconds_of_another_type() -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not '1'"):
        check_seconds("timeout", "1")  # type: ignore[arg-type]
