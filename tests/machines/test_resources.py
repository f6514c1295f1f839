"""The ledger against a model that counts everything anew: in any order, nothing is lost, doubled or half done."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.errors import LocalProtocolError, ResourceLimitExceeded
from p2p.identity import Identity, PeerId
from p2p.resources.amounts import (
    CONNECTIONS,
    DESCRIPTORS,
    INBOUND_CONNECTIONS,
    INBOUND_STREAMS,
    MEMORY,
    NAMES,
    OUTBOUND_CONNECTIONS,
    OUTBOUND_STREAMS,
    STREAMS,
    Amounts,
)
from p2p.resources.ledger import Scope
from p2p.resources.resources import Resources
from p2p.resources.scopes import Attempt, ConnectionScope, StreamScope
from p2p.resources.subnets import SubnetLimit
from p2p.resources.table import ResourceLimits

PEERS = [Identity.generate().peer_id for _ in range(4)]
FRIEND, FRIENDLY_NETWORK = PEERS[3], ip_network("10.9.0.0/16")
IPS = [
    None,
    *map(ip_address, ("127.0.0.1", "10.0.0.1", "10.0.0.2", "10.9.0.1", "2001:db8::1", "2001:db8::2")),
]

_FULL = Amounts(1000, 6, 4, 5, 5, 4, 4, 4)
#: Small, so that every one of them is met.
LIMITS = ResourceLimits(
    system=_FULL,
    transient=Amounts(500, 0, 0, 0, 3, 2, 2, 2),
    allowed_system=replace(_FULL, connections=2, memory=400),
    allowed_transient=Amounts(300, 0, 0, 0, 1, 1, 1, 1),
    peer=Amounts(700, 4, 3, 3, 3, 2, 2, 2),
    connection=Amounts(400, 3, 2, 2, 1, 1, 1, 1),
    stream=Amounts(150, 1, 1, 1),
    protocol=Amounts(250, 3, 2, 2),
    protocol_peer=Amounts(200, 2, 2, 2),
    service=Amounts(220, 3, 3, 2),
    service_peer=Amounts(180, 2, 1, 2),
    peers={PEERS[2]: Amounts(100, 1, 1, 1, 1, 1, 1, 1)},
    protocols={"/few": Amounts(0, 1, 1, 1)},
    subnets=(SubnetLimit(4, 32, 2, 100, 1.0), SubnetLimit(6, 64, 1, 100, 1.0)),
    allow=(FRIEND, FRIENDLY_NETWORK),
)

#: Where one waits before it is in a system for good.
DOORS = {"system": "transient", "allowed_system": "allowed_transient"}

#: What every scope has in use: all that a refusal must not change.
Books = dict[tuple[str, tuple, int], tuple[int, ...]]


@dataclass
class Stream:
    scope: StreamScope
    inbound: bool
    protocol: str
    service: str
    memory: int = 0


@dataclass
class Connection:
    scope: ConnectionScope
    inbound: bool
    descriptor: bool
    expected: PeerId | None = None
    assigned: PeerId | None = None
    memory: int = 0
    streams: list[Stream] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    was_evicted: bool = False
    number: int = field(default_factory=itertools.count().__next__)


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.resources = Resources(LIMITS)
        self.live: list[Connection] = []
        self.now = 0.0

    # --- what may happen ------------------------------------------------------------------------------

    @rule(ip=st.sampled_from(IPS), descriptor=st.booleans())
    def accept(self, ip, descriptor):
        made: list[Connection] = []

        def evict() -> None:
            made[0].was_evicted = True

        before = self.books()
        try:
            scope = self.resources.inbound(ip, now=self.now, descriptor=descriptor, evict=evict)
        except ResourceLimitExceeded:
            scope = None
        else:
            made.append(Connection(scope, True, descriptor))
            self.live.append(made[0])
        gone = [each for each in self.live if each.was_evicted]
        self.live = [each for each in self.live if not each.was_evicted]
        for each in gone:
            assert each.inbound
            assert not each.assigned
            assert each.scope.closed
            # Who waits on where it waited came later, or is of a listed network, for which strangers make room first.
            system, listed = each.scope.system, each.scope.listed
            for other in self.live:
                if other.inbound and not other.assigned and other.scope.system is system:
                    assert other.number > each.number if other.scope.listed is listed else other.scope.listed
        assert scope is not None or gone or self.books() == before

    @rule(peer=st.sampled_from([None, *PEERS]), ip=st.sampled_from(IPS))
    def dial(self, peer, ip):
        scope = self.refusable(lambda: self.resources.outbound(peer, ip))
        if scope is not None:
            self.live.append(Connection(scope, False, False, expected=peer))

    @precondition(lambda self: any(not each.assigned and not each.inbound for each in self.live))
    @rule(data=st.data())
    def attempt(self, data):
        dial = data.draw(st.sampled_from([e for e in self.live if not e.assigned and not e.inbound]))
        attempt = self.refusable(dial.scope.attempt)
        if attempt is not None:
            dial.attempts.append(attempt)

    @precondition(lambda self: any(each.attempts for each in self.live))
    @rule(data=st.data())
    def give_up_an_attempt(self, data):
        dial = data.draw(st.sampled_from([each for each in self.live if each.attempts]))
        attempt = dial.attempts.pop()
        attempt.close()
        attempt.close()

    @precondition(lambda self: any(not each.assigned for each in self.live))
    @rule(data=st.data(), peer=st.sampled_from(PEERS))
    def assign(self, data, peer):
        connection = data.draw(st.sampled_from([each for each in self.live if not each.assigned]))
        socket = data.draw(st.sampled_from([None, *connection.attempts]))
        if connection.expected not in (None, peer):
            with pytest.raises(LocalProtocolError):
                connection.scope.assign(peer)
            return
        before = self.books()
        try:
            connection.scope.assign(peer, socket)
        except ResourceLimitExceeded:
            assert self.books() == before
        else:
            connection.assigned = peer
            if socket is not None:
                connection.attempts.remove(socket)
                socket.close()
                connection.descriptor = True

    @precondition(lambda self: any(each.assigned for each in self.live))
    @rule(
        data=st.data(),
        inbound=st.booleans(),
        protocol=st.sampled_from(["/a", "/b", "/few"]),
        service=st.sampled_from(["", "A", "B"]),
    )
    def open_stream(self, data, inbound, protocol, service):
        connection = data.draw(st.sampled_from([each for each in self.live if each.assigned]))
        scope = self.refusable(
            lambda: connection.scope.open_stream(inbound=inbound, protocol=protocol, service=service)
        )
        if scope is not None:
            connection.streams.append(Stream(scope, inbound, protocol, service))

    @precondition(lambda self: any(each.streams for each in self.live))
    @rule(data=st.data(), twice=st.booleans())
    def close_a_stream(self, data, twice):
        connection = data.draw(st.sampled_from([each for each in self.live if each.streams]))
        stream = connection.streams.pop(data.draw(st.integers(0, len(connection.streams) - 1)))
        for _ in range(1 + twice):
            stream.scope.close()

    @precondition(lambda self: any(each.streams for each in self.live))
    @rule(data=st.data(), n=st.integers(0, 120))
    def charge_a_stream_with_memory(self, data, n):
        connection = data.draw(st.sampled_from([each for each in self.live if each.streams]))
        stream = data.draw(st.sampled_from(connection.streams))
        if self.refusable(lambda: stream.scope.charge(((MEMORY, n),)) or True):
            stream.memory += n

    @precondition(lambda self: self.live)
    @rule(data=st.data(), n=st.integers(0, 200), nice_to_have=st.booleans())
    def reserve_memory(self, data, n, nice_to_have):
        connection = data.draw(st.sampled_from(self.live))
        before = self.books()
        if connection.scope.reserve(n, nice_to_have=nice_to_have):
            connection.memory += n
            if nice_to_have:
                for scope in (connection.scope, *connection.scope.around):
                    assert scope.used[MEMORY] <= 0.6 * scope.limits[MEMORY]
        else:
            assert self.books() == before

    @precondition(lambda self: any(each.memory for each in self.live))
    @rule(data=st.data())
    def give_memory_back(self, data):
        connection = data.draw(st.sampled_from([each for each in self.live if each.memory]))
        n = data.draw(st.integers(1, connection.memory))
        connection.scope.release(n)
        connection.memory -= n

    @precondition(lambda self: self.live)
    @rule(data=st.data(), twice=st.booleans())
    def close_a_connection(self, data, twice):
        """With all that is in it; what comes afterwards changes nothing."""
        connection = data.draw(st.sampled_from(self.live))
        self.live.remove(connection)
        for attempt in connection.attempts:
            attempt.close()
        for _ in range(1 + twice):
            connection.scope.close()
        before = self.books()
        for stream in connection.streams:
            assert stream.scope.closed
            stream.scope.close()
        connection.scope.release(7)
        assert not connection.scope.reserve(1)
        with pytest.raises(LocalProtocolError):
            connection.scope.open_stream(inbound=True, protocol="/a")
        assert self.books() == before

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.now += seconds

    # --- what must hold -------------------------------------------------------------------------------

    def refusable(self, do):
        """What ``do`` returns; None when it is refused, and then nothing has changed."""
        before = self.books()
        try:
            return do()
        except ResourceLimitExceeded as error:
            assert error.in_use <= error.limit
            assert error.remedy
            assert self.books() == before
            return None

    def scopes(self) -> list[Scope]:
        resources = self.resources
        found = [
            resources.system,
            resources.allowed_system,
            resources._transient,
            resources._allowed_transient,
            *resources.connections,
        ]
        for named in resources._named.values():
            found += named.values()
        for connection in resources.connections:
            found += connection.streams
        return found

    def books(self) -> Books:
        return {(scope.kind, scope.name, id(scope)): tuple(scope.used) for scope in self.scopes()}

    @invariant()
    def nothing_is_negative_and_nothing_is_beyond_its_limit(self):
        for scope in self.scopes():
            for used, limit in zip(scope.used, scope.limits, strict=True):
                assert 0 <= used <= limit

    @invariant()
    def sums_agree(self):
        for scope in self.scopes():
            used = scope.used
            assert used[STREAMS] == used[INBOUND_STREAMS] + used[OUTBOUND_STREAMS]
            assert used[CONNECTIONS] == used[INBOUND_CONNECTIONS] + used[OUTBOUND_CONNECTIONS]

    @invariant()
    def children_have_no_more_than_those_around_them(self):
        for connection in self.resources.connections:
            for child in (connection, *connection.streams):
                for around in child.around:
                    assert all(inner <= outer for inner, outer in zip(child.used, around.used, strict=True))

    @invariant()
    def it_is_what_the_model_says(self):
        """Counted anew from what is alive."""
        expected: dict[tuple[str, tuple], Counter] = {}

        def add(kind: str, name: tuple, amounts: Counter) -> None:
            expected.setdefault((kind, name), Counter()).update(amounts)

        for connection in self.live:
            side = INBOUND_CONNECTIONS if connection.inbound else OUTBOUND_CONNECTIONS
            own = Counter({CONNECTIONS: 1, side: 1, MEMORY: connection.memory})
            own[DESCRIPTORS] = int(connection.descriptor)
            for stream in connection.streams:
                side = INBOUND_STREAMS if stream.inbound else OUTBOUND_STREAMS
                each = Counter({STREAMS: 1, side: 1, MEMORY: stream.memory})
                own.update(each)
                add("protocol", (stream.protocol,), each)
                add("protocol_peer", (stream.protocol, connection.assigned), each)
                if stream.service:
                    add("service", (stream.service,), each)
                    add("service_peer", (stream.service, connection.assigned), each)
            peer = connection.assigned or connection.expected
            if peer is not None:
                add("peer", (peer,), own)
            system = connection.scope.system.kind
            add(system, (), own)
            if not connection.assigned:
                add(DOORS[system], (), own)
            for attempt in connection.attempts:  # each is counted where the dial was when it began
                for scope in attempt._scopes:
                    add(scope.kind, (), Counter({DESCRIPTORS: 1}))
        found = {
            (scope.kind, scope.name): Counter({index: n for index, n in enumerate(scope.used) if n})
            for scope in self.scopes()
            if scope.kind not in ("connection", "stream") and any(scope.used)
        }
        assert found == {
            key: Counter({index: n for index, n in amounts.items() if n}) for key, amounts in expected.items()
        }

    @invariant()
    def who_is_assigned_is_where_they_belong(self):
        for connection in self.live:
            if connection.assigned == FRIEND:
                continue  # among its own kind while there is room, else among the others
            ip = connection.scope._ip
            listed = ip is not None and ip in FRIENDLY_NETWORK
            if connection.assigned and not listed:
                assert connection.scope.system is self.resources.system

    @invariant()
    def no_scope_is_kept_that_nothing_is_in(self):
        for kind, named in self.resources._named.items():
            for name, scope in named.items():
                assert any(scope.used), (kind, name)
        assert self.resources.empty == (not self.live)

    def teardown(self):
        for connection in self.live:
            for attempt in connection.attempts:
                attempt.close()
            connection.scope.close()
        assert self.resources.empty
        assert {used for scope in self.scopes() for used in scope.used} == {0}
        assert str(self.resources.snapshot())


assert len(NAMES) == len(_FULL.__dataclass_fields__)
TestLedger = Ledger.TestCase
