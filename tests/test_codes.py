"""Opcodes and close codes against RFC 6455, sections 5.2, 7.4.1 and 7.4.2."""

from __future__ import annotations

import pytest

from syncws.protocol import codes


def test_opcodes_are_those_of_the_rfc() -> None:
    assert (codes.CONTINUATION, codes.TEXT, codes.BINARY) == (0, 1, 2)
    assert (codes.CLOSE, codes.PING, codes.PONG) == (8, 9, 10)
    assert sorted(codes.OPCODE_NAMES) == [0, 1, 2, 8, 9, 10]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014])
def test_registered_codes_may_be_sent(code: int) -> None:
    assert codes.may_be_sent(code)
    assert codes.CLOSE_CODE_MEANINGS[code]


@pytest.mark.parametrize("code", [3000, 3001, 3999, 4000, 4999])
def test_private_codes_may_be_sent(code: int) -> None:
    assert codes.may_be_sent(code)


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_codes_that_only_describe_may_not_be_sent(code: int) -> None:
    assert not codes.may_be_sent(code)
    assert codes.CLOSE_CODE_MEANINGS[code]


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1016, 1100, 2000, 2999, 5000, 65535, 100000])
def test_other_codes_may_not_be_sent(code: int) -> None:
    assert not codes.may_be_sent(code)
    assert code not in codes.CLOSE_CODE_MEANINGS
