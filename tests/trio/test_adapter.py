"""A Trio stream as a raw stream."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.errors import LocalProtocolError
from p2p.transports.adapter import RawStreamAdapter
from p2p.wire.addresses import Multiaddr

ADDR = Multiaddr("/memory/1")


def pair() -> tuple[RawStreamAdapter, RawStreamAdapter]:
    left, right = trio.testing.lockstep_stream_pair()
    return RawStreamAdapter(left, ADDR, ADDR), RawStreamAdapter(right, ADDR, ADDR)


async def receive(stream, size: int = 100) -> bytes:
    buffer = memoryview(bytearray(size))
    n = await stream.receive_into(buffer)
    return bytes(buffer[:n])


async def send(stream, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.try_send(view) :]
        if view:
            await stream.wait_writable()


async def test_bytes_cross(autojump_clock):
    a, b = pair()
    payload = bytes(range(256)) * 2048
    got = bytearray()

    async def read():
        while chunk := await receive(b, 70000):
            got.extend(chunk)
        assert await receive(b) == b""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await send(a, payload)
        await a.aclose()
    assert got == payload


async def test_whatever_try_send_took_has_left(autojump_clock):
    a, b = pair()
    assert a.try_send(memoryview(b"one")) == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.wait_writable)
        assert await receive(b) == b"one"
    await a.wait_writable()
    assert a.try_send(memoryview(b"onetwo")) == 3
    assert a.try_send(memoryview(b"two")) == 0


async def test_other_bytes_than_those_offered_are_refused(autojump_clock):
    a, _ = pair()
    a.try_send(memoryview(b"one"))
    with pytest.raises(LocalProtocolError):
        a.try_send(memoryview(b"two"))
    with pytest.raises(LocalProtocolError):
        a.try_send(memoryview(b"on"))


async def test_cancelled_half_way_it_is_torn_but_still_receives(autojump_clock):
    a, b = pair()
    a.try_send(memoryview(b"one"))
    with trio.move_on_after(1) as scope:
        await a.wait_writable()
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        a.try_send(memoryview(b"one"))
    with pytest.raises(trio.BrokenResourceError):
        await a.wait_writable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, b, b"back")
        assert await receive(a) == b"back"


async def test_after_aclose_it_is_closed(autojump_clock):
    a, b = pair()
    await a.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await receive(a)
    with pytest.raises(trio.ClosedResourceError):
        a.try_send(memoryview(b"x"))
    with pytest.raises(trio.ClosedResourceError):
        await a.wait_writable()
    with pytest.raises(trio.BrokenResourceError):
        await send(b, b"x")
