"""Receive windows over simulated links: bandwidth, round trip, and a reader that keeps up or does not."""

from __future__ import annotations

from collections import deque

import pytest

from p2p.abc import Role
from p2p.limits import MIB, YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux import Yamux, YamuxSession, YamuxStream
from p2p.resources.ledger import NICE_TO_HAVE
from p2p.resources.memory import UNACCOUNTED, MemoryGrant
from tests.machines.budget import Budget

LIMITS = YamuxLimits()
TICK = 0.001


class Link:
    """One direction: so many bytes per tick, each arriving half a round trip later."""

    def __init__(self, bandwidth: float, round_trip: float) -> None:
        self.budget = int(bandwidth * TICK)
        self.delay = round_trip / 2
        self.under_way: deque[tuple[float, bytes]] = deque()

    def take(self, session: YamuxSession, now: float) -> None:
        left, buffer = self.budget, memoryview(bytearray(65519))
        while left >= 64 and (n := session.write_into(buffer[:left], now)):
            left -= n
            self.under_way.append((now + self.delay, bytes(buffer[:n])))

    def give(self, session: YamuxSession, now: float) -> list[YamuxStream]:
        touched: list[YamuxStream] = []
        while self.under_way and self.under_way[0][0] <= now:
            touched += session.receive_data(memoryview(self.under_way.popleft()[1]), now)
        return touched


class World:
    """A sender with endless data on one stream per ``streams``, and a reader of ``pace`` bytes per second."""

    def __init__(
        self,
        *,
        bandwidth: float,
        round_trip: float,
        pace: float = 1e12,
        streams: int = 1,
        limits: YamuxLimits = LIMITS,
        opener: Role = Role.DIALER,
        memory: MemoryGrant = UNACCOUNTED,
    ) -> None:
        self.now = 0.0
        muxer = Yamux(limits)
        near = muxer.session(Role.DIALER, now=0.0)
        far = muxer.session(Role.RESPONDER, now=0.0, memory=memory)
        self.sender, self.receiver = (near, far) if opener is Role.DIALER else (far, near)
        self.out, self.back = Link(bandwidth, round_trip), Link(bandwidth, round_trip)
        self.data = memoryview(bytes(MIB))
        self.outgoing = [self.sender.open_stream() for _ in range(streams)]
        self.incoming: list[YamuxStream] = []
        self.pace = pace
        self.read = 0
        #: Whether the sender answers pings.
        self.answers = True

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for stream in self.outgoing:
                if not stream.holding:
                    self.sender.send(stream, self.data)
            self.out.take(self.sender, self.now)
            self.back.take(self.receiver, self.now)
            self.now += TICK
            for stream in self.out.give(self.receiver, self.now):
                if stream.touched & Touched.OPENED:
                    self.incoming.append(stream)
                stream.touched = 0
            self.back.give(self.sender, self.now)
            if not self.answers:
                self.sender._outgoing.pong = None
            for stream in self.incoming:
                allowed = int(min(1e9, self.pace * self.now - self.read))
                if allowed > 0:
                    self.read += len(self.receiver.read(stream, allowed, self.now))

    @property
    def window(self) -> int:
        return max(stream.receive_window for stream in self.incoming)


@pytest.mark.parametrize("opener", list(Role))
def test_a_long_fat_link_opens_the_window_within_ten_round_trips(opener: Role) -> None:
    world = World(bandwidth=125e6, round_trip=0.2, opener=opener)
    world.run(10 * 0.2)
    assert world.window == LIMITS.max_window
    assert world.receiver.round_trip == pytest.approx(0.2, abs=2 * TICK)


def test_the_window_opens_as_far_as_the_link_needs() -> None:
    world = World(bandwidth=1.25e6, round_trip=0.1)
    world.run(3.0)
    full = world.window
    # Half of it lasts four round trips: from there on nothing is gained.
    assert 8 * 0.1 * 1.25e6 <= full <= 2 * 8 * 0.1 * 1.25e6 + LIMITS.initial_window
    before = world.read
    world.run(2.0)
    assert world.read - before > 0.95 * 2 * 1.25e6
    assert world.window == full


def test_a_slow_reader_keeps_the_first_window() -> None:
    world = World(bandwidth=125e6, round_trip=0.05, pace=0.5e6)
    world.run(2.0)
    assert world.window == LIMITS.initial_window
    (stream,) = world.incoming
    assert len(stream.received) <= LIMITS.initial_window


def test_a_reader_that_stops_is_sent_no_more_than_its_window() -> None:
    world = World(bandwidth=125e6, round_trip=0.02)
    world.run(0.5)
    world.pace = 0.0
    world.run(0.5)
    (stream,) = world.incoming
    assert stream.receive_window / 2 < len(stream.received) <= stream.receive_window
    assert stream.credit == 0
    assert world.outgoing[0].send_window == 0


def test_all_windows_of_a_session_share_one_growth() -> None:
    """As much as the memory granted allows of what is nice to have, and no more."""
    budget = Budget(16 * MIB)
    world = World(bandwidth=125e6, round_trip=0.1, streams=8, memory=budget)
    world.run(1.0)
    windows = sum(stream.receive_window for stream in world.incoming)
    assert 5 * MIB < windows == budget.in_use <= NICE_TO_HAVE * 16 * MIB
    for stream in world.incoming:
        world.receiver.reset(stream)
    assert budget.in_use == 0


def test_without_a_pong_nothing_grows() -> None:
    world = World(bandwidth=125e6, round_trip=0.1)
    world.answers = False
    world.run(1.0)
    assert world.receiver.round_trip is None
    assert world.window == LIMITS.initial_window
    assert world.read >= 7 * LIMITS.initial_window
