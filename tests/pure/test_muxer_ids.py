"""Which ids the remote has used, against the set of all it ever opened."""

from __future__ import annotations

import sys
from types import FrameType

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p.muxers.ids import RecentIds, RemoteIds

BACKLOG = 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(1, 4))
def test_recent_ids_are_the_last_added(steps: list[tuple[bool, int]], capacity: int) -> None:
    ids = RecentIds(capacity)
    model: list[int] = []
    for add, number in steps:
        known = number in model
        if known:
            model.remove(number)
        if add:
            ids.add(number)
            model = [*model, number][-capacity:]
        else:
            assert ids.discard(number) == known
        assert len(ids) == len(model) and all(number in ids for number in model)


class Ids(RuleBasedStateMachine):
    """An honest remote never has more than ``BACKLOG`` ids outstanding below the highest; a liar may do anything."""

    @initialize(first=st.sampled_from([1, 2]))
    def begin(self, first: int) -> None:
        self.first = first
        self.ids = RemoteIds(first, BACKLOG, step=2)
        self.used: set[int] = set()
        self.forgotten: set[int] = set()  # skipped, and too many others since

    @property
    def highest(self) -> int:
        return max(self.used, default=self.first - 2)

    @rule(above=st.integers(1, 3))
    def open_above(self, above: int) -> None:
        new = self.highest + 2 * above
        assert self.ids.belongs(new) and not self.ids.within(new)
        self.forgotten |= set(self.skipped(below=new)[:-BACKLOG])
        assert self.ids.open(new)
        self.used.add(new)

    @rule(below=st.integers(0, 12), drop=st.booleans())
    def open_or_drop_below(self, below: int, drop: bool) -> None:
        number = self.highest - 2 * below
        if number < self.first:
            return
        assert self.ids.belongs(number) and self.ids.within(number)
        if drop:
            self.ids.drop(number)
            self.used.add(number)
        else:
            opened = self.ids.open(number)
            assert not (opened and number in self.used), "a stream was opened twice"
            assert opened == (number not in self.used | self.forgotten)
            self.used.add(number)

    def skipped(self, *, below: int) -> list[int]:
        gone = self.used | self.forgotten
        return [number for number in range(self.first, below, 2) if number not in gone]

    @rule(number=st.integers(-3, 50))
    def ask(self, number: int) -> None:
        assert self.ids.belongs(number) == (number > 0 and number % 2 == self.first % 2)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.ids._skipped) <= BACKLOG


TestIds = Ids.TestCase


def test_a_leap_costs_no_more_than_the_backlog() -> None:
    ids = RemoteIds(1, BACKLOG, step=2)
    assert ids.open(2**32 - 1)
    assert len(ids._skipped) == BACKLOG
    assert ids.open(2**32 - 3) and not ids.open(2**32 - 3) and not ids.open(5)


def test_an_opening_that_skips_a_backlog_costs_a_few_calls() -> None:
    """A remote may send a thousand of them in one read, 12 bytes each."""
    ids, calls = RemoteIds(1, 256, step=2), 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for number in range(1, 100 * 510, 510):
            ids.open(number)
    finally:
        sys.setprofile(None)
    assert calls <= 100 * 5
    assert ids.open(100 * 510 - 509 - 2)
