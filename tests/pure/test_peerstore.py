"""The peerstore in memory: lifetimes, bounds, and who may say what of whom."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.errors import RemoteProtocolError
from p2p.identity import Identity, PeerId, PeerRecord, SignedEnvelope
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE
from p2p.limits import PeerstoreLimits
from p2p.peerstore import PERMANENT_TTL, TEMPORARY_TTL, Peerstore
from p2p.wire.addresses import Multiaddr
from p2p.wire.messages import PeerRecordMessage, encode_peer_record

LIMITS = PeerstoreLimits()
ALICE, BOB = Identity.generate(), Identity.generate()
PEER = ALICE.peer_id


def addr(number: int) -> Multiaddr:
    return Multiaddr(f"/ip4/10.{number >> 16}.{number >> 8 & 255}.{number & 255}/tcp/4001")


def sealed(identity: Identity, seq: int, *numbers: int) -> bytes:
    return PeerRecord(identity.peer_id, seq, tuple(map(addr, numbers))).seal(identity.private_key)


def test_addresses_are_believed_for_their_time() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(1)], ttl=10, now=100)
    store.add_addrs(PEER, [addr(2)], ttl=20, now=100)
    assert store.addrs(PEER, now=109.9) == (addr(1), addr(2))
    assert store.addrs(PEER, now=110) == (addr(2),)
    assert store.addrs(PEER, now=120) == ()
    assert store.addrs(BOB.peer_id, now=0) == ()


def test_a_shorter_time_does_not_shorten() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(1)], ttl=20, now=0)
    store.add_addrs(PEER, [addr(1)], ttl=1, now=0)
    assert store.addrs(PEER, now=19) == (addr(1),)


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan")])
def test_a_time_that_is_none_is_refused(ttl: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        Peerstore().add_addrs(PEER, [addr(1)], ttl=ttl, now=0)


def test_the_final_p2p_is_taken_off_and_must_name_the_peer() -> None:
    store = Peerstore()
    own, others = (Multiaddr(f"{addr(1)}/p2p/{who.peer_id}") for who in (ALICE, BOB))
    store.add_addrs(PEER, [others], ttl=9, now=0)
    assert store.addrs(PEER, now=0) == ()
    store.add_addrs(PEER, [own], ttl=9, now=0)
    assert store.addrs(PEER, now=0) == (addr(1),)


def test_row_35_ten_thousand_addresses_of_one_peer() -> None:
    store = Peerstore()
    store.add_addrs(PEER, map(addr, range(10_000)), ttl=60, now=0)
    assert len(store.addrs(PEER, now=0)) == LIMITS.max_addrs == 64
    store.connected(PEER, now=0)
    store.add_addrs(PEER, map(addr, range(10_000)), ttl=60, now=0)
    assert len(store.addrs(PEER, now=0)) == LIMITS.max_connected_addrs == 500
    store.disconnected(PEER, now=0)
    assert len(store.addrs(PEER, now=0)) == LIMITS.max_recent_addrs == 20


def test_a_flood_of_hearsay_does_not_drive_out_what_was_signed() -> None:
    store = Peerstore()
    store.add_record(sealed(ALICE, 1, 1, 2), peer=PEER, now=0)
    store.add_addrs(PEER, map(addr, range(1000, 2000)), ttl=10**6, now=0)
    assert store.addrs(PEER, now=0)[:2] == (addr(1), addr(2))
    # Nor does shorter hearsay drive out longer.
    store.add_addrs(PEER, [addr(5)], ttl=1, now=0)
    assert addr(5) not in store.addrs(PEER, now=0)


def test_what_is_over_takes_up_no_room() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_addrs=2))
    store.add_record(sealed(ALICE, 1, 1, 2), peer=PEER, now=0)
    store.add_addrs(PEER, [addr(3)], ttl=9, now=LIMITS.address_ttl)
    assert store.addrs(PEER, now=LIMITS.address_ttl) == (addr(3),)


def test_what_was_signed_and_is_over_counts_as_hearsay_when_it_is_heard_again() -> None:
    store = Peerstore()
    store.add_record(sealed(ALICE, 1, 1), peer=PEER, now=0)
    store.add_addrs(PEER, [addr(1)], ttl=9, now=LIMITS.address_ttl)
    store.add_record(sealed(ALICE, 2, 2), peer=PEER, now=LIMITS.address_ttl)
    assert store.addrs(PEER, now=LIMITS.address_ttl) == (addr(2), addr(1))


def test_nothing_expires_while_connected() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(1)], ttl=10, now=0)
    store.connected(PEER, now=0)
    assert store.addrs(PEER, now=10**6) == (addr(1),)
    store.disconnected(PEER, now=10**6)
    assert store.addrs(PEER, now=10**6 + LIMITS.recent_ttl - 1) == (addr(1),)
    assert store.addrs(PEER, now=10**6 + LIMITS.recent_ttl) == ()


def test_what_was_over_does_not_live_again_when_its_peer_connects() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(1)], ttl=10, now=0)
    store.add_addrs(PEER, [addr(2)], ttl=30, now=0)
    store.connected(PEER, now=20)
    assert store.addrs(PEER, now=20) == (addr(2),)


def test_what_a_peer_tells_unsigned_replaces_what_it_told_before() -> None:
    store = Peerstore()
    store.add_record(sealed(ALICE, 1, 1), peer=PEER, now=0)
    store.add_addrs(PEER, [addr(2), addr(3)], ttl=60, now=0)
    store.set_addrs(PEER, [addr(3), addr(4), addr(1)], ttl=60, now=0)
    assert store.addrs(PEER, now=0) == (addr(1), addr(3), addr(4), addr(2)), "what is surest comes first"
    store.set_addrs(PEER, [addr(5)], ttl=60, now=0)
    assert store.addrs(PEER, now=0) == (addr(1), addr(5), addr(2))
    store.set_addrs(PEER, [], ttl=60, now=0)
    assert store.addrs(PEER, now=0) == (addr(1), addr(2))
    with pytest.raises(ValueError, match="seconds"):
        store.set_addrs(PEER, [addr(5)], ttl=0, now=0)


def test_the_named_times() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(1)], ttl=TEMPORARY_TTL, now=0)
    store.add_addrs(PEER, [addr(2)], ttl=PERMANENT_TTL, now=0)
    assert store.addrs(PEER, now=119) == (addr(1), addr(2))
    assert store.addrs(PEER, now=10**12) == (addr(2),)


def test_what_a_peer_speaks_is_known_while_it_is_connected_and_what_it_spoke_after() -> None:
    store = Peerstore()
    store.set_protocols(PEER, ["/early"])
    store.set_agent_version(PEER, "early/1")
    assert (store.protocols(PEER), store.last_protocols(PEER), store.agent_version(PEER)) == (None, (), None)
    store.connected(PEER, now=0)
    assert store.protocols(PEER) is None
    store.set_protocols(PEER, ["/a", "/b", "/a"])
    store.set_protocols(PEER, ["/b", "/c"])
    store.set_agent_version(PEER, "someone/1")
    assert store.protocols(PEER) == store.last_protocols(PEER) == ("/b", "/c")
    store.disconnected(PEER, now=0)
    store.connected(PEER, now=0)
    # It may have become another program in between, and a wrong guess costs a stream.
    assert store.protocols(PEER) is None
    assert store.last_protocols(PEER) == ("/b", "/c")
    assert store.agent_version(PEER) == "someone/1"


def test_of_a_peer_that_left_few_protocols_are_kept() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_recent_protocols=2))
    store.connected(PEER, now=0)
    store.set_protocols(PEER, ["/a", "/b", "/c"])
    assert store.protocols(PEER) == ("/a", "/b", "/c")
    store.disconnected(PEER, now=0)
    assert store.last_protocols(PEER) == ("/a", "/b")


def test_protocols_of_all_who_left_are_bounded() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_unconnected_protocols=5))
    people = [Identity.generate().peer_id for _ in range(3)]
    for who in people:
        store.connected(who, now=0)
        store.set_protocols(who, ["/a", "/b"])
        store.disconnected(who, now=0)
    assert [store.last_protocols(who) for who in people] == [(), ("/a", "/b"), ("/a", "/b")]


def test_metadata() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_metadata=2, max_metadata_size=10))
    store.set_metadata(PEER, "nothing", None)
    assert PEER not in store and store.metadata(PEER) == {}
    store.set_metadata(PEER, "a", b"12345678")
    with pytest.raises(ValueError, match="too much"):
        store.set_metadata(PEER, "b", b"1")
    store.set_metadata(PEER, "b", b"")
    store.set_metadata(PEER, "a", b"1")
    with pytest.raises(ValueError, match="too much"):
        store.set_metadata(PEER, "c", b"1")
    assert store.metadata(PEER) == {"a": b"1", "b": b""}
    store.set_metadata(PEER, "b", None)
    assert store.metadata(PEER) == {"a": b"1"}
    store.connected(PEER, now=0)
    store.disconnected(PEER, now=0)
    assert store.metadata(PEER) == {"a": b"1"}
    store.forget(PEER)
    assert store.metadata(PEER) == {}


def test_what_is_over_is_collected_a_few_at_a_time() -> None:
    store = Peerstore()
    people = [Identity.generate() for _ in range(10)]
    for who in people:
        store.add_record(sealed(who, 1, 1), peer=who.peer_id, now=0)
    store.set_metadata(people[0].peer_id, "note", b"")
    store.add_addrs(people[1].peer_id, [addr(1)], ttl=PERMANENT_TTL, now=0)
    later = LIMITS.address_ttl
    assert store.collect(now=later - 1, most=100) == 0
    assert store.collect(now=later, most=5) == 3
    assert len(store) == 7 and store._other_addrs == 6
    assert store.collect(now=later, most=5) == 5
    assert store.collect(now=later, most=5) == 0
    assert list(store) == [people[0].peer_id, people[1].peer_id]
    assert [store.record(who.peer_id) is None for who in people] == [False, False, *[True] * 8]
    assert store._other_addrs == 1


def test_nobody_has_to_collect() -> None:
    """Of peers that are heard of once, as many are kept as there are alive, and as many again at most."""
    store = Peerstore()
    most = 0
    for second in range(2000):
        store.add_addrs(Identity.generate().peer_id, [addr(1)], ttl=50, now=second)
        most = max(most, len(store))
    assert most <= 150


def test_a_connected_peer_is_not_collected() -> None:
    store = Peerstore()
    store.connected(PEER, now=0)
    assert store.collect(now=0, most=9) == 0 and PEER in store
    store.disconnected(PEER, now=0)
    assert store.collect(now=LIMITS.recent_ttl - 1, most=9) == 0 and PEER in store
    assert store.collect(now=LIMITS.recent_ttl, most=9) == 1 and PEER not in store


def test_the_newest_record_counts_and_replaces_what_was_signed() -> None:
    store = Peerstore()
    store.add_addrs(PEER, [addr(9)], ttl=60, now=0)
    assert store.add_record(sealed(ALICE, 5, 1, 2), peer=PEER, now=0)
    assert not store.add_record(sealed(ALICE, 4, 3), peer=PEER, now=0)
    assert not store.add_record(sealed(ALICE, 5, 3), peer=PEER, now=0)
    assert set(store.addrs(PEER, now=0)) == {addr(1), addr(2), addr(9)}
    newest = sealed(ALICE, 6, 2, 3)
    assert store.add_record(newest, peer=PEER, now=0)
    assert set(store.addrs(PEER, now=0)) == {addr(2), addr(3), addr(9)}
    assert store.record(PEER) == newest
    # The same again says that it still holds.
    assert store.add_record(newest, peer=PEER, now=LIMITS.address_ttl - 1)
    assert set(store.addrs(PEER, now=LIMITS.address_ttl)) == {addr(2), addr(3)}


def test_a_record_of_another_peer_is_refused() -> None:
    store = Peerstore()
    with pytest.raises(RemoteProtocolError):
        store.add_record(sealed(BOB, 1, 1), peer=PEER, now=0)
    assert len(store) == 0
    assert store.record(BOB.peer_id) is None


def test_a_record_signed_by_another_peer_is_refused() -> None:
    store = Peerstore()
    payload = encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, (addr(1).to_bytes(),)))
    forged = SignedEnvelope.seal(BOB.private_key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=payload)
    for peer in (PEER, BOB.peer_id):
        with pytest.raises(RemoteProtocolError):
            store.add_record(forged.to_bytes(), peer=peer, now=0)
    assert len(store) == 0


def test_a_broken_record_changes_nothing() -> None:
    store = Peerstore()
    good = sealed(ALICE, 1, 1)
    store.add_record(good, peer=PEER, now=0)
    broken = bytearray(sealed(ALICE, 2, 2))
    broken[-1] ^= 1
    with pytest.raises(RemoteProtocolError):
        store.add_record(bytes(broken), peer=PEER, now=0)
    assert store.record(PEER) == good
    assert store.addrs(PEER, now=0) == (addr(1),)


def test_keys_belong_to_their_ids() -> None:
    store = Peerstore()
    rsa = Identity.generate("rsa")
    assert store.public_key(PEER) == ALICE.public_key
    assert store.public_key(rsa.peer_id) is None
    with pytest.raises(RemoteProtocolError):
        store.set_public_key(rsa.peer_id, BOB.public_key)
    store.set_public_key(rsa.peer_id, rsa.public_key)
    assert store.public_key(rsa.peer_id) == rsa.public_key
    nobody = PeerId(b"\x00\x04\x08\x01\x12\x00")
    assert store.public_key(nobody) is None


def test_the_peers_heard_of_longest_ago_are_forgotten() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_peers=2, max_records=2))
    first, second, third = (Identity.generate() for _ in range(3))
    for who in (first, second):
        store.add_record(sealed(who, 1, 1), peer=who.peer_id, now=0)
    store.add_addrs(first.peer_id, [addr(2)], ttl=60, now=0)
    store.add_record(sealed(third, 1, 1), peer=third.peer_id, now=0)
    assert set(store) == {first.peer_id, third.peer_id}
    assert store.record(second.peer_id) is None
    # Connected peers do not count, and are never forgotten.
    store.connected(first.peer_id, now=0)
    store.add_addrs(second.peer_id, [addr(1)], ttl=60, now=0)
    store.add_addrs(PEER, [addr(1)], ttl=60, now=0)
    assert set(store) == {first.peer_id, second.peer_id, PEER}


def test_forgetting_a_connected_peer_leaves_it_connected() -> None:
    store = Peerstore()
    store.connected(PEER, now=0)
    store.add_record(sealed(ALICE, 1, 1), peer=PEER, now=0)
    store.forget(PEER)
    assert store.addrs(PEER, now=0) == ()
    assert store.record(PEER) is None
    store.set_protocols(PEER, ["/a"])
    assert store.protocols(PEER) == ("/a",)


class Books(RuleBasedStateMachine):
    """Whatever happens, the bounds hold and the running count of addresses is right."""

    limits = PeerstoreLimits(
        max_addrs=3,
        max_connected_addrs=5,
        max_recent_addrs=2,
        max_peers=3,
        max_unconnected_addrs=6,
        max_recent_protocols=2,
        max_unconnected_protocols=3,
        max_records=2,
    )
    people = tuple(Identity.generate() for _ in range(6))
    who = st.sampled_from(people)
    numbers = st.lists(st.integers(0, 9), max_size=8)

    def __init__(self) -> None:
        super().__init__()
        self.store = Peerstore(self.limits)
        self.now = 0.0

    @rule(who=who, numbers=numbers, ttl=st.integers(1, 5))
    def add(self, who: Identity, numbers: list[int], ttl: int) -> None:
        self.store.add_addrs(who.peer_id, map(addr, numbers), ttl=ttl, now=self.now)

    @rule(who=who, numbers=numbers, seq=st.integers(0, 3))
    def add_record(self, who: Identity, numbers: list[int], seq: int) -> None:
        self.store.add_record(sealed(who, seq, *numbers), peer=who.peer_id, now=self.now)

    @rule(who=who, number=st.integers(0, 9))
    def remove(self, who: Identity, number: int) -> None:
        self.store.remove_addr(who.peer_id, addr(number))

    @rule(who=who)
    def connect(self, who: Identity) -> None:
        self.store.connected(who.peer_id, now=self.now)

    @rule(who=who)
    def disconnect(self, who: Identity) -> None:
        self.store.disconnected(who.peer_id, now=self.now)

    @rule(who=who, count=st.integers(0, 4))
    def speak(self, who: Identity, count: int) -> None:
        self.store.set_protocols(who.peer_id, [f"/{number}" for number in range(count)])

    @rule(who=who, value=st.none() | st.just(b"x"))
    def note(self, who: Identity, value: bytes | None) -> None:
        self.store.set_metadata(who.peer_id, "key", value)

    @rule(who=who, numbers=numbers, ttl=st.integers(1, 5))
    def tell(self, who: Identity, numbers: list[int], ttl: int) -> None:
        self.store.set_addrs(who.peer_id, map(addr, numbers), ttl=ttl, now=self.now)

    @rule(most=st.integers(0, 4))
    def collect(self, most: int) -> None:
        self.store.collect(now=self.now, most=most)

    @rule(who=who)
    def restore(self, who: Identity) -> None:
        known = self.store.describe(who.peer_id)
        if known is not None:
            self.store.forget(who.peer_id)
            self.store.restore(known, now=self.now)

    @rule(who=who)
    def forget(self, who: Identity) -> None:
        self.store.forget(who.peer_id)

    @rule(who=who, seconds=st.integers(0, 3))
    def look_later(self, who: Identity, seconds: int) -> None:
        self.now += seconds
        self.store.addrs(who.peer_id, now=self.now)

    @invariant()
    def bounds_hold(self) -> None:
        store, limits = self.store, self.limits
        assert store._other_addrs == sum(len(peer.addrs) for peer in store._others.values())
        assert store._other_protocols == sum(len(peer.protocols) for peer in store._others.values())
        assert store._other_protocols <= limits.max_unconnected_protocols or len(store._others) <= 1
        assert store._other_addrs <= limits.max_unconnected_addrs or len(store._others) <= 1
        assert len(store._others) <= limits.max_peers
        assert len(store._records) <= limits.max_records
        assert not set(store._others) & set(store._connected)
        assert all(len(peer.addrs) <= limits.max_addrs for peer in store._others.values())
        assert all(len(peer.addrs) <= limits.max_connected_addrs for peer in store._connected.values())


TestBooks = Books.TestCase
