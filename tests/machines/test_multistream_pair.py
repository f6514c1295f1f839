"""A dialer and a responder joined by byte queues, in any order of delivery and any slicing, with what is said after."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2p.abc import ProtocolId
from p2p.errors import NoCommonProtocol
from p2p.negotiation.multistream import Dialer, Responder

NAMES = [ProtocolId(name) for name in ("/a", "/b/1", "/long/" + "x" * 200, "/é")]


class Pair(RuleBasedStateMachine):
    """Side 0 dials. Each side's own bytes follow its last line; a lazy dialer's follow its proposal."""

    @initialize(
        proposed=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
        supported=st.sets(st.sampled_from(NAMES)),
        lazy=st.booleans(),
    )
    def begin(self, proposed: list[ProtocolId], supported: set[ProtocolId], lazy: bool) -> None:
        if lazy:
            proposed = proposed[:1]
        self.agreed = next((name for name in proposed if name in supported), None)
        self.lazy = lazy
        self.sides = (
            Dialer(proposed, lazy=lazy),
            Responder(supported.__contains__, lambda: sorted(supported)),
        )
        self.wires = [bytearray(), bytearray()]  # sent by side 0 and by side 1
        self.said = [bytearray(), bytearray()]  # by each side, as the agreed protocol
        self.heard = [bytearray(), bytearray()]
        self.refused = False

    @rule(side=st.integers(0, 1))
    def send(self, side: int) -> None:
        self.wires[side] += self.sides[side].data_to_send()

    @rule(side=st.integers(0, 1), size=st.integers(1, 60))
    def deliver(self, side: int, size: int) -> None:
        """Some of what ``side`` sent arrives."""
        machine, wire = self.sides[1 - side], self.wires[side]
        data = bytes(wire[:size])
        if self.refused and side == 1:
            return
        del wire[:size]
        try:
            taken = machine.receive_data(data)
        except NoCommonProtocol:
            assert side == 1 and self.agreed is None
            self.refused = True
            return
        assert taken == len(data) or machine.done
        self.heard[1 - side] += data[taken:]

    @precondition(lambda self: not self.refused and any(side.agreed for side in self.sides))
    @rule(side=st.integers(0, 1), data=st.binary(max_size=40))
    def say(self, side: int, data: bytes) -> None:
        if self.sides[side].agreed is not None and not (self.lazy and self.agreed is None):
            self.send(side)
            self.wires[side] += data
            self.said[side] += data

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        for side in (0, 1):
            assert self.said[1 - side].startswith(self.heard[side])
            machine = self.sides[side]
            if machine.done and not self.refused:
                assert machine.agreed == self.agreed

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        for _ in range(2 * len(NAMES)):
            for side in (0, 1):
                self.send(side)
                self.deliver(side, 10_000)
        assert self.refused == (self.agreed is None)
        assert self.sides[0].done
        if self.agreed is not None:
            assert self.sides[0].agreed == self.sides[1].agreed == self.agreed
            assert self.sides[1].done
            assert self.heard == [self.said[1], self.said[0]]


TestPair = Pair.TestCase
