"""Two mplex sessions joined by byte queues, in any order of operations and any slicing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.abc import Role
from p2p.limits import MplexLimits
from p2p.muxers.mplex import Mplex, MplexSession, MplexStream
from p2p.muxers.session import Touched

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


class End:
    """One side's stream, and what the model knows of it."""

    def __init__(self, stream: MplexStream) -> None:
        self.stream = stream
        self.given = bytearray()  # accepted for sending, and not withdrawn
        self.taken = bytearray()  # read
        self.ended = False  # send_eof or abandon
        self.left = False  # reset here, abandoned, shed, or given up by the timer
        self.cut = False  # what was given may be lost: reset here, shed, or given up

    @property
    def can_send(self) -> bool:
        return not (self.ended or self.cut or self.stream.over or self.stream.holding)


class Side:
    """A session, its streams by key, and the bytes on their way to it."""

    def __init__(self, role: Role) -> None:
        self.session: MplexSession = Mplex(LIMITS).session(role, now=0.0)
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
            side.ends[stream.key] = End(stream)

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
            end.taken += side.session.read(end.stream, most, self.now)

    @precondition(some)
    @rule(data=st.data())
    def send_eof(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        side.session.send_eof(end.stream)
        end.ended = True

    @precondition(some)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        if not end.stream.over:
            end.left = end.cut = True
        side.session.reset(end.stream)
        assert end.stream.over

    @precondition(some)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        side, end = self.pick(data)
        if not end.stream.holding:  # its owner withdraws, or waits, before it closes
            side.session.abandon(end.stream, self.now)
            end.ended = end.left = True
            assert end.stream.received == b""

    @rule(which=st.integers(0, 1))
    def shed(self, which: int) -> None:
        self.shed_of(self.sides[which])

    def shed_of(self, side: Side) -> None:
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
                assert stream.key not in side.ends
                side.ends[stream.key] = End(stream)
            assert side.ends[stream.key].stream is stream
            stream.touched = 0

    @rule(which=st.integers(0, 1), sure=st.integers(0, 9))
    def close(self, which: int, sure: int) -> None:
        if sure == 0:
            session = self.sides[which].session
            session.close(0)
            assert session.closed_by_us
            assert not session.can_open

    @rule(seconds=st.floats(0.001, 100.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            for stream in side.session.handle_timer(self.now):
                side.ends[stream.key].cut = True
            due = side.session.next_timer()
            assert due is None or due > self.now

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
            assert len(live) - table.inbound <= LIMITS.max_outbound_streams
            assert outgoing.copied == sum(len(stream.pending) for stream in live) <= LIMITS.send_buffers
            assert set(outgoing.ready) == {stream for stream in live if stream.sendable}
            assert set(table.lingering) <= set(table.live)
            assert set(table.overfull) == {
                stream.key
                for stream in live
                if len(stream.received) > LIMITS.receive_buffer and not stream.eof_received
            }
            for end in side.ends.values():
                stream = end.stream
                assert stream.over == (stream.key not in table.live)
                assert len(stream.pending) <= LIMITS.send_buffer
                if stream.over:
                    assert not stream.unsent or stream.reset_code is not None or end.cut

    @invariant()
    def bytes_arrive_in_order(self) -> None:
        for end, other in self.both():
            for source, sink in ((end, other), (other, end)):
                assert source.given.startswith(sink.taken)

    def both(self) -> list[tuple[End, End]]:
        """The two ends of each stream that both sides know."""
        near, far = self.sides
        return [(end, far.ends[key ^ 1]) for key, end in near.ends.items() if key ^ 1 in far.ends]

    def teardown(self) -> None:
        for side in self.sides:
            for end in side.ends.values():
                if end.stream.holding and end.left:
                    side.session.withdraw(end.stream)
        self.exchange()
        self.agree()
        for side in self.sides:
            for end in side.ends.values():
                if not end.left:
                    end.taken += side.session.read(end.stream, None, self.now)
        for end, other in self.both():
            for source, sink in ((end, other), (other, end)):
                if source.cut or sink.left or sink.cut:
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
        self.wait(LIMITS.closed_linger + 1)
        self.exchange()
        for side in self.sides:
            assert side.session.live_streams == 0
            table, outgoing = side.session._table, side.session._outgoing
            assert table.inbound == 0
            assert not table.lingering and not table.overfull
            assert outgoing.empty
            assert not side.session.congested
            assert all(end.stream.held is None for end in side.ends.values())

    def agree(self) -> None:
        """With nothing on its way both know the same."""
        near, far = (side.session._table.live for side in self.sides)
        assert {key ^ 1 for key in near} == set(far)
        for key, stream in near.items():
            other = far[key ^ 1]
            for source, sink in ((stream, other), (other, stream)):
                assert source.fin_written == sink.eof_received


TestPair = Pair.TestCase
