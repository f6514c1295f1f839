"""One stream that nobody reads beside one that flows: what they hold is bounded by the window, to the byte."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.abc import Stream
from p2p.limits import DEFAULT_LIMITS, KIB, MIB
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.stream import MuxedStream
from p2p.testing.pairs import connection_pair

WINDOW = DEFAULT_LIMITS.yamux.initial_window
SEND_BUFFER = DEFAULT_LIMITS.yamux.send_buffer
FLOW = 8 * MIB


async def joined(dialer: MuxedConnection, responder: MuxedConnection) -> tuple[MuxedStream, MuxedStream]:
    """Both ends of one more stream."""
    near = await dialer.open_stream()
    dialer.flush()
    return near, await responder.accept_stream()


async def pour(stream: Stream, size: int, write: int) -> None:
    for _ in range(size // write):
        await stream.send_all(bytes(write))


@pytest.mark.parametrize("write", [KIB, 64 * KIB])
@pytest.mark.parametrize("unread", [0, 1, WINDOW // 2 - 1])
async def test_a_stream_that_nobody_reads_holds_its_window_while_another_flows(
    autojump_clock: trio.testing.MockClock, write: int, unread: int
) -> None:
    """``unread`` bytes are read of it, which is too few to grant more."""
    async with connection_pair() as (dialer, responder):
        slow, slow_end = await joined(dialer, responder)
        fast, fast_end = await joined(dialer, responder)
        got = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, slow, FLOW, write)
            if unread:
                await trio.testing.wait_all_tasks_blocked()
                assert len(await slow_end.receive_some(unread)) == unread
            nursery.start_soon(pour, fast, FLOW, write)
            while got < FLOW:
                chunk = await fast_end.receive_some()  # all there is of it
                got += len(chunk)
                assert len(chunk) <= WINDOW
                assert len(slow_end.books.received) <= WINDOW - unread
                # What was sealed and not taken is the socket's, and at most a batch.
                assert slow.books.buffered <= SEND_BUFFER
                assert fast.books.buffered <= SEND_BUFFER
            await trio.testing.wait_all_tasks_blocked()
            # All the credit it was given, less what was read: not a byte more.
            assert len(slow_end.books.received) == WINDOW - unread
            assert slow.books.send_window == 0
            assert not fast_end.books.received
            nursery.cancel_scope.cancel()
