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
from p2p.peerstore import Peerstore
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
    store.connected(PEER)
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
    store.connected(PEER)
    assert store.addrs(PEER, now=10**6) == (addr(1),)
    store.disconnected(PEER, now=10**6)
    assert store.addrs(PEER, now=10**6 + LIMITS.recent_ttl - 1) == (addr(1),)
    assert store.addrs(PEER, now=10**6 + LIMITS.recent_ttl) == ()


def test_what_a_peer_says_of_itself_ends_with_its_connection() -> None:
    store = Peerstore()
    store.set_protocols(PEER, ["/early"])
    assert store.protocols(PEER) is None
    store.connected(PEER)
    assert store.protocols(PEER) is None
    store.set_protocols(PEER, ["/a", "/b", "/a"])
    store.set_protocols(PEER, ["/b", "/c"])
    store.set_agent_version(PEER, "someone/1")
    assert store.protocols(PEER) == ("/b", "/c")
    assert store.agent_version(PEER) == "someone/1"
    store.disconnected(PEER, now=0)
    store.connected(PEER)
    assert store.protocols(PEER) is None
    assert store.agent_version(PEER) is None


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
    store.connected(first.peer_id)
    store.add_addrs(second.peer_id, [addr(1)], ttl=60, now=0)
    store.add_addrs(PEER, [addr(1)], ttl=60, now=0)
    assert set(store) == {first.peer_id, second.peer_id, PEER}


def test_forgetting_a_connected_peer_leaves_it_connected() -> None:
    store = Peerstore()
    store.connected(PEER)
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
        self.store.connected(who.peer_id)

    @rule(who=who)
    def disconnect(self, who: Identity) -> None:
        self.store.disconnected(who.peer_id, now=self.now)

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
        assert store._other_addrs <= limits.max_unconnected_addrs or len(store._others) <= 1
        assert len(store._others) <= limits.max_peers
        assert len(store._records) <= limits.max_records
        assert not set(store._others) & set(store._connected)
        assert all(len(peer.addrs) <= limits.max_addrs for peer in store._others.values())
        assert all(len(peer.addrs) <= limits.max_connected_addrs for peer in store._connected.values())


TestBooks = Books.TestCase
