"""The laws of streams (:class:`p2p.abc.Stream`), one check for each.

The maker gives both ends of one bare stream (the opener's first), of two connections whose pumps run, as an
async context manager. No router serves the connections. With flow control the suite of checks is
``CHECKS``; a multiplexing protocol without any, and without codes of resets, like mplex, is held to
``CHECKS_WITHOUT_FLOW_CONTROL``.

Streams are closed while they are clogged: give the connections a short ``limits.close`` to save time.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from p2p.abc import Stream
from p2p.errors import ConnectionLost, StreamReset
from p2p.flow import Priority
from p2p.testing.cancellation import Outcome, cancelled_everywhere
from p2p.testing.conformance import flow_control
from p2p.testing.conformance.driving import (
    CHUNK,
    StreamMaker,
    another,
    clog,
    receive_all,
    receive_exactly,
    settle,
)
from p2p.testing.conformance.verdict import check, must_be_checkpoint, must_raise, run_checks

_CODE = 7


# --- bytes and ends


@check
async def check_bytes_cross_both_ways(make: StreamMaker) -> None:
    rng = random.Random(1)
    async with make() as ends, trio.open_nursery() as nursery:

        async def give(stream: Stream, data: bytes) -> None:
            view = memoryview(data)
            while view:
                n = rng.choice((1, 100, 5000, 100_000, 400_000))
                await stream.send_all(view[:n])
                view = view[n:]
            await stream.send_eof()

        async def expect(stream: Stream, data: bytes) -> None:
            assert await receive_all(stream) == data, "other bytes arrived than were sent"

        a, b = ends
        for one, other, size in ((a, b, 1_500_000), (b, a, 700_001)):
            data = rng.randbytes(size)
            nursery.start_soon(give, one, data)
            nursery.start_soon(expect, other, data)


@check
async def check_trios_own_laws(make: StreamMaker) -> None:
    """``trio.testing.check_half_closeable_stream``, but for its clogged streams:
    :func:`check_trios_clogged_laws`.
    """
    await _trios_laws(make, clogged=False)


@check
async def check_trios_clogged_laws(make: StreamMaker) -> None:
    """What ``trio.testing.check_half_closeable_stream`` asks of streams that take no more."""
    await _trios_laws(make, clogged=True)


async def _trios_laws(make: StreamMaker, *, clogged: bool) -> None:
    finished = trio.Event()

    async def keep(task_status: trio.TaskStatus[tuple[Stream, Stream]]) -> None:
        async with make() as ends:
            task_status.started(ends)
            await finished.wait()

    async with trio.open_nursery() as nursery:

        async def maker() -> tuple[Stream, Stream]:
            ends: tuple[Stream, Stream] = await nursery.start(keep)
            return ends

        async def clogged_maker() -> tuple[Stream, Stream]:
            left, right = await maker()
            await clog(left)
            await clog(right)
            return left, right

        await trio.testing.check_half_closeable_stream(maker, clogged_maker if clogged else None)
        finished.set()


@check
async def check_end_stays(make: StreamMaker) -> None:
    async with make() as (a, b):
        await a.send_all(b"last")
        await a.send_eof()
        assert await receive_exactly(b, 4) == b"last"
        for _ in range(3):
            assert await b.receive_some() == b"", "bytes came after the end"


@check
async def check_the_other_way_goes_on_after_eof(make: StreamMaker) -> None:
    async with make() as (a, b):
        await a.send_eof()
        assert await b.receive_some() == b""
        await b.send_all(b"answer")
        assert await receive_exactly(a, 6) == b"answer"


@check
async def check_send_eof_twice(make: StreamMaker) -> None:
    async with make() as (a, _):
        await a.send_eof()
        with must_be_checkpoint("send_eof, the second time,"):
            await a.send_eof()


@check
async def check_sending_after_eof(make: StreamMaker) -> None:
    async with make() as (a, _):
        await a.send_eof()
        with must_raise(trio.ClosedResourceError, what="send_all after send_eof"):
            await a.send_all(b"x")
        with must_raise(trio.ClosedResourceError, what="send_nowait after send_eof"):
            a.send_nowait(b"x")


# --- resets


async def _is_reset(stream: Stream) -> None:
    with must_raise(StreamReset, what="receive_some on a stream that the remote reset"):
        await stream.receive_some()
    with must_raise(StreamReset, what="send_all on a stream that the remote reset"):
        await stream.send_all(b"x")


@check
async def check_reset_is_seen(make: StreamMaker) -> None:
    async with make() as (a, b):
        await a.send_all(b"x")
        assert await receive_exactly(b, 1) == b"x"
        a.reset()
        await settle()
        await _is_reset(b)


@check
async def check_reset_wakes_who_receives(make: StreamMaker) -> None:
    async with make() as (a, b), trio.open_nursery() as nursery:

        async def receive() -> None:
            with must_raise(StreamReset, what="receive_some, reset by the remote meanwhile,"):
                await b.receive_some()

        nursery.start_soon(receive)
        await settle()
        a.reset()


@check
async def check_reset_wakes_who_sends(make: StreamMaker) -> None:
    async with make() as (a, b), trio.open_nursery() as nursery:
        await clog(b)

        async def send() -> None:
            with must_raise(StreamReset, what="send_all, reset by the remote meanwhile,"):
                await b.send_all(CHUNK)

        nursery.start_soon(send)
        await settle()
        a.reset()


@check
async def check_reset_carries_its_code(make: StreamMaker) -> None:
    async with make() as (a, b):
        a.reset(_CODE)
        try:
            await b.receive_some()
        except StreamReset as reset:
            assert reset.code == _CODE, f"reset with code {_CODE}, seen with code {reset.code}"
            assert reset.remote, "the remote's reset is said to be ours"


@check
async def check_reset_after_eof_leaves_the_data(make: StreamMaker) -> None:
    """RST after FIN: what was received, and the end, stay readable; sending fails."""
    async with make() as (a, b):
        await a.send_all(b"whole")
        await a.send_eof()
        await settle()
        a.reset()
        await settle()
        with must_raise(StreamReset, what="send_all after the remote's reset"):
            await b.send_all(b"x")
        assert await receive_all(b) == b"whole", "data whose end had come was lost to a reset"


@check
async def check_reset_never_waits(make: StreamMaker) -> None:
    async with make() as (a, _):
        await clog(a)
        a.reset()
        a.reset()
        await a.aclose()
        with must_raise(trio.ClosedResourceError, what="receive_some after reset"):
            await a.receive_some()
        with must_raise(trio.ClosedResourceError, what="send_all after reset"):
            await a.send_all(b"x")


# --- closing


@check
async def check_closed_after_aclose(make: StreamMaker) -> None:
    async with make() as (a, _):
        await a.aclose()
        await a.aclose()
        for what, use in (
            ("receive_some", a.receive_some),
            ("send_all", lambda: a.send_all(b"x")),
            ("send_eof", a.send_eof),
            ("wait_send_all_might_not_block", a.wait_send_all_might_not_block),
        ):
            with must_raise(trio.ClosedResourceError, what=f"{what} after aclose"):
                await use()
        with must_raise(trio.ClosedResourceError, what="send_nowait after aclose"):
            a.send_nowait(b"x")


@check
async def check_close_delivers_what_was_accepted(make: StreamMaker) -> None:
    async with make() as (a, b), trio.open_nursery() as nursery:

        async def expect() -> None:
            assert len(await receive_all(b)) == 3 * len(CHUNK), "not all that was sent before aclose arrived"

        nursery.start_soon(expect)
        for _ in range(3):
            await a.send_all(CHUNK)
        await a.aclose()


@check
async def check_close_stops_a_sender(make: StreamMaker) -> None:
    """Who closes without reading to the end says so by a reset: a FIN alone leaves the remote waiting for
    ever.
    """
    async with make() as (a, b), trio.open_nursery() as nursery:
        await clog(b)

        async def send() -> None:
            with must_raise(StreamReset, what="send_all to a peer that closed with unread data"):
                while True:
                    await b.send_all(CHUNK)

        nursery.start_soon(send)
        await settle()
        await a.aclose()


@check
async def check_cancelled_close_resets(make: StreamMaker) -> None:
    async with make() as (a, b):
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.aclose()
        assert scope.cancelled_caught, "aclose did not let itself be cancelled"
        await settle()
        await _is_reset(b)


@check
async def check_own_close_wakes_waiters(make: StreamMaker) -> None:
    async with make() as (a, _):
        await clog(a)

        async def wait(function: Callable[[], Awaitable[object]], what: str) -> None:
            with must_raise(trio.ClosedResourceError, what=f"{what}, closed meanwhile,"):
                await function()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, a.receive_some, "receive_some")
            nursery.start_soon(wait, lambda: a.send_all(CHUNK), "send_all")
            await settle()
            await a.aclose()


@check
async def check_lost_connection(make: StreamMaker) -> None:
    async with make() as (a, b):

        async def receive() -> None:
            with must_raise(ConnectionLost, what="receive_some, the connection being lost meanwhile,"):
                await b.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await settle()
            a.connection.abort()
        for stream in (a, b):
            with must_raise(ConnectionLost, what="send_all on a lost connection"):
                await stream.send_all(b"x")
            with must_raise(ConnectionLost, what="receive_some on a lost connection"):
                await stream.receive_some()
            await stream.aclose()


@check
async def check_priority_is_kept(make: StreamMaker) -> None:
    """It begins with the default, is what was set last, and may be set when the stream is over."""
    async with make() as (a, b):
        assert a.priority == b.priority == Priority(), (
            "a stream begins with another priority than the default"
        )
        b.priority = Priority(6)
        for priority in (Priority(0), Priority(7, incremental=False)):
            a.priority = priority
            assert a.priority == priority, f"{priority} was set, and is {a.priority}"
        await a.send_all(b"x")
        await b.send_all(b"x")
        assert await receive_exactly(a, 1) == await receive_exactly(b, 1) == b"x"
        await a.aclose()
        a.priority = Priority()


# --- tasks


@check
async def check_two_receivers_are_busy(make: StreamMaker) -> None:
    async with make() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(a.receive_some)
        await settle()
        with must_raise(trio.BusyResourceError, what="a second receive_some at a time"):
            await a.receive_some()
        await b.send_all(b"x")


@check
async def check_two_senders_are_busy(make: StreamMaker) -> None:
    async with make() as (a, _), trio.open_nursery() as nursery:
        await clog(a)
        nursery.start_soon(a.send_all, CHUNK)
        await settle()
        with must_raise(trio.BusyResourceError, what="a second send_all at a time"):
            await a.send_all(b"x")
        nursery.cancel_scope.cancel()


@check
async def check_every_method_is_a_checkpoint(make: StreamMaker) -> None:
    async with make() as (a, b):
        await a.send_all(b"x")
        await settle()
        for what, use in (
            ("receive_some with bytes waiting", b.receive_some),
            ("send_all", lambda: a.send_all(b"x")),
            ("send_all of nothing", lambda: a.send_all(b"")),
            ("wait_send_all_might_not_block", a.wait_send_all_might_not_block),
            ("send_eof", a.send_eof),
            ("aclose", a.aclose),
            ("aclose of what is closed", a.aclose),
        ):
            with must_be_checkpoint(what):
                await use()


@check
async def check_cancelled_receive_loses_nothing(make: StreamMaker) -> None:
    async with make() as (a, b):
        with trio.move_on_after(0.01):
            await b.receive_some()
        await a.send_all(b"kept")
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.receive_some()
        assert scope.cancelled_caught, "receive_some with bytes waiting did not let itself be cancelled"
        assert await receive_exactly(b, 4) == b"kept"

        async def look(attempt: Outcome[bytes | bytearray]) -> None:
            got = b"".join(attempt.results)
            got += await receive_exactly(b, 4 - len(got))
            assert got == b"kept", "a cancelled receive_some took bytes with it"
            await a.send_all(b"kept")
            await settle()

        await a.send_all(b"kept")
        await cancelled_everywhere(lambda: b.receive_some(4), look)


@check
async def check_cancelled_send_tears_nothing(make: StreamMaker) -> None:
    """Some prefix arrives, what is sent next follows it, and other streams do not notice."""
    async with make() as (a, b), another(a, b) as (c, d):
        data = random.Random(1).randbytes(3_000_000)
        with trio.move_on_after(0.2) as scope:
            await a.send_all(data)
        assert scope.cancelled_caught, "3 MB were taken and none were read"
        await c.send_all(b"unharmed")
        assert await receive_exactly(d, 8) == b"unharmed"
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                await a.send_all(b"the end")
                await a.send_eof()

            nursery.start_soon(go_on)
            got = await receive_all(b)
        assert got.endswith(b"the end"), "what was sent after the cancelled send_all did not arrive"
        assert data.startswith(got[:-7]), "what arrived of a cancelled send_all is no prefix of it"


_COMMON = (
    check_bytes_cross_both_ways,
    check_trios_own_laws,
    check_end_stays,
    check_the_other_way_goes_on_after_eof,
    check_send_eof_twice,
    check_sending_after_eof,
    check_reset_is_seen,
    check_reset_wakes_who_receives,
    check_reset_after_eof_leaves_the_data,
    check_closed_after_aclose,
    check_close_delivers_what_was_accepted,
    check_cancelled_close_resets,
    check_lost_connection,
    check_priority_is_kept,
    check_two_receivers_are_busy,
    check_every_method_is_a_checkpoint,
    check_cancelled_receive_loses_nothing,
)

CHECKS_WITHOUT_FLOW_CONTROL = (*_COMMON, *flow_control.CHECKS_WITHOUT)

CHECKS = (
    *_COMMON,
    check_reset_carries_its_code,
    check_trios_clogged_laws,
    check_reset_wakes_who_sends,
    check_reset_never_waits,
    check_close_stops_a_sender,
    check_own_close_wakes_waiters,
    check_two_senders_are_busy,
    check_cancelled_send_tears_nothing,
    *flow_control.CHECKS,
)

#: These restate what the other checks look at one by one.
RESTATED = (check_trios_own_laws, check_trios_clogged_laws)


async def run_all(make: StreamMaker) -> None:
    """Run every check of ``CHECKS``; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
