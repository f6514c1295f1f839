"""``p2p.streams`` over Trio's own memory streams."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.streams import MessageReader, read_exactly, read_lp, write_lp
from p2p.wire.framing import encode_frame


class Chunks(trio.abc.ReceiveStream):
    """Gives its bytes in pieces of at most ``size``."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = memoryview(data)
        self.size = size

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        n = self.size if max_bytes is None else min(self.size, max_bytes)
        chunk, self.data = bytes(self.data[:n]), self.data[n:]
        return chunk

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_read_exactly_leaves_what_follows() -> None:
    stream = Chunks(b"abcdefgh", 3)
    assert await read_exactly(stream, 5) == b"abcde"
    assert await read_exactly(stream, 0) == b""
    assert await read_exactly(stream, 3) == b"fgh"


@pytest.mark.parametrize("have", [0, 3])
async def test_read_exactly_tells_of_an_early_end(have: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{have} of 5"):
        await read_exactly(Chunks(b"x" * have, 2), 5)


async def test_read_lp_leaves_what_follows() -> None:
    stream = Chunks(encode_frame(b"") + encode_frame(b"x" * 300) + b"next", 1000)
    assert await read_lp(stream, max=300) == b""
    assert await read_lp(stream, max=300) == b"x" * 300
    assert await read_exactly(stream, 4) == b"next"


@pytest.mark.parametrize("data", [b"\x06abcdef", b"\xff" * 20, b"\x80\x00", b"\x05abc", b"\x80", b""])
async def test_read_lp_refuses(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        await read_lp(Chunks(data, 4), max=5)


async def test_read_lp_refuses_a_length_before_it_takes_the_body() -> None:
    stream = Chunks(b"\x80\x80\x80\x08" + b"x" * 100, 1000)
    with pytest.raises(RemoteProtocolError):
        await read_lp(stream, max=5)
    assert len(stream.data) >= 100


async def test_write_lp_is_what_read_lp_reads() -> None:
    left, right = trio.testing.memory_stream_pair()
    await write_lp(left, b"hello")
    assert await read_lp(right, max=5) == b"hello"


@given(st.lists(st.binary(max_size=300)), st.integers(1, 40))
def test_message_reader_finds_every_message_in_any_slicing(messages: list[bytes], size: int) -> None:
    async def main() -> None:
        reader = MessageReader(Chunks(b"".join(map(encode_frame, messages)), size), max=300)
        assert [message async for message in reader] == messages

    trio.run(main)


async def test_message_reader_tells_of_an_end_inside_a_message() -> None:
    reader = MessageReader(Chunks(encode_frame(b"one") + b"\x05tw", 100), max=5)
    assert await reader.receive() == b"one"
    with pytest.raises(RemoteProtocolError):
        await reader.receive()


async def test_message_reader_refuses_what_is_too_long() -> None:
    with pytest.raises(RemoteProtocolError):
        await MessageReader(Chunks(b"\x06abcdef", 100), max=5).receive()


async def test_message_reader_loses_nothing_when_cancelled() -> None:
    left, right = trio.testing.memory_stream_pair()
    reader = MessageReader(right, max=5)
    await left.send_all(encode_frame(b"one") + encode_frame(b"two") + b"\x05thr")
    assert await reader.receive() == b"one"
    for _ in range(2):
        with trio.CancelScope() as scope:
            scope.cancel()
            await reader.receive()
        assert scope.cancelled_caught
    assert await reader.receive() == b"two"
    with trio.move_on_after(0):
        await reader.receive()
    await left.send_all(b"ee")
    assert await reader.receive() == b"three"


async def test_message_reader_always_passes_a_checkpoint() -> None:
    reader = MessageReader(Chunks(encode_frame(b"one") + encode_frame(b"two"), 100), max=5)
    with trio.testing.assert_checkpoints():
        await reader.receive()
    with trio.testing.assert_checkpoints():
        await reader.receive()


@pytest.mark.parametrize("read", ["read_lp", "message_reader"])
async def test_single_bytes_take_linear_time(read: str) -> None:
    async def seconds(size: int) -> float:
        stream = Chunks(encode_frame(bytes(size)), 1)
        start = time.process_time()
        if read == "read_lp":
            assert len(await read_lp(stream, max=size)) == size
        else:
            assert len(await MessageReader(stream, max=size).receive()) == size
        return time.process_time() - start

    await seconds(10_000)
    small = min([await seconds(10_000) for _ in range(3)])
    # Quadratic would be 64 times as long.
    assert await seconds(80_000) < 24 * small
