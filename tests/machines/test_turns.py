"""Whose frame is next, whatever is sent, credited and prioritized when: what RFC 9218 says, checked frame by frame."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2p.flow import DEFAULT_PRIORITY, LEAST_URGENT, Priority
from p2p.muxers.yamux.frames import DATA, WINDOW_UPDATE
from tests.machines import mplex_wire, yamux_wire

FRAME = 200
WINDOW = 2000

priorities = st.builds(Priority, st.sampled_from([3, LEAST_URGENT]), st.booleans())


class Known:
    """What the model knows of a stream."""

    def __init__(self, stream: Any, window: int, priority: Priority) -> None:
        self.stream = stream
        self.priority = priority
        self.given = bytearray()
        self.arrived = bytearray()
        self.window = window

    @property
    def waits(self) -> bool:
        return len(self.arrived) < len(self.given) and self.window > 0


class Turns(RuleBasedStateMachine):
    """One session that sends; its remote only reads."""

    session: Any
    #: What the remote takes of each stream at first.
    window = WINDOW

    @initialize(first=st.lists(priorities, min_size=2, max_size=4))
    def begin(self, first: list[Priority]) -> None:
        self.known = {}
        for stream, priority in zip(self.streams(len(first)), first, strict=True):
            self.known[stream.stream_id] = Known(stream, self.window, priority)
            self.session.prioritize(stream, priority)
        #: For each urgency, whose bytes are sent whole now.
        self.whole: dict[int, Known | None] = defaultdict(lambda: None)
        #: How often one had a frame since another that waits beside it had.
        self.passed: Counter[tuple[Known, Known]] = Counter()

    def streams(self, n: int) -> list[Any]:
        raise AssertionError("a protocol makes them")

    def bodies(self, wire: bytes) -> list[tuple[int, bytes]]:
        raise AssertionError("a protocol reads them")

    def pick(self, data: st.DataObject) -> Known:
        return data.draw(st.sampled_from(list(self.known.values())))

    def starts_anew(self, known: Known) -> None:
        """It goes to the end of a queue: nobody has passed it yet."""
        for pair in self.passed:
            if known in pair:
                self.passed[pair] = 0
        for urgency, holder in self.whole.items():
            if holder is known:
                self.whole[urgency] = None

    @rule(data=st.data(), n=st.integers(1, 5 * FRAME))
    def send(self, data: st.DataObject, n: int) -> None:
        known = self.pick(data)
        if not known.stream.holding:
            if not known.waits:
                self.starts_anew(known)
            body = data.draw(st.binary(min_size=1, max_size=1)) * n
            assert self.session.send(known.stream, memoryview(body)) == n
            known.given += body

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        known = self.pick(data)
        if left := self.session.withdraw(known.stream):
            del known.given[-left:]
            if not known.waits:
                self.starts_anew(known)

    @rule(data=st.data(), priority=priorities)
    def prioritize(self, data: st.DataObject, priority: Priority) -> None:
        known = self.pick(data)
        self.session.prioritize(known.stream, priority)
        if priority.urgency != known.priority.urgency:
            self.starts_anew(known)
        elif priority.incremental:
            for pair in self.passed:
                if pair[0] is known:
                    self.passed[pair] = 0
            if self.whole[priority.urgency] is known:
                self.whole[priority.urgency] = None
        known.priority = priority

    @rule(size=st.integers(64, 2 * FRAME))
    def gather(self, size: int) -> None:
        out = memoryview(bytearray(size))
        wanted = self.session.wants_write
        wire = bytes(out[: self.session.write_into(out, 0.0)])
        assert bool(wire) == wanted
        for stream_id, body in self.bodies(wire):
            self.sent(self.known[stream_id], body)

    def sent(self, known: Known, body: bytes) -> None:
        waiting = [other for other in self.known.values() if other.waits]
        assert known in waiting
        urgency = known.priority.urgency
        assert urgency == min(other.priority.urgency for other in waiting)
        assert self.whole[urgency] in (None, known), "another was to be sent whole"
        known.arrived += body
        known.window -= len(body)
        for other in waiting:
            if other is not known and other.priority.urgency == urgency:
                self.passed[known, other] += 1
                self.passed[other, known] = 0
                assert self.passed[known, other] <= 1 or not known.priority.incremental
        if not known.waits:
            self.starts_anew(known)
        elif not known.priority.incremental:
            self.whole[urgency] = known

    @invariant()
    def nothing_is_lost_or_forgotten(self) -> None:
        for known in self.known.values():
            assert known.given.startswith(known.arrived)
            assert known.stream.waiting == len(known.given) - len(known.arrived)
        waiting = [known.stream for known in self.known.values() if known.waits]
        assert Counter(self.session._outgoing.turns) == Counter(waiting)

    def teardown(self) -> None:
        """All that has credit goes."""
        while self.session.wants_write:
            self.gather(4 * FRAME)
        assert not any(known.waits for known in self.known.values())


class YamuxTurns(Turns):
    def streams(self, n: int) -> list[Any]:
        limits = replace(
            yamux_wire.LIMITS,
            max_frame=FRAME + 12,
            send_buffer=FRAME,
            initial_window=WINDOW,
            max_window=WINDOW,
        )
        self.session = yamux_wire.responder(limits)
        return [yamux_wire.accepted(self.session, 2 * i + 1) for i in range(n)]

    def bodies(self, wire: bytes) -> list[tuple[int, bytes]]:
        found, pos = [], 0
        for kind, _, stream_id, length in yamux_wire.frames(wire):
            pos += 12
            if kind == DATA:
                assert 0 < length <= FRAME
                found.append((stream_id, wire[pos : pos + length]))
                pos += length
        return found

    @precondition(lambda self: any(not known.window for known in self.known.values()))
    @rule(data=st.data(), n=st.integers(1, WINDOW))
    def credit(self, data: st.DataObject, n: int) -> None:
        known = data.draw(st.sampled_from([known for known in self.known.values() if not known.window]))
        known.window += n
        self.starts_anew(known)
        if known.waits and not known.priority.incremental:
            self.whole[known.priority.urgency] = known  # it goes on where it had to stop
        yamux_wire.feed(self.session, yamux_wire.frame(WINDOW_UPDATE, 0, known.stream.stream_id, n))


class MplexTurns(Turns):
    window = 1 << 62

    def streams(self, n: int) -> list[Any]:
        limits = replace(mplex_wire.LIMITS, max_own_message=FRAME, send_buffer=FRAME)
        self.session = mplex_wire.session(limits)
        return [mplex_wire.opened(self.session) for _ in range(n)]

    def bodies(self, wire: bytes) -> list[tuple[int, bytes]]:
        return [(stream_id, body) for _, stream_id, body in mplex_wire.messages(wire)]


TestYamuxTurns = YamuxTurns.TestCase
TestMplexTurns = MplexTurns.TestCase


def test_what_opens_a_stream_does_not_starve() -> None:
    """Though all that is more urgent than the default never ends; once it has its place it waits."""
    session = yamux_wire.responder()
    bulk = yamux_wire.accepted(session)
    session.prioritize(bulk, Priority(1))
    session.send(bulk, memoryview(bytes(100_000)))
    ours = session.open_stream()
    session.send(ours, memoryview(b"a proposal"))
    (theirs,) = yamux_wire.feed(session, yamux_wire.syns(1, 3))
    session.send(theirs, memoryview(b"an answer"))
    out = memoryview(bytearray(1000))
    first = yamux_wire.frames(bytes(out[: session.write_into(out, 0.0)]))
    assert [stream_id for _, _, stream_id, _ in first] == [2, 3, 1]
    for stream in (ours, theirs):
        session.prioritize(stream, DEFAULT_PRIORITY)
        session.send(stream, memoryview(b"and what it is for"))
    then = yamux_wire.frames(bytes(out[: session.write_into(out, 0.0)]))
    assert [stream_id for _, _, stream_id, _ in then] == [1]


def test_an_end_is_no_more_urgent_than_what_it_ends() -> None:
    session = mplex_wire.session()
    first, second = (mplex_wire.opened(session) for _ in range(2))
    for stream, urgency in ((first, 5), (second, 4)):
        session.prioritize(stream, Priority(urgency))
        session.send(stream, memoryview(b"x"))
        session.send_eof(stream)
    ends = [(flag, stream_id) for flag, stream_id, _ in mplex_wire.messages(mplex_wire.written(session))]
    assert ends == [(2, 1), (4, 1), (2, 0), (4, 0)]


def test_a_stream_that_is_over_takes_a_priority_and_no_turn() -> None:
    session = mplex_wire.session()
    stream = mplex_wire.opened(session)
    session.send(stream, memoryview(b"x"))
    session.reset(stream)
    session.prioritize(stream, Priority(0))
    assert not list(session._outgoing.turns)


def test_what_is_sent_whole_goes_on_where_it_had_to_stop() -> None:
    """For want of credit another began; with credit it is the first again, as it was."""
    session = yamux_wire.responder(replace(yamux_wire.LIMITS, initial_window=1000))
    first, second = (yamux_wire.accepted(session, stream_id) for stream_id in (1, 3))
    out = memoryview(bytearray(500))
    for stream in (first, second):
        session.prioritize(stream, Priority(3, incremental=False))
        session.send(stream, memoryview(bytes(1500)))

    def senders(gatherings: int) -> list[int]:
        wire = b"".join(bytes(out[: session.write_into(out, 0.0)]) for _ in range(gatherings))
        return [stream_id for _, _, stream_id, _ in yamux_wire.frames(wire)]

    assert senders(3) == [1, 1, 1, 3]
    yamux_wire.feed(session, yamux_wire.frame(WINDOW_UPDATE, 0, 1, 1000))
    assert senders(3) == [1, 1, 3, 3]
