"""Two yamux sessions joined by byte queues, in any order of operations and any slicing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.abc import Role
from p2p.limits import YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux import Yamux, YamuxSession, YamuxStream

#: Small, so that every bound is met.
LIMITS = replace(
    YamuxLimits(),
    initial_window=1024,
    max_window=8 * 1024,
    max_window_growth=10 * 1024,
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


class End:
    """One side's stream, and what the model knows of it."""

    def __init__(self, stream: YamuxStream) -> None:
        self.stream = stream
        self.given = bytearray()  # accepted for sending, and not withdrawn
        self.taken = bytearray()  # read
        self.ended = False  # send_eof or abandon
        self.left = False  # reset here, abandoned, or given up by the timer
        self.cut = False  # what was given may be lost: reset here, or given up

    @property
    def can_send(self) -> bool:
        return not (self.ended or self.cut or self.stream.over or self.stream.holding)


class Side:
    """A session, its streams by id, and the bytes on their way to it."""

    def __init__(self, role: Role) -> None:
        self.session: YamuxSession = Yamux(LIMITS).session(role, now=0.0)
        self.ends: dict[int, End] = {}
        self.arriving = bytearray()


class Pair(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sides = (Side(Role.DIALER), Side(Role.RESPONDER))
        self.counter = 0

    # --- what the two do ------------------------------------------------------------------------------

    def pick(self, data: st.DataObject) -> tuple[Side, End]:
        ends = [(side, end) for side in self.sides for end in side.ends.values()]
        return ends[data.draw(st.integers(0, len(ends) - 1))]

    def some(self) -> bool:
        return any(side.ends for side in self.sides)

    def fresh(self, n: int) -> bytes:
        self.counter += 1
        return (self.counter.to_bytes(2, "big") * (n // 2 + 1))[:n]

    @rule(which=st.integers(0, 1))
    def open(self, which: int) -> None:
        side = self.sides[which]
        if side.session.can_open:
            stream = side.session.open_stream()
            side.ends[stream.stream_id] = End(stream)

    @precondition(some)
    @rule(data=st.data(), n=st.integers(1, 3000), copy=st.booleans())
    def send(self, data: st.DataObject, n: int, copy: bool) -> None:
        side, end = self.pick(data)
        if not end.can_send:
            return
        body = self.fresh(n)
        room, in_all = end.stream.send_room, LIMITS.send_buffers - side.session._outgoing.copied
        accepted = (side.session.send_copy if copy else side.session.send)(end.stream, memoryview(body))
        assert accepted == (min(n, room, in_all) if copy else n)
        assert end.stream.holding == (not copy and n > min(room, in_all))
        end.given += body[:accepted]

    @precondition(some)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        left = side.session.withdraw(end.stream)
        assert not end.stream.holding
        if left:
            del end.given[-left:]

    @precondition(some)
    @rule(data=st.data(), most=st.one_of(st.none(), st.integers(1, 2000)), negotiation=st.booleans())
    def read(self, data: st.DataObject, most: int | None, negotiation: bool) -> None:
        side, end = self.pick(data)
        if end.left:
            return
        if negotiation:
            n = len(end.stream.received) if most is None else most
            end.taken += end.stream.received[:n]
            side.session.unread_negotiation(end.stream, n, self.now)
        else:
            before = len(end.stream.received)
            chunk = side.session.read(end.stream, most, self.now)
            assert len(chunk) == before - len(end.stream.received) <= (most or before)
            end.taken += chunk

    @precondition(some)
    @rule(data=st.data())
    def send_eof(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        side.session.send_eof(end.stream)
        end.ended = True

    @precondition(some)
    @rule(data=st.data(), code=st.integers(0, 2**32 - 1))
    def reset(self, data: st.DataObject, code: int) -> None:
        side, end = self.pick(data)
        if not end.stream.over:
            end.left = end.cut = True
        side.session.reset(end.stream, code)
        assert end.stream.over

    @precondition(some)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        if not end.stream.holding:  # its owner withdraws, or waits, before it closes
            side.session.abandon(end.stream, self.now)
            end.ended = end.left = True
            assert end.stream.received == b""

    @rule(which=st.integers(0, 1), size=st.integers(64, 2000))
    def write(self, which: int, size: int) -> None:
        side, other = self.sides[which], self.sides[1 - which]
        wanted = side.session.wants_write
        out = memoryview(bytearray(size))
        n = side.session.write_into(out, self.now)
        assert bool(n) == wanted
        other.arriving += out[:n]

    @rule(which=st.integers(0, 1), size=st.integers(1, 3000))
    def deliver(self, which: int, size: int) -> None:
        side = self.sides[which]
        data = bytes(side.arriving[:size])
        del side.arriving[:size]
        touched = side.session.receive_data(memoryview(data), self.now)
        assert len(set(touched)) == len(touched)
        for stream in touched:
            assert stream.touched
            if stream.touched & Touched.OPENED:
                assert stream.stream_id not in side.ends
                side.ends[stream.stream_id] = End(stream)
            assert side.ends[stream.stream_id].stream is stream
            stream.touched = 0

    @rule(which=st.integers(0, 1), code=st.sampled_from([0, 0, 1]), sure=st.integers(0, 9))
    def go_away(self, which: int, code: int, sure: int) -> None:
        if sure == 0:
            session = self.sides[which].session
            session.close(code)
            assert session.closed_by_us
            assert not session.can_open

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
                    side.ends[stream.stream_id].cut = True
            assert all((side.session.next_timer() or 0) > self.now for side in self.sides)
        self.now = until

    # --- what holds -----------------------------------------------------------------------------------

    def exchange(self) -> None:
        """Write and deliver until both are silent."""
        while any(side.session.wants_write or side.arriving for side in self.sides):
            for which in (0, 1):
                self.write(which, 1000)
                self.deliver(which, 700)

    @invariant()
    def books_add_up(self) -> None:
        for side in self.sides:
            session = side.session
            table, outgoing = session._table, session._outgoing
            live = table.live.values()
            assert session.live_streams == len(live)
            assert table.inbound == sum(stream.inbound for stream in live) <= LIMITS.max_inbound_streams
            assert table.unacknowledged == sum(not stream.acknowledged for stream in live)
            assert table.unacknowledged <= LIMITS.ack_backlog
            grown = sum(stream.receive_window - LIMITS.initial_window for stream in live)
            assert table._growth_left == LIMITS.max_window_growth - grown >= 0
            assert outgoing.copied == sum(len(stream.pending) for stream in live) <= LIMITS.send_buffers
            assert set(outgoing.ready) == {stream for stream in live if stream.sendable}
            assert set(outgoing._updates) <= {stream.stream_id for stream in live if stream.takes_data}
            assert set(table.lingering) <= set(table.live)
            for end in side.ends.values():
                stream = end.stream
                assert stream.over == (stream.stream_id not in table.live)
                assert stream.credit >= 0
                assert stream.send_window >= 0
                assert stream.credit + len(stream.received) <= stream.receive_window <= LIMITS.max_window
                assert len(stream.pending) <= LIMITS.send_buffer
                if stream.over:
                    assert not stream.unsent or stream.reset_code is not None or end.cut

    @invariant()
    def bytes_arrive_in_order(self) -> None:
        near, far = self.sides
        for stream_id, end in near.ends.items():
            if stream_id in far.ends:
                other = far.ends[stream_id]
                for source, sink in ((end, other), (other, end)):
                    assert source.given.startswith(sink.taken)

    def teardown(self) -> None:
        for side in self.sides:
            for end in side.ends.values():
                if end.stream.holding and end.left:
                    side.session.withdraw(end.stream)
        # Read everything there is to read, for as long as that brings more.
        moved = True
        while moved:
            self.exchange()
            self.agree()
            moved = False
            for side in self.sides:
                for end in side.ends.values():
                    chunk = b"" if end.left else side.session.read(end.stream, None, self.now)
                    end.taken += chunk
                    moved = moved or bool(chunk)
        near, far = self.sides
        for stream_id in near.ends.keys() & far.ends.keys():
            end, other = near.ends[stream_id], far.ends[stream_id]
            for source, sink in ((end, other), (other, end)):
                if source.cut or sink.left:
                    continue
                assert sink.taken == source.given
                assert sink.stream.eof_received == source.ended
        # And end what is left.
        for side in self.sides:
            for end in side.ends.values():
                if not end.left:
                    side.session.abandon(end.stream, self.now)
                    end.left = True
        self.exchange()
        self.wait_long(LIMITS.closed_linger + 1)
        self.exchange()
        for side in self.sides:
            assert side.session.live_streams == 0
            table, outgoing = side.session._table, side.session._outgoing
            assert (table.inbound, table.unacknowledged) == (0, 0)
            assert table._growth_left == LIMITS.max_window_growth
            assert not table.lingering
            assert outgoing.empty
            assert not side.session.congested
            assert all(end.stream.held is None for end in side.ends.values())

    def agree(self) -> None:
        """With nothing on its way both know the same."""
        near, far = self.sides
        assert near.session._table.live.keys() == far.session._table.live.keys()
        for stream_id, stream in near.session._table.live.items():
            other = far.session._table.live[stream_id]
            for source, sink in ((stream, other), (other, stream)):
                assert source.send_window == sink.credit
                assert source.fin_written == sink.eof_received
            assert stream.acknowledged
            assert other.acknowledged
        for side, other_side in ((near, far), (far, near)):
            assert (side.session.closed_by_remote is not None) == other_side.session.closed_by_us


TestPair = Pair.TestCase
