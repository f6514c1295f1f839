"""The messages of fetch: round trips, what go and js send, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.wire.fetch_messages import (
    FetchAnswer,
    FetchStatus,
    decode_fetch_answer,
    decode_fetch_request,
    encode_fetch_answer,
    encode_fetch_request,
)


@given(st.binary(max_size=100))
def test_requests(key: bytes) -> None:
    assert decode_fetch_request(encode_fetch_request(key)) == key


@given(st.sampled_from(FetchStatus), st.binary(max_size=100))
def test_answers(status: FetchStatus, data: bytes) -> None:
    answer = FetchAnswer(status, data)
    assert decode_fetch_answer(encode_fetch_answer(answer)) == answer


def test_on_the_wire() -> None:
    assert encode_fetch_request(b"/a") == b"\x0a\x02/a"
    assert encode_fetch_answer(FetchAnswer(FetchStatus.NOT_FOUND, b"x")) == b"\x08\x01\x12\x01x"


def test_what_js_leaves_out() -> None:
    """proto3 sends no field that has its default."""
    assert decode_fetch_answer(b"") == FetchAnswer(FetchStatus.OK)
    assert decode_fetch_answer(b"\x12\x03abc") == FetchAnswer(FetchStatus.OK, b"abc")
    assert decode_fetch_request(b"") == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x03",  # a status nobody knows, and not OK
        b"\x08\x80\x80\x80\x80\x10",  # 2^32, which is 0 to who keeps 32 bits
        b"\x08" + b"\xff" * 9 + b"\x01",  # -1
        b"\x08\x00\x08\x01",  # two of them
        b"\x12\x00\x12\x00",
        b"\x12\x05abc",
        b"\x0a\x00",  # a status that is text
        b"\x7a\x00" * 9,  # more fields than a message has
    ],
    ids=bytes.hex,
)
def test_answers_that_are_none(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_fetch_answer(data)


@pytest.mark.parametrize(
    "data", [b"\x0a\x01a\x0a\x01b", b"\x08\x01", b"\x0a\x05abc", b"\x7a\x00" * 9], ids=bytes.hex
)
def test_requests_that_are_none(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_fetch_request(data)
