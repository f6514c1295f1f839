"""Varints: one form for each number, and a length that is too large is refused before its last byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.wire import varint

VALUES = st.one_of(st.integers(0, varint.MAX_VALUE), st.integers(0, 2**20))


@given(VALUES, st.binary(max_size=4), st.binary(max_size=4))
def test_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = varint.encode(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    buf = before + encoded + after
    found = varint.decode(buf, len(before), max_value=varint.MAX_VALUE)
    assert found == (value, len(before) + len(encoded))
    assert varint.decode(memoryview(buf), len(before), max_value=value) == found


@given(st.binary(max_size=12), st.sampled_from([127, 128, 1024, 65535, 2**31, varint.MAX_VALUE, 2**70]))
def test_what_is_read_is_the_one_encoding(data: bytes, max_value: int) -> None:
    try:
        found = varint.decode_partial(data, max_value=max_value)
    except RemoteProtocolError:
        return
    if found is None:
        assert len(data) < varint.MAX_BYTES
        assert all(byte & 0x80 for byte in data)
        with pytest.raises(RemoteProtocolError):
            varint.decode(data, max_value=max_value)
    else:
        value, end = found
        assert value <= min(max_value, varint.MAX_VALUE)
        assert varint.encode(value) == data[:end]


@given(VALUES, VALUES)
def test_a_prefix_is_refused_exactly_when_nothing_good_can_come_of_it(value: int, max_value: int) -> None:
    encoded = varint.encode(value)
    for size in range(len(encoded)):
        head = encoded[:size]
        # The least a minimal varint with this head can mean.
        least = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(head)) + (1 << 7 * size)
        if size and least > max_value:
            with pytest.raises(RemoteProtocolError):
                varint.decode_partial(head, max_value=max_value)
            return
        assert varint.decode_partial(head, max_value=max_value) is None


@pytest.mark.parametrize(
    "data",
    [
        "8000",  # not minimal
        "ff00",
        "ffffffffffffffffff01",  # ten bytes
        "80808080808080808001",  # 2**63
        "ffffffffffffffffff",  # nine, and going on
        "8080808010",  # 4 GiB, above what is allowed here
        "",
        "80",
    ],
)
def test_malformed(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        varint.decode(bytes.fromhex(data), max_value=2**32 - 1 if data == "8080808010" else varint.MAX_VALUE)


def test_the_largest() -> None:
    encoded = bytes.fromhex("ffffffffffffffff7f")
    assert varint.decode(encoded, max_value=2**80) == (2**63 - 1, 9)
    assert varint.encode(2**63 - 1) == encoded


@pytest.mark.parametrize(("max_value", "size"), [(0, 1), (127, 1), (1024, 2), (65535, 3), (8 << 20, 4)])
def test_a_flood_of_continuations_ends_early(max_value: int, size: int) -> None:
    assert varint.decode_partial(b"\xff" * (size - 1), max_value=max_value) is None
    with pytest.raises(RemoteProtocolError):
        varint.decode_partial(b"\xff" * size, max_value=max_value)


def test_nine_bytes_are_the_most_whatever_is_allowed() -> None:
    assert varint.decode_partial(b"\xff" * 8, max_value=2**80) is None
    with pytest.raises(RemoteProtocolError):
        varint.decode_partial(b"\xff" * 9, max_value=2**80)


@pytest.mark.parametrize("value", [-1, 2**63, 2**64])
def test_encode_refuses(value: int) -> None:
    with pytest.raises(ValueError):
        varint.encode(value)
