"""The in-memory pair of raw streams."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.testing.pipes import raw_pair


async def receive(stream, size: int = 100) -> bytes:
    buffer = memoryview(bytearray(size))
    n = await stream.receive_into(buffer)
    return bytes(buffer[:n])


async def test_what_one_sends_the_other_receives(autojump_clock):
    a, b = raw_pair()
    assert a.try_send(memoryview(b"hello")) == 5
    assert await receive(b, 2) == b"he"
    assert await receive(b) == b"llo"
    assert b.try_send(memoryview(b"back")) == 4
    assert await receive(a) == b"back"
    assert (a.bytes_sent, a.bytes_received, b.bytes_sent, b.bytes_received) == (5, 4, 4, 5)


async def test_a_full_buffer_takes_a_part_and_then_nothing_until_it_is_read(autojump_clock):
    a, b = raw_pair(buffer=4)
    assert a.try_send(memoryview(b"hello")) == 4
    assert a.try_send(memoryview(b"o")) == 0
    done = []

    async def wait():
        await a.wait_writable()
        done.append(a.try_send(memoryview(b"o")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        assert await receive(b) == b"hell"
    assert done == [1]
    assert await receive(b) == b"o"


async def test_the_cut_rechunks(autojump_clock):
    a, b = raw_pair(cut=lambda: 1)
    a.try_send(memoryview(b"ab"))
    assert [await receive(b), await receive(b)] == [b"a", b"b"]


async def test_aclose_lets_the_peer_read_and_then_end_for_ever(autojump_clock):
    a, b = raw_pair()
    a.try_send(memoryview(b"last words"))
    await a.aclose()
    await a.aclose()
    assert await receive(b) == b"last words"
    assert await receive(b) == b""
    assert await receive(b) == b""
    with pytest.raises(trio.BrokenResourceError):
        b.try_send(memoryview(b"?"))
    await b.wait_writable()
    for use in (receive(a), a.wait_writable()):
        with pytest.raises(trio.ClosedResourceError):
            await use
    with pytest.raises(trio.ClosedResourceError):
        a.try_send(memoryview(b"?"))


async def test_reset_fails_both_ends_and_drops_what_was_unread(autojump_clock):
    a, b = raw_pair()
    a.try_send(memoryview(b"lost"))
    a.reset()
    a.reset()
    with pytest.raises(trio.BrokenResourceError):
        await receive(b)
    with pytest.raises(trio.BrokenResourceError):
        b.try_send(memoryview(b"?"))
    with pytest.raises(trio.ClosedResourceError):
        await receive(a)
    await b.aclose()


@pytest.mark.parametrize("end", ["reset", "aclose", "own aclose"])
async def test_those_who_wait_are_woken(autojump_clock, end):
    a, b = raw_pair(buffer=1)
    seen = []

    async def reader():
        try:
            seen.append(await receive(b))
        except trio.BrokenResourceError:
            seen.append("broken")
        except trio.ClosedResourceError:
            seen.append("closed")

    async def writer():
        try:
            await b.wait_writable()
            seen.append(b.try_send(memoryview(b"x")))
        except trio.BrokenResourceError:
            seen.append("broken")
        except trio.ClosedResourceError:
            seen.append("closed")

    b.try_send(memoryview(b"x"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(writer)
        await trio.testing.wait_all_tasks_blocked()
        if end == "reset":
            a.reset()
        else:
            await (a if end == "aclose" else b).aclose()
    expected = {"reset": ["broken"] * 2, "aclose": [b"", "broken"], "own aclose": ["closed"] * 2}
    assert sorted(seen, key=str) == sorted(expected[end], key=str)


async def test_a_cancelled_receive_consumes_nothing(autojump_clock):
    a, b = raw_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive(b)
    a.try_send(memoryview(b"kept"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive(b)
    assert scope.cancelled_caught
    assert await receive(b) == b"kept"


async def test_every_wait_is_a_checkpoint(autojump_clock):
    a, b = raw_pair()
    a.try_send(memoryview(b"x"))
    with trio.testing.assert_checkpoints():
        await receive(b, 1)
    with trio.testing.assert_checkpoints():
        await a.wait_writable()
    with trio.testing.assert_checkpoints():
        await a.aclose()
    with trio.testing.assert_checkpoints():
        await receive(b)


async def test_two_readers_are_one_too_many(autojump_clock):
    a, b = raw_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, b)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await receive(b)
        a.try_send(memoryview(b"x"))


async def test_an_empty_buffer_is_refused(autojump_clock):
    _, b = raw_pair()
    with pytest.raises(ValueError, match="empty buffer"):
        await b.receive_into(memoryview(bytearray()))
