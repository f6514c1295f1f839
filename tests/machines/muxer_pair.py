"""Two sessions of one muxer joined by byte queues: what the machines of every protocol do with them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.abc import Muxer, Role
from p2p.errors import ResourceLimitExceeded
from p2p.flow import Priority
from p2p.limits import MplexLimits, YamuxLimits
from p2p.muxers.session import Touched
from tests.machines.budget import Budget


class End:
    """One side's stream, and what the model knows of it."""

    def __init__(self, stream: Any) -> None:
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

    def __init__(self, muxer: Muxer, role: Role, memory: int) -> None:
        self.memory = Budget(memory)
        self.session: Any = muxer.session(role, now=0.0, memory=self.memory)
        self.ends: dict[int, End] = {}
        self.arriving = bytearray()


class SessionPair(RuleBasedStateMachine):
    """A protocol adds its muxer, its limits, and the rules and invariants of its own."""

    muxer: Muxer
    limits: YamuxLimits | MplexLimits
    #: What each side may hold, and what a stream takes of it at its beginning.
    memory: int
    per_stream: int

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sides = tuple(Side(self.muxer, role, self.memory) for role in Role)
        self.counter = 0

    def mirrored(self, key: int) -> int:
        """The key that the other side has for a stream."""
        return key

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
            full = side.memory.in_use + self.per_stream > self.memory
            try:
                stream = side.session.open_stream()
            except ResourceLimitExceeded:
                assert full
            else:
                assert not full
                side.ends[stream.key] = End(stream)

    @precondition(some)
    @rule(data=st.data(), n=st.integers(1, 3000), copy=st.booleans())
    def send(self, data: st.DataObject, n: int, copy: bool) -> None:
        side, end = self.pick(data)
        if not end.can_send:
            return
        body = self.fresh(n)
        room, in_all = end.stream.send_room, self.limits.send_buffers - side.session._outgoing.copied
        accepted = (side.session.send_copy if copy else side.session.send)(end.stream, memoryview(body))
        assert accepted == (min(n, room, in_all) if copy else n)
        assert end.stream.holding == (not copy and n > min(room, in_all))
        end.given += body[:accepted]

    @precondition(some)
    @rule(data=st.data(), urgency=st.sampled_from([0, 3, 5]), incremental=st.booleans())
    def prioritize(self, data: st.DataObject, urgency: int, incremental: bool) -> None:
        side, end = self.pick(data)
        side.session.prioritize(end.stream, Priority(urgency, incremental))

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
        end.left = True  # what was not read is dropped, even of a stream that was over
        if not end.stream.over:
            end.cut = True
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
                assert stream.key not in side.ends
                side.ends[stream.key] = End(stream)
            assert side.ends[stream.key].stream is stream
            stream.touched = 0

    @rule(which=st.integers(0, 1), code=st.sampled_from([0, 0, 1]), sure=st.integers(0, 9))
    def go_away(self, which: int, code: int, sure: int) -> None:
        if sure == 0:
            session = self.sides[which].session
            session.close(code)
            assert session.closed_by_us
            assert not session.can_open

    @rule()
    def exchange(self) -> None:
        """Write and deliver until both are silent."""
        while any(side.session.wants_write or side.arriving for side in self.sides):
            for which in (0, 1):
                self.write(which, 1000)
                self.deliver(which, 700)

    # --- what holds -----------------------------------------------------------------------------------

    @invariant()
    def streams_are_counted(self) -> None:
        for side in self.sides:
            table, outgoing = side.session._table, side.session._outgoing
            live = table.live.values()
            assert side.session.live_streams == len(live)
            assert table.inbound == sum(stream.inbound for stream in live) <= self.limits.max_inbound_streams
            assert outgoing.copied == sum(len(stream.pending) for stream in live) <= self.limits.send_buffers
            assert set(outgoing.turns) == {stream for stream in live if stream.sendable}
            assert set(table.lingering) <= set(table.live)
            assert side.memory.in_use == sum(end.stream.reserved for end in side.ends.values())
            for end in side.ends.values():
                stream = end.stream
                # What may come, and what may be read still, is paid for.
                assert stream.reserved or (not stream.received and stream.receives_no_more)
                assert stream.over == (stream.key not in table.live)
                assert len(stream.pending) <= self.limits.send_buffer
                if stream.over:
                    assert not stream.unsent or stream.reset_code is not None or end.cut

    @invariant()
    def bytes_arrive_in_order(self) -> None:
        for source, sink in self.directions():
            assert source.given.startswith(sink.taken)

    def directions(self) -> list[tuple[End, End]]:
        """Of each stream that both sides know: who sends, and who receives."""
        near, far = self.sides
        both = [(end, far.ends.get(self.mirrored(key))) for key, end in near.ends.items()]
        return [pair for end, other in both if other is not None for pair in ((end, other), (other, end))]

    def let_go(self) -> None:
        """Writes held for streams that were left are withdrawn, as their owners would."""
        for side in self.sides:
            for end in side.ends.values():
                if end.stream.holding and end.left:
                    side.session.withdraw(end.stream)

    def agree(self) -> None:
        """With nothing on its way both know the same."""
        near, far = (side.session._table.live for side in self.sides)
        assert {self.mirrored(key) for key in near} == set(far)
        for key, stream in near.items():
            other = far[self.mirrored(key)]
            for source, sink in ((stream, other), (other, stream)):
                assert source.fin_written == sink.eof_received

    def read_all(self) -> bool:
        """Read what there is; whether that was anything."""
        moved = False
        for side in self.sides:
            for end in side.ends.values():
                chunk = b"" if end.left else side.session.read(end.stream, None, self.now)
                end.taken += chunk
                moved = moved or bool(chunk)
        return moved

    def assert_delivered(self) -> None:
        for source, sink in self.directions():
            if not (source.cut or sink.left):
                assert sink.taken == source.given
                assert sink.stream.eof_received == source.ended

    def leave_all(self) -> None:
        for side in self.sides:
            for end in side.ends.values():
                if not end.left:
                    side.session.abandon(end.stream, self.now)
                    end.left = True
        self.exchange()

    def assert_nothing_is_left(self) -> None:
        for side in self.sides:
            assert side.session.live_streams == side.session._table.inbound == 0
            assert not side.session._table.lingering
            assert side.session._outgoing.empty
            assert side.memory.in_use == 0
            assert not side.session.congested
            assert all(end.stream.held is None for end in side.ends.values())
