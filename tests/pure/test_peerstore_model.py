"""The peerstore against a model of what it promises, with room for everything: lifetimes, and the newest record wins.

The bounds are in ``test_peerstore.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.identity import Identity, PeerRecord, PrivateKey
from p2p.limits import PeerstoreLimits
from p2p.peerstore import Peerstore
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
    """What should be known of one peer: when each address ends, and whether it stands in the record."""

    expires: dict[Multiaddr, float] = field(default_factory=dict)
    signed: set[Multiaddr] = field(default_factory=set)
    newest: tuple[int, bytes] | None = None
    connected: bool = False
    protocols: tuple[str, ...] | None = None

    def believe(self, addr: Multiaddr, until: float) -> None:
        self.expires[addr] = max(until, self.expires.get(addr, until))


numbers = st.integers(0, len(PEOPLE) - 1)
some_addrs = st.lists(st.sampled_from(ADDRS), max_size=4, unique=True).map(tuple)


class Memory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Peerstore(LIMITS)
        self.now = 0.0
        self.known = [Known() for _ in PEOPLE]

    def forget_what_is_over(self) -> None:
        for known in self.known:
            if not known.connected:
                known.expires = {addr: end for addr, end in known.expires.items() if end > self.now}
                known.signed &= known.expires.keys()

    @rule(seconds=st.sampled_from([1, 2, 4, 10]), looking=st.booleans())
    def pass_time(self, seconds: int, looking: bool) -> None:
        self.now += seconds
        self.forget_what_is_over()
        if looking:
            self.teardown()

    @rule(number=numbers, addrs=some_addrs, ttl=st.sampled_from([1, 2, 4, 10]))
    def hearsay(self, number: int, addrs: tuple[Multiaddr, ...], ttl: int) -> None:
        self.store.add_addrs(PEOPLE[number].peer_id, addrs, ttl=ttl, now=self.now)
        for addr in addrs:
            self.known[number].believe(addr, self.now + ttl)

    @rule(number=numbers, addrs=some_addrs, seq=st.integers(0, 4))
    def signed(self, number: int, addrs: tuple[Multiaddr, ...], seq: int) -> None:
        known = self.known[number]
        envelope = record(number, seq, addrs)
        newer = known.newest is None or seq > known.newest[0] or (seq, envelope) == known.newest
        assert self.store.add_record(envelope, peer=PEOPLE[number].peer_id, now=self.now) == newer
        if newer:
            known.newest = (seq, envelope)
            for addr in known.signed:
                del known.expires[addr]
            known.signed = set(addrs)
            for addr in addrs:
                known.believe(addr, self.now + LIMITS.address_ttl)

    @rule(number=numbers, addr=st.sampled_from(ADDRS))
    def remove(self, number: int, addr: Multiaddr) -> None:
        self.store.remove_addr(PEOPLE[number].peer_id, addr)
        self.known[number].expires.pop(addr, None)
        self.known[number].signed.discard(addr)

    @rule(number=numbers)
    def connect(self, number: int) -> None:
        peer = PEOPLE[number].peer_id
        self.store.addrs(peer, now=self.now)  # as who dials has done: what is over is forgotten
        self.store.connected(peer)
        self.known[number].connected = True

    @rule(number=numbers)
    def disconnect(self, number: int) -> None:
        known = self.known[number]
        self.store.disconnected(PEOPLE[number].peer_id, now=self.now)
        if known.connected:
            known.connected, known.protocols = False, None
            for addr in known.expires:
                known.believe(addr, self.now + LIMITS.recent_ttl)

    @rule(number=numbers, names=st.lists(st.sampled_from(["/a", "/b", "/c"]), max_size=4))
    def speaks(self, number: int, names: list[str]) -> None:
        self.store.set_protocols(PEOPLE[number].peer_id, names)
        if self.known[number].connected:
            self.known[number].protocols = tuple(dict.fromkeys(names))

    @rule(number=numbers)
    def forget(self, number: int) -> None:
        self.store.forget(PEOPLE[number].peer_id)
        self.known[number] = Known(connected=self.known[number].connected)

    @rule(number=numbers)
    def look(self, number: int) -> None:
        known = self.known[number]
        found = self.store.addrs(PEOPLE[number].peer_id, now=self.now)
        assert set(found) == set(known.expires) and len(set(found)) == len(found)
        assert set(found[: len(known.signed)]) == known.signed, "those the peer signed come first"

    @invariant()
    def records_and_protocols_are_the_last(self) -> None:
        for who, known in zip(PEOPLE, self.known, strict=True):
            assert self.store.record(who.peer_id) == (known.newest and known.newest[1])
            assert self.store.protocols(who.peer_id) == known.protocols
            assert self.store.public_key(who.peer_id) == who.public_key

    def teardown(self) -> None:
        """Look at all of them."""
        for number in range(len(PEOPLE)):
            self.look(number)


TestMemory = Memory.TestCase
# What goes wrong here takes many steps in one order.
TestMemory.settings = settings(max_examples=5 * settings().max_examples)
