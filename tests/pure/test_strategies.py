"""What the shipped strategies promise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.identity import PeerId
from p2p.testing import strategies
from p2p.wire.addresses import parse_peer_addr, parse_user_addr


@given(strategies.multiaddrs)
def test_addresses_are_such_as_peers_may_send(addr):
    assert parse_peer_addr(addr.to_bytes()) == addr
    assert parse_user_addr(str(addr)) == addr


@given(strategies.peer_ids)
def test_peer_ids_survive_text(peer):
    assert PeerId.from_text(str(peer)) == peer


@given(strategies.identities, st.binary(max_size=100))
def test_identities_sign(identity, message):
    assert identity.public_key.verify(message, identity.sign(message))
    assert identity.peer_id.matches(identity.public_key)


@given(strategies.protocol_ids)
def test_protocol_ids_are_lines_of_a_negotiation(protocol):
    assert protocol.startswith("/")
    assert protocol.isprintable() and " " not in protocol
    assert len(protocol) < 100


@given(st.binary(max_size=100).flatmap(lambda data: st.tuples(st.just(data), strategies.chunkings(data))))
def test_chunkings_join_to_the_whole(case):
    data, chunks = case
    assert b"".join(chunks) == data


@given(strategies.cuts(50))
def test_cuts_are_sizes(cut):
    assert all(1 <= cut() <= 50 for _ in range(30))
