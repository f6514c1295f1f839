"""Deadlines of one length against a list of (deadline, entry), whatever the order of calls."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.muxers.deadlines import Deadlines

TIMEOUT = 5.0


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.deadlines: Deadlines[int] = Deadlines(TIMEOUT)
        self.model: dict[int, float] = {}
        self.added = 0

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, TIMEOUT - 1, TIMEOUT]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def add(self) -> None:
        self.added += 1
        self.model[self.added] = self.now + TIMEOUT
        assert self.deadlines.add(self.added, self.now) == self.now + TIMEOUT

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        entry = data.draw(st.integers(0, self.added + 1))
        self.model.pop(entry, None)
        self.deadlines.discard(entry)

    @rule()
    def expire(self) -> None:
        over = [entry for entry, deadline in self.model.items() if deadline <= self.now]
        assert list(self.deadlines.expired(self.now)) == over
        for entry in over:
            del self.model[entry]

    @rule()
    def take_one(self) -> None:
        """Whoever stops in the middle leaves the others in."""
        entry = next(self.deadlines.expired(self.now), None)
        over = [each for each, deadline in self.model.items() if deadline <= self.now]
        assert entry == (over[0] if over else None)
        if entry is not None:
            del self.model[entry]

    @invariant()
    def the_first_is_the_first(self) -> None:
        assert self.deadlines.first() == min(self.model.values(), default=float("inf"))


TestBooks = Books.TestCase
