"""Two mplex sessions joined by byte queues, in any order of operations and any slicing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from p2p.limits import MplexLimits
from p2p.muxers.mplex import Mplex
from tests.machines.muxer_pair import SessionPair

#: Small, so that every bound is met.
LIMITS = replace(
    MplexLimits(),
    max_own_message=300,
    send_buffer=500,
    send_buffers=900,
    receive_buffer=1500,
    max_inbound_streams=3,
    max_outbound_streams=4,
    max_control_frames=4,
    remembered_resets=2,
    reset_burst=10**6,
    closed_linger=40.0,
)


class Pair(SessionPair):
    muxer = Mplex(LIMITS)
    limits = LIMITS
    memory = 5 * LIMITS.receive_buffer
    per_stream = LIMITS.receive_buffer

    def mirrored(self, key: int) -> int:
        return key ^ 1

    @rule(which=st.integers(0, 1))
    def shed(self, which: int) -> None:
        side = self.sides[which]
        while side.session.overfull:
            due = side.session.stall(self.now)
            assert due <= self.now + LIMITS.stall
            self.now = max(self.now, due)
            shed = side.session.shed(self.now)
            assert shed
            for stream in shed:
                assert stream.overflowed and not stream.received
                end = side.ends[stream.key]
                end.left = end.cut = True
                stream.touched = 0

    @rule(seconds=st.floats(0.001, 100.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            for stream in side.session.handle_timer(self.now):
                side.ends[stream.key].cut = True
            due = side.session.next_timer()
            assert due is None or due > self.now

    @invariant()
    def books_add_up(self) -> None:
        for side in self.sides:
            table = side.session._table
            live = table.live.values()
            assert len(live) - table.inbound <= LIMITS.max_outbound_streams
            assert set(table.overfull) == {
                stream.key
                for stream in live
                if len(stream.received) > LIMITS.receive_buffer and not stream.eof_received
            }

    def teardown(self) -> None:
        self.let_go()
        self.exchange()
        self.agree()
        self.read_all()
        self.assert_delivered()
        self.leave_all()
        self.wait(LIMITS.closed_linger + 1)
        self.exchange()
        self.assert_nothing_is_left()
        assert not any(side.session.overfull for side in self.sides)


TestPair = Pair.TestCase
