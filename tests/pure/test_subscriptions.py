"""The ring of events against a list of all of them: in order, bounded, and every one given or counted as lost."""

from __future__ import annotations

from collections import deque

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2p.abc import ProtocolId
from p2p.events import Event, EventsLost, ProtocolsChanged
from p2p.host.subscriptions import Subscription


def event(number: int) -> Event:
    return ProtocolsChanged((ProtocolId(f"/{number}"),))


class Ring(RuleBasedStateMachine):
    @initialize(backlog=st.integers(1, 5))
    def begin(self, backlog: int) -> None:
        self.backlog = backlog
        self.subscription = Subscription(backlog)
        self.put = 0
        self.waiting: deque[int] = deque()
        self.lost = 0
        self.finished = False

    @precondition(lambda self: not self.finished)
    @rule(count=st.integers(1, 8))
    def happen(self, count: int) -> None:
        for _ in range(count):
            self.subscription.put(event(self.put))
            self.waiting.append(self.put)
            self.put += 1
            if len(self.waiting) > self.backlog:
                self.waiting.popleft()
                self.lost += 1

    @rule()
    def finish(self) -> None:
        self.subscription.finish()
        self.finished = True

    @rule()
    def receive(self) -> None:
        if self.lost:
            assert self.subscription.receive_nowait() == EventsLost(self.lost)
            self.lost = 0
        elif self.waiting:
            assert self.subscription.receive_nowait() == event(self.waiting.popleft())
        else:
            with pytest.raises(trio.EndOfChannel if self.finished else trio.WouldBlock):
                self.subscription.receive_nowait()

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.subscription._events) == len(self.waiting) <= self.backlog

    def teardown(self) -> None:
        if hasattr(self, "subscription"):
            while self.lost or self.waiting:
                self.receive()


TestRing = Ring.TestCase
