"""Two yamux sessions joined by byte queues, in any order of operations and any slicing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from p2p.limits import YamuxLimits
from p2p.muxers.yamux import Yamux
from tests.machines.muxer_pair import SessionPair

#: Small, so that every bound is met.
LIMITS = replace(
    YamuxLimits(),
    initial_window=1024,
    max_window=8 * 1024,
    max_frame=300,
    send_buffer=500,
    send_buffers=900,
    ack_backlog=3,
    max_inbound_streams=4,
    max_control_frames=4,
    remembered_resets=2,
    reset_burst=10**6,
    closed_linger=40.0,
)


class Pair(SessionPair):
    muxer = Yamux(LIMITS)
    limits = LIMITS
    #: For five streams or so: opening one may be refused, and windows can grow a little.
    memory = 6 * 1024
    per_stream = LIMITS.initial_window

    @rule(seconds=st.floats(0.001, 0.5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(1.0, 100.0))
    def wait_long(self, seconds: float) -> None:
        """With both ends quick to answer, so that nobody takes the other for dead."""
        until = self.now + seconds
        while True:
            self.exchange()
            due = min(timer for side in self.sides if (timer := side.session.next_timer()) is not None)
            if due > until:
                break
            self.now = max(self.now, due)
            for side in self.sides:
                for stream in side.session.handle_timer(self.now):
                    side.ends[stream.key].cut = True
            assert all((side.session.next_timer() or 0) > self.now for side in self.sides)
        self.now = until

    @invariant()
    def books_add_up(self) -> None:
        for side in self.sides:
            table, outgoing = side.session._table, side.session._outgoing
            live = table.live.values()
            assert table.unacknowledged == sum(not stream.acknowledged for stream in live)
            assert table.unacknowledged <= LIMITS.ack_backlog
            assert table._finishing == sum(
                stream.acknowledged and not stream.inbound and stream.abandoned for stream in live
            )
            assert set(outgoing._updates) <= {stream.stream_id for stream in live if stream.takes_data}
            for end in side.ends.values():
                stream = end.stream
                assert stream.reserved in (0, stream.receive_window)
                assert stream.credit >= 0
                assert stream.send_window >= 0
                assert stream.credit + len(stream.received) <= stream.receive_window <= LIMITS.max_window

    def agree(self) -> None:
        super().agree()
        near, far = self.sides
        for key, stream in near.session._table.live.items():
            other = far.session._table.live[key]
            for source, sink in ((stream, other), (other, stream)):
                assert source.send_window == sink.credit
                assert source.acknowledged
        for side, other_side in ((near, far), (far, near)):
            assert (side.session.closed_by_remote is not None) == other_side.session.closed_by_us

    def teardown(self) -> None:
        self.let_go()
        moved = True
        while moved:  # reading grants credit, which brings more
            self.exchange()
            self.agree()
            moved = self.read_all()
        self.assert_delivered()
        self.leave_all()
        self.wait_long(LIMITS.closed_linger + 1)
        self.exchange()
        self.assert_nothing_is_left()
        for side in self.sides:
            assert side.session._table.unacknowledged == 0


TestPair = Pair.TestCase
