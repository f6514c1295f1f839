"""When bytes leave: a lone write at once, those close behind it together, and none later than it may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from p2p.limits import KIB
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.stream import MuxedStream
from p2p.muxers.writing import JOIN, PATIENCE
from p2p.testing.pairs import stream_pair
from p2p.testing.pipes import raw_pair
from tests.budgets.counting import CountedRaw, Traffic

Clock = trio.testing.MockClock


class Sends:
    """What one connection hands to its socket: how often since it was asked last, and how many bytes."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.connection: MuxedConnection | None = None
        self._bytes = 0

    def take(self) -> int:
        sends, self._traffic.sends = self._traffic.sends, 0
        return sends

    def take_bytes(self) -> int:
        assert self.connection is not None
        before, self._bytes = self._bytes, self.connection.statistics().bytes_sent
        return self._bytes - before


@asynccontextmanager
async def counted(clock: Clock) -> AsyncIterator[tuple[MuxedStream, MuxedStream, Sends]]:
    """Two ends of a stream on which nothing is under way, and the sends of the first end's connection."""
    left_raw, right_raw = raw_pair(buffer=1024 * KIB)
    traffic = Traffic()
    sends = Sends(traffic)
    async with stream_pair((CountedRaw(left_raw, traffic), right_raw)) as (left, right):
        sends.connection = left.connection
        await right.send_all(b"x")
        await left.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(2 * JOIN)  # silence
        sends.take(), sends.take_bytes()
        yield left, right, sends


async def test_the_first_write_leaves_before_send_all_returns(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        left.connection.session.send(left.books, memoryview(b"lone"))
        left.connection.writing.push(left.books)
        assert sends.take() == 1


async def test_writes_close_behind_it_share_a_frame(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, right, sends):
        for _ in range(50):
            await left.send_all(bytes(100))
        assert sends.take() == 1  # the first: time stands still, so all others wait for more
        sends.take_bytes()
        await trio.testing.wait_all_tasks_blocked()
        assert sends.take() == 1
        assert 4900 < sends.take_bytes() < 5000
        assert len(await right.receive_some()) == 5000


async def test_nothing_waits_longer_than_it_may_while_more_is_written(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        await left.send_all(b"first")
        await left.send_all(b"second")
        assert sends.take() == 1
        mock_clock.jump(JOIN)
        await left.send_all(b"third")
        assert sends.take() == 1  # at once, and the second with it
        await trio.testing.wait_all_tasks_blocked()
        assert not sends.take()


async def test_the_last_one_waits_for_few_turns_of_the_scheduler(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        await left.send_all(b"first")
        await left.send_all(b"second")
        sends.take()
        for _ in range(PATIENCE + 2):
            await trio.lowlevel.cancel_shielded_checkpoint()
        assert sends.take() == 1


async def test_what_is_heard_makes_the_next_write_leave_at_once(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, right, sends):
        await left.send_all(b"question")
        await right.receive_some()
        await right.send_all(b"answer")
        assert await left.receive_some() == b"answer"
        sends.take()
        await left.send_all(b"another question")
        assert sends.take() == 1


async def test_who_waits_for_an_answer_sends_what_nobody_else_will(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        opened = await left.connection.open_stream()
        assert not sends.take()  # an opening goes with the first bytes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            assert sends.take() == 1
            nursery.cancel_scope.cancel()
        opened.reset()


async def test_full_frames_are_sealed_at_once_and_sent_by_the_batch(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, right, sends):
        await left.send_all(b"x")
        assert sends.take() == 1
        for _ in range(3):
            await left.send_all(bytes(64 * KIB))
        assert left.connection.queued > 0 and not sends.take()
        assert left.connection.session.copied < 1 * KIB
        await left.send_all(bytes(64 * KIB))
        await trio.testing.wait_all_tasks_blocked()
        assert sends.take_bytes() > 256 * KIB
        assert left.connection.queued == 0
        received = 0
        while received < 256 * KIB + 1:
            received += len(await right.receive_some())


async def test_what_waits_leaves_before_the_goodbye(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, right, sends):
        for _ in range(3):
            await left.send_all(b"abc")
        sends.take()
        left.connection.go_away()
        assert sends.take() == 1
        await trio.testing.wait_all_tasks_blocked()
        assert await right.receive_some() == b"abcabcabc"


async def test_a_close_and_the_next_opening_share_a_send(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        connection = left.connection
        await left.aclose()
        assert not sends.take()
        async with await connection.open_stream() as another:
            await another.send_all(b"next")
            assert sends.take() == 1


async def test_what_waits_leaves_though_more_is_said_in_every_turn(mock_clock: Clock) -> None:
    async with counted(mock_clock) as (left, _, sends):
        for _ in range(20):
            left.send_nowait(b"x")
            mock_clock.jump(JOIN)
            await trio.lowlevel.checkpoint()
        assert sends.take() >= 2


async def test_a_stream_without_credit_makes_no_small_frames_of_what_others_say(mock_clock: Clock) -> None:
    """As much is copied of it as fills a frame, and stays."""
    async with counted(mock_clock) as (left, _, _):
        connection = left.connection
        while left.send_nowait(bytes(64 * KIB)):
            await trio.testing.wait_all_tasks_blocked()
        other = await connection.open_stream()
        await other.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
        before = connection.statistics().frames_sent
        for _ in range(50):
            await other.send_all(bytes(100))
        await trio.testing.wait_all_tasks_blocked()
        assert connection.statistics().frames_sent - before <= 2
