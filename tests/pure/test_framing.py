"""Length-delimited messages: the same however they arrive, in bounded memory and linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.wire.framing import FrameReader, encode_frame

MAX = 300


def read_all(reader: FrameReader, chunks: list[bytes]) -> list[bytes]:
    messages = []
    for chunk in chunks:
        data = memoryview(chunk)
        while True:
            while (message := reader.next()) is not None:
                messages.append(message)
            if not data:
                break
            data = data[reader.feed(data) :]
            assert reader.buffered <= MAX + 9
    return messages


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [*chunks, data]


@given(st.lists(st.binary(max_size=MAX), max_size=8), st.lists(st.integers(0, 40)))
def test_round_trip_in_any_chunks(messages: list[bytes], sizes: list[int]) -> None:
    reader = FrameReader(MAX)
    assert read_all(reader, cut(b"".join(map(encode_frame, messages)), sizes)) == messages
    reader.feed_eof()
    assert reader.buffered == 0


@given(st.binary(max_size=600), st.lists(st.integers(0, 40)))
def test_random_bytes_mean_the_same_in_any_chunks(data: bytes, sizes: list[int]) -> None:
    outcomes = []
    for chunks in ([data], cut(data, sizes), [bytes((byte,)) for byte in data]):
        reader = FrameReader(MAX)
        seen: list[bytes | str] = []
        try:
            for chunk in chunks:
                seen += read_all(reader, [chunk])
        except RemoteProtocolError:
            seen.append("refused")
        outcomes.append(seen)
    # What came whole before a bad prefix is lost to `seen` only when both were in one chunk.
    assert outcomes[1] == outcomes[2] or outcomes[1][-1] == "refused"
    assert outcomes[0][-1:] == outcomes[1][-1:] == outcomes[2][-1:]


def test_what_follows_a_message_is_left_to_the_caller() -> None:
    reader = FrameReader(MAX)
    data = encode_frame(b"one") + b"the next protocol"
    assert reader.feed(data) == 4
    assert reader.feed(data[4:]) == 0
    assert reader.next() == b"one"
    assert reader.next() is None


def test_an_empty_message() -> None:
    reader = FrameReader(MAX)
    assert reader.feed(b"\0\0") == 1
    assert reader.next() == b""
    assert reader.next() is None


@pytest.mark.parametrize("prefix", ["ad02", "8000", "ffffff", "8080808010"])
def test_a_bad_prefix_spends_the_reader(prefix: str) -> None:
    reader = FrameReader(MAX)
    with pytest.raises(RemoteProtocolError):
        reader.feed(bytes.fromhex(prefix) + bytes(1000))
    with pytest.raises(LocalProtocolError):
        reader.feed(b"\0")


def test_the_largest_message() -> None:
    reader = FrameReader(MAX)
    assert read_all(reader, [encode_frame(bytes(MAX))]) == [bytes(MAX)]


@pytest.mark.parametrize("data", [b"\x80", b"\x05abcd"])
def test_an_end_inside_a_message(data: bytes) -> None:
    reader = FrameReader(MAX)
    reader.feed(data)
    with pytest.raises(RemoteProtocolError):
        reader.feed_eof()


def test_byte_by_byte_is_linear() -> None:
    def seconds(size: int) -> float:
        reader = FrameReader(size)
        data = memoryview(encode_frame(bytes(size)))
        start = time.thread_time()
        for position in range(len(data)):
            reader.feed(data[position : position + 1])
        spent = time.thread_time() - start
        assert reader.next() == bytes(size)
        return spent

    small, large = min(seconds(1 << 15) for _ in range(3)), min(seconds(1 << 18) for _ in range(2))
    assert large / small < 8 * 3  # eight times the bytes; quadratic would be 64


def test_nothing_is_reserved_for_a_length_that_is_only_claimed() -> None:
    reader = FrameReader(1 << 30)
    reader.feed(bytes.fromhex("8080808002"))  # 512 MiB
    reader.feed(b"x")
    assert reader.buffered == 1
