"""What goes on while the socket takes nothing, and what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p.errors import StreamReset
from p2p.limits import DEFAULT_LIMITS, KIB
from p2p.muxers.connection import MuxedConnection
from p2p.testing.pairs import connections_over, stream_pair
from p2p.testing.pipes import raw_pair
from p2p.transports.pipe import PipeStream

Clock = trio.testing.MockClock


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await trio.lowlevel.checkpoint()


async def receive(raw: PipeStream, size: int) -> None:
    buffer = memoryview(bytearray(64 * KIB))
    while size > 0:
        size -= await raw.receive_into(buffer)


@asynccontextmanager
async def blocked(clock: Clock) -> AsyncIterator[tuple[MuxedConnection, PipeStream]]:
    """A connection that was silent for 25 seconds, and whose remote, a bare pipe, does not take what it says now."""
    left_raw, right_raw = raw_pair(buffer=1 * KIB)
    connection, _ = connections_over((left_raw, right_raw))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        stream = await connection.open_stream()
        await turns()
        clock.jump(25)
        nursery.start_soon(stream.send_all, bytes(64 * KIB))
        await turns()
        assert connection.queued
        try:
            yield connection, right_raw
        finally:
            nursery.cancel_scope.cancel()


async def test_a_timer_that_is_due_meanwhile_leaves_the_writer_waiting(mock_clock: Clock) -> None:
    """A stream closed then has a timer of its own; the ping that is due at 30 seconds waits for the socket."""
    async with blocked(mock_clock) as (connection, remote):
        async with trio.open_nursery() as nursery:
            nursery.start_soon((await connection.open_stream()).aclose)
            await turns()
            mock_clock.jump(6)
            await turns()
            before = connection.queued
            await receive(remote, 1)
            await turns()
            assert connection.queued == before - 1 * KIB
            mock_clock.jump(6)  # the socket refused 12 seconds ago, and took some since
            await turns()
            assert connection.lost is None
            nursery.cancel_scope.cancel()


async def test_a_stream_that_is_closed_late_is_reset(autojump_clock: Clock) -> None:
    """The remote gives no credit for the last bytes, so FIN cannot be handed over in ``limits.close``."""
    async with stream_pair() as (left, right):
        while left.send_nowait(bytes(64 * KIB)):
            await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await left.aclose()
        assert trio.current_time() - began == pytest.approx(DEFAULT_LIMITS.close)
        assert not left.connection.session.live_streams
        with pytest.raises(StreamReset):
            while await right.receive_some():
                pass


async def test_what_was_sealed_goes_with_the_connection(mock_clock: Clock) -> None:
    """Its streams may be kept for long, to be read, and must not keep a batch."""
    async with blocked(mock_clock) as (connection, _):
        connection.abort()
        await turns()
        assert connection.lost and not connection.queued
