"""What the laws of streams say of flow control, and of its absence; parts of the lists in ``streams``."""

from __future__ import annotations

import trio

from p2p.errors import StreamReset
from p2p.testing.conformance.driving import (
    CHUNK,
    SETTLE,
    StreamMaker,
    another,
    clog,
    receive_exactly,
)
from p2p.testing.conformance.verdict import check, must_raise


@check
async def check_unread_bytes_are_bounded(make: StreamMaker) -> None:
    async with make() as (a, b):
        await clog(a)
        with trio.move_on_after(0.2) as scope:
            await a.send_all(CHUNK * 100)
        assert scope.cancelled_caught, "send_all took bytes that nobody reads"
        before = len(await b.receive_some())
        assert before, "nothing arrived"


@check
async def check_reading_makes_room(make: StreamMaker) -> None:
    async with make() as (a, b):
        total = await clog(a)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_exactly, b, total)
            await a.wait_send_all_might_not_block()
        assert a.send_nowait(b"x") == 1, "wait_send_all_might_not_block returned, and there is no room"
        assert await receive_exactly(b, 1) == b"x"


@check
async def check_waiting_for_room_waits(make: StreamMaker) -> None:
    async with make() as (a, _):
        await clog(a)
        with trio.move_on_after(2 * SETTLE) as scope:
            await a.wait_send_all_might_not_block()
        assert scope.cancelled_caught, "wait_send_all_might_not_block returned, and there is no room"


@check
async def check_send_nowait_takes_what_fits(make: StreamMaker) -> None:
    async with make() as (a, b):
        assert a.send_nowait(b"hello") == 5, "an empty stream did not take five bytes"
        assert await receive_exactly(b, 5) == b"hello"
        await clog(a)
        assert a.send_nowait(b"x") == 0, "a stream that takes no more took a byte"


@check
async def check_one_unread_stream_blocks_no_other(make: StreamMaker) -> None:
    async with make() as (a, b), another(a, b) as (c, d):
        await clog(a)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(c.send_all, CHUNK * 8)
            assert await receive_exactly(d, len(CHUNK) * 8) == CHUNK * 8


@check
async def check_overflow_resets_that_stream_alone(make: StreamMaker) -> None:
    """Without flow control a stream that nobody reads is reset, at both ends, and no other is harmed."""
    async with make() as (a, b), another(a, b) as (c, d):
        with must_raise(
            StreamReset, what="send_all of more than anybody keeps, to a stream that nobody reads,"
        ):
            await a.send_all(CHUNK * 200)
        with must_raise(StreamReset, what="receive_some on a stream that was not read in time"):
            await b.receive_some()
        await c.send_all(b"unharmed")
        assert await receive_exactly(d, 8) == b"unharmed"


@check
async def check_a_reader_that_keeps_up_loses_nothing(make: StreamMaker) -> None:
    """Without flow control a sender is slowed down all the same, as long as somebody reads."""
    async with make() as (a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.send_all, CHUNK * 64)
            left = len(CHUNK) * 64
            while left:
                left -= len(await b.receive_some(256 * 1024))
                await trio.sleep(0.01)


CHECKS_WITHOUT = (check_overflow_resets_that_stream_alone, check_a_reader_that_keeps_up_loses_nothing)

CHECKS = (
    check_unread_bytes_are_bounded,
    check_reading_makes_room,
    check_waiting_for_room_waits,
    check_send_nowait_takes_what_fits,
    check_one_unread_stream_blocks_no_other,
)
