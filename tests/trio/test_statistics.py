"""What statistics say, to the byte, where backpressure stands: at the window, at the socket, behind other streams."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.abc import Role
from p2p.flow import ConnectionStatistics, Priority, WaitsFor
from p2p.limits import KIB, MIB, MplexLimits, YamuxLimits
from p2p.muxers import Mplex, Yamux
from p2p.testing.pairs import connection_pair, stream_pair
from p2p.testing.pipes import raw_pair
from tests.machines.budget import Budget

settle = trio.testing.wait_all_tasks_blocked


async def send_for_ever(stream) -> None:
    while True:
        await stream.send_all(bytes(100 * KIB))


async def opened(dialer, responder):
    near = await dialer.open_stream()
    await near.send_all(b"?")
    far = await responder.accept_stream()
    assert await far.receive_some() == b"?"
    return near, far


async def test_a_stream_stops_at_the_window(autojump_clock):
    window, more = YamuxLimits().initial_window, 100 * KIB
    async with stream_pair(raw_pair(buffer=MIB)) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(window + more))
        await settle()
        here, there = near.statistics(), far.statistics()
        assert (here.send_window, here.unsent, here.copied, here.send_waits) == (0, more, 0, True)
        assert here.waits_for is WaitsFor.WINDOW
        assert (there.receive_window, there.credit, there.unread) == (window, 0, window)
        assert near.connection.statistics().unsent == more
        assert far.connection.statistics().unread == window
        assert len(await far.receive_some()) == window
        await settle()
        here, there = near.statistics(), far.statistics()
        assert (here.send_window, here.unsent, here.waits_for) == (window - more, 0, None)
        assert (there.credit, there.unread) == (window - more, more)


@pytest.mark.parametrize("muxer", [Yamux, Mplex])
async def test_streams_wait_for_the_socket_and_for_each_other(muxer, autojump_clock):
    async with connection_pair(raw_pair(buffer=KIB), muxer=muxer()) as (dialer, responder):
        first, second = [(await opened(dialer, responder))[0] for _ in range(2)]
        second.priority = Priority(5)
        # The pipe holds a KiB, and nobody lets the other end read while this task runs.
        assert first.send_nowait(bytes(32 * KIB)) == 32 * KIB
        dialer.flush()
        queued = dialer.statistics().queued
        assert queued > 30 * KIB
        for stream, size in ((second, 7), (first, 5)):
            assert stream.send_nowait(bytes(size)) == size
        waiting = [stream.statistics() for stream in (first, second)]
        assert [seen.waits_for for seen in waiting] == [WaitsFor.SOCKET, WaitsFor.STREAMS]
        assert [(seen.unsent, seen.copied, seen.send_waits) for seen in waiting] == [
            (5, 5, False),
            (7, 7, False),
        ]
        assert dialer.statistics().unsent == 12
        await settle()
        assert [stream.statistics().waits_for for stream in (first, second)] == [None, None]
        assert dialer.statistics().unsent == dialer.statistics().queued == 0


async def test_a_connection_counts_both_ways(autojump_clock):
    async with connection_pair() as (dialer, responder):
        ends = [await opened(dialer, responder) for _ in range(2)]
        await ends[0][0].send_all(b"hello")
        await settle()
        here, there = dialer.statistics(), responder.statistics()
        assert (here.inbound, here.outbound, here.streams) == (0, 2, 2)
        assert (there.inbound, there.outbound) == (2, 0)
        assert (here.bytes_sent, here.frames_sent) == (there.bytes_received, there.frames_received)
        assert (there.bytes_sent, there.frames_sent) == (here.bytes_received, here.frames_received)
        assert there.unread == 5
        assert here.frames_sent >= 3
        # Of each Noise frame the length and the tag are no plaintext.
        assert here.bytes_sent > 18 * here.frames_sent
        assert isinstance(here, ConnectionStatistics)


async def test_what_is_over_holds_nothing(autojump_clock):
    async with stream_pair() as (near, far):
        await near.send_all(b"unread")
        near.reset()
        await settle()
        for stream in (near, far):
            seen = stream.statistics()
            assert (seen.unsent, seen.copied, seen.waits_for, seen.send_waits) == (0, 0, None, False)


class Charged:
    """A muxer whose responder's memory is counted."""

    def __init__(self, muxer) -> None:
        self.muxer = muxer
        self.budget = Budget(64 * MIB)

    @property
    def protocol(self):
        return self.muxer.protocol

    def session(self, role, *, now):
        memory = {"memory": self.budget} if role is Role.RESPONDER else {}
        return self.muxer.session(role, now=now, **memory)


async def test_a_slow_reader_costs_its_window_and_nobody_else_anything(autojump_clock):
    """Memory while one reads slowly and one fast is bounded by the windows, to the byte."""
    muxer = Charged(Yamux())
    window = YamuxLimits().initial_window
    async with connection_pair(raw_pair(buffer=MIB), muxer=muxer) as (dialer, responder):
        slow, unread = await opened(dialer, responder)
        fast, read = await opened(dialer, responder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever, slow)
            nursery.start_soon(send_for_ever, fast)
            got = 0
            while got < 32 * MIB:
                got += len(await read.receive_some())
                assert unread.statistics().unread <= window
                assert muxer.budget.in_use == window + read.statistics().receive_window
                assert responder.statistics().unread <= window + read.statistics().receive_window
            # Of the window one byte was read, which is too little to grant it anew.
            assert (unread.statistics().unread, unread.statistics().credit) == (window - 1, 0)
            assert slow.statistics().waits_for is WaitsFor.WINDOW
            nursery.cancel_scope.cancel()


async def test_without_windows_a_slow_reader_costs_its_buffer_and_then_its_stream(autojump_clock):
    muxer = Charged(Mplex())
    limits = MplexLimits()
    async with connection_pair(raw_pair(buffer=MIB), muxer=muxer) as (dialer, responder):
        slow, unread = await opened(dialer, responder)
        fast, read = await opened(dialer, responder)
        assert muxer.budget.in_use == 2 * limits.receive_buffer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.send_all, bytes(limits.receive_buffer))
            nursery.start_soon(send_for_ever, fast)
            got = 0
            while got < 8 * MIB:
                got += len(await read.receive_some())
            assert unread.statistics().unread == limits.receive_buffer
            assert muxer.budget.in_use == 2 * limits.receive_buffer
            slow.send_nowait(b"one byte too many")
            while unread.statistics().unread:
                await read.receive_some()
            assert muxer.budget.in_use == limits.receive_buffer
            nursery.cancel_scope.cancel()
