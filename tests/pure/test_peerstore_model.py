"""The peerstore against a model of what it promises, with room for everything: lifetimes, and the newest record wins.

The bounds are in ``test_peerstore.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.identity import Identity, PeerRecord, PrivateKey
from p2p.limits import PeerstoreLimits
from p2p.peerstore import PERMANENT_TTL, Peerstore
from p2p.peerstore.memory import Source
from p2p.wire.addresses import Multiaddr

LIMITS = PeerstoreLimits(address_ttl=10.0, recent_ttl=4.0)
PEOPLE = tuple(Identity(PrivateKey.from_seed(bytes([number]) * 32)) for number in range(2))
ADDRS = tuple(Multiaddr(f"/ip4/10.0.0.{number}/tcp/4001") for number in range(2))
RECORDS: dict[tuple[int, int, tuple[Multiaddr, ...]], bytes] = {}


def record(number: int, seq: int, addrs: tuple[Multiaddr, ...]) -> bytes:
    """Signing is slow: each is made once."""
    key = (number, seq, addrs)
    if key not in RECORDS:
        who = PEOPLE[number]
        RECORDS[key] = PeerRecord(who.peer_id, seq, addrs).seal(who.private_key)
    return RECORDS[key]


@dataclass
class Known:
    """What should be known of one peer: when each address ends, and who says that it is one."""

    expires: dict[Multiaddr, float] = field(default_factory=dict)
    source: dict[Multiaddr, Source] = field(default_factory=dict)
    newest: tuple[int, bytes] | None = None
    connected: bool = False
    protocols: tuple[str, ...] | None = None
    last: tuple[str, ...] = ()
    agent: str | None = None
    notes: dict[str, bytes] = field(default_factory=dict)
    until: float = -math.inf

    def believe(self, addr: Multiaddr, until: float, source: Source = Source.HEARSAY) -> None:
        self.expires[addr] = max(until, self.expires.get(addr, until))
        self.source[addr] = max(source, self.source.get(addr, source))

    def drop(self, *addrs: Multiaddr) -> None:
        for addr in addrs:
            self.expires.pop(addr, None)
            self.source.pop(addr, None)

    def said_by(self, source: Source) -> list[Multiaddr]:
        return [addr for addr, who in self.source.items() if who is source]

    def kept(self, now: float) -> bool:
        """Whether it must be remembered; what need not be is, until the store comes to it."""
        return self.connected or bool(self.expires or self.notes) or self.until > now


numbers = st.integers(0, len(PEOPLE) - 1)
some_addrs = st.lists(st.sampled_from(ADDRS), max_size=4, unique=True).map(tuple)
some_ttls = st.sampled_from([1, 2, 4, 10, PERMANENT_TTL])


class Memory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Peerstore(LIMITS)
        self.now = 0.0
        self.known = [Known() for _ in PEOPLE]

    def forget_what_is_over(self) -> None:
        for known in self.known:
            if not known.connected:
                known.drop(*[addr for addr, end in known.expires.items() if end <= self.now])

    @rule(seconds=st.sampled_from([1, 2, 4, 10]), looking=st.booleans())
    def pass_time(self, seconds: int, looking: bool) -> None:
        self.now += seconds
        self.forget_what_is_over()
        if looking:
            self.teardown()

    @rule(number=numbers, addrs=some_addrs, ttl=some_ttls)
    def hearsay(self, number: int, addrs: tuple[Multiaddr, ...], ttl: float) -> None:
        self.store.add_addrs(PEOPLE[number].peer_id, addrs, ttl=ttl, now=self.now)
        for addr in addrs:
            self.known[number].believe(addr, self.now + ttl)

    @rule(number=numbers, addrs=some_addrs, ttl=some_ttls)
    def told(self, number: int, addrs: tuple[Multiaddr, ...], ttl: float) -> None:
        self.store.set_addrs(PEOPLE[number].peer_id, addrs, ttl=ttl, now=self.now)
        known = self.known[number]
        known.drop(*known.said_by(Source.TOLD))
        for addr in addrs:
            known.believe(addr, self.now + ttl, Source.TOLD)

    @rule(number=numbers, addrs=some_addrs, seq=st.integers(0, 4))
    def signed(self, number: int, addrs: tuple[Multiaddr, ...], seq: int) -> None:
        known = self.known[number]
        envelope = record(number, seq, addrs)
        newer = known.newest is None or seq > known.newest[0] or (seq, envelope) == known.newest
        assert self.store.add_record(envelope, peer=PEOPLE[number].peer_id, now=self.now) == newer
        if newer:
            known.newest = (seq, envelope)
            known.drop(*known.said_by(Source.SIGNED))
            for addr in addrs:
                known.believe(addr, self.now + LIMITS.address_ttl, Source.SIGNED)

    @rule(number=numbers, addr=st.sampled_from(ADDRS))
    def remove(self, number: int, addr: Multiaddr) -> None:
        self.store.remove_addr(PEOPLE[number].peer_id, addr)
        self.known[number].drop(addr)

    @rule(number=numbers)
    def connect(self, number: int) -> None:
        self.store.connected(PEOPLE[number].peer_id, now=self.now)
        self.known[number].connected = True

    @rule(number=numbers)
    def disconnect(self, number: int) -> None:
        known = self.known[number]
        self.store.disconnected(PEOPLE[number].peer_id, now=self.now)
        if known.connected:
            known.connected, known.protocols = False, None
            known.until = self.now + LIMITS.recent_ttl
            for addr in known.expires:
                known.believe(addr, known.until)

    @rule(number=numbers, names=st.lists(st.sampled_from(["/a", "/b", "/c"]), max_size=4))
    def speaks(self, number: int, names: list[str]) -> None:
        peer, known = PEOPLE[number].peer_id, self.known[number]
        self.store.set_protocols(peer, names)
        self.store.set_agent_version(peer, f"speaks {len(names)}")
        if known.connected:
            known.protocols = known.last = tuple(dict.fromkeys(names))
            known.agent = f"speaks {len(names)}"

    @rule(number=numbers, key=st.sampled_from("ab"), value=st.none() | st.binary(max_size=2))
    def note(self, number: int, key: str, value: bytes | None) -> None:
        self.store.set_metadata(PEOPLE[number].peer_id, key, value)
        self.known[number].notes.pop(key, None)
        if value is not None:
            self.known[number].notes[key] = value

    @rule(number=numbers)
    def forget(self, number: int) -> None:
        self.store.forget(PEOPLE[number].peer_id)
        self.known[number] = Known(connected=self.known[number].connected)

    @rule(most=st.integers(1, 3))
    def collect(self, most: int) -> None:
        assert self.store.collect(now=self.now, most=most) <= most

    @rule()
    def restart(self) -> None:
        """What is described is what comes back; connections do not."""
        described = [self.store.describe(peer) for peer in self.store]
        self.store = Peerstore(LIMITS)
        for one in described:
            assert one is not None
            self.store.restore(one, now=self.now)
        for known in self.known:
            if known.connected:
                known.connected, known.protocols = False, None
                known.until = max(known.until, self.now + LIMITS.recent_ttl)
                for addr in known.expires:
                    known.believe(addr, self.now + LIMITS.recent_ttl)

    @rule(number=numbers)
    def look(self, number: int) -> None:
        self.learn_what_was_collected()
        known = self.known[number]
        found = self.store.addrs(PEOPLE[number].peer_id, now=self.now)
        assert set(found) == set(known.expires) and len(set(found)) == len(found)
        assert [known.source[addr] for addr in found] == sorted(known.source.values(), reverse=True)

    @invariant()
    def learn_what_was_collected(self) -> None:
        for number, who in enumerate(PEOPLE):
            if who.peer_id not in self.store:
                assert not self.known[number].kept(self.now)
                self.known[number] = Known()

    @invariant()
    def the_last_counts(self) -> None:
        self.learn_what_was_collected()
        for who, known in zip(PEOPLE, self.known, strict=True):
            peer = who.peer_id
            assert self.store.record(peer) == (known.newest and known.newest[1])
            assert self.store.protocols(peer) == known.protocols
            assert self.store.last_protocols(peer) == known.last
            assert self.store.agent_version(peer) == known.agent
            assert self.store.metadata(peer) == known.notes
            assert self.store.public_key(peer) == who.public_key

    def teardown(self) -> None:
        """Look at all of them."""
        for number in range(len(PEOPLE)):
            self.look(number)


TestMemory = Memory.TestCase
# What goes wrong here takes many steps in one order.
TestMemory.settings = settings(max_examples=5 * settings().max_examples)
