"""Pings and the receive window's arithmetic, in any order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.errors import RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.window import PART_AT_CEILING, due, tuned

LIMITS = YamuxLimits()


class Pings(RuleBasedStateMachine):
    """A remote that answers in its own time, late, twice or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pings = KeepAlive(LIMITS, self.now)
        self.heard = self.now  # when something came last, or we asked
        self.sent: dict[int, float] = {}
        self.over = False
        self.least: float | None = None
        self.outstanding: int | None = None

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 1.0, 9.0, 10.0, 29.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.over)
    @rule(moved=st.booleans())
    def hear(self, moved: bool) -> None:
        self.pings.heard(self.now)
        self.heard = self.now
        if moved:
            self.pings.moved(self.now)

    @precondition(lambda self: not self.over and not self.pings.waiting and self.outstanding is None)
    @rule()
    def move_after_a_while(self) -> None:
        self.now += LIMITS.rtt_interval
        self.hear(moved=True)
        assert self.pings.waiting

    @precondition(lambda self: not self.over and self.pings.waiting)
    @rule()
    def write(self) -> None:
        number = self.pings.send(self.now)
        assert number not in self.sent
        self.sent[number] = self.now
        self.outstanding = number
        assert not self.pings.waiting

    @precondition(lambda self: self.outstanding is not None and not self.over)
    @rule()
    def answer(self) -> None:
        assert self.outstanding is not None
        self.pong(self.outstanding)

    @precondition(lambda self: not self.over)
    @rule(number=st.integers(0, 12))
    def pong(self, number: int) -> None:
        self.pings.heard(self.now)
        self.heard = self.now
        self.pings.answered(number, self.now)
        if number == self.outstanding:
            elapsed = self.now - self.sent[number]
            self.least = elapsed if self.least is None else min(self.least, elapsed)
            self.outstanding = None

    @precondition(lambda self: not self.over)
    @rule()
    def timer(self) -> None:
        was_due = self.pings.due() <= self.now
        waiting = self.pings.waiting or self.outstanding is not None
        try:
            self.pings.handle_timer(self.now)
        except RemoteProtocolError:
            assert was_due and waiting
            silence = self.now - self.heard
            assert silence >= LIMITS.keep_alive + LIMITS.ping_timeout, "it was heard of in time"
            self.over = True
        else:
            assert not (was_due and waiting)
            assert was_due == (self.pings.waiting and not waiting)

    @invariant()
    def the_round_trip_is_the_least_measured(self) -> None:
        assert self.pings.round_trip == self.least

    @invariant()
    def a_silent_remote_is_found_out_in_time(self) -> None:
        if not self.over:
            assert self.pings.due() <= max(self.heard, self.now) + LIMITS.keep_alive + LIMITS.ping_timeout


TestPings = Pings.TestCase


@given(
    window=st.integers(1, 2**24),
    since_last=st.floats(0, 100),
    round_trip=st.none() | st.floats(0, 10),
    ceiling=st.integers(1, 2**24),
)
def test_a_window_never_shrinks_and_doubles_at_most(
    window: int, since_last: float, round_trip: float | None, ceiling: int
) -> None:
    new = tuned(window, since_last, round_trip, ceiling)
    assert window <= new <= max(window, min(2 * window, ceiling))
    if round_trip is None:
        assert new == window


@given(window=st.integers(1, 2**24), parts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_credit_is_due_when_half_a_window_was_read(window: int, parts: tuple[float, float]) -> None:
    credit = int(window * parts[0])
    buffered = int((window - credit) * parts[1])
    read = window - credit - buffered
    assert due(window, credit, buffered, 2**24 + 1) == (read >= window / 2)


@given(window=st.integers(1, 2**25), read=st.integers(0, 2**24))
def test_a_window_that_cannot_grow_is_granted_in_smaller_parts(window: int, read: int) -> None:
    read = min(read, window)
    assert due(window, window - read, 0, window) == (read >= min(window / 2, PART_AT_CEILING))
