"""Identify's messages: cut and merged without loss, believed only within bounds and of the right peer."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.abc import ProtocolId
from p2p.errors import RemoteProtocolError
from p2p.identity import Identity, PeerRecord, SignedEnvelope
from p2p.limits import WIRE_LIMITS, IdentifyLimits
from p2p.peerstore import Peerstore
from p2p.protocols.identify.codec import merge, split
from p2p.protocols.identify.state import Exchange, Identification, _shared
from p2p.wire.addresses import Multiaddr
from p2p.wire.messages import IdentifyMessage, decode_identify, encode_identify

LIMITS = IdentifyLimits()
ALICE = Identity.generate()
BOB = Identity.generate()
ADDR = Multiaddr("/ip4/127.0.0.1/tcp/4001")

names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=60).map("/".__add__)
messages = st.builds(
    IdentifyMessage,
    public_key=st.none() | st.binary(max_size=300),
    listen_addrs=st.lists(st.binary(max_size=300), max_size=64).map(tuple),
    protocols=st.lists(names, max_size=200).map(tuple),
    observed_addr=st.none() | st.binary(max_size=300),
    protocol_version=st.none() | st.text(max_size=50),
    agent_version=st.none() | st.text(max_size=50),
    signed_peer_record=st.none() | st.binary(max_size=6000),
)


def exchange(*parts: bytes, peer: Identity = ALICE) -> Identification:
    reader = Exchange(peer.peer_id, peer.public_key, LIMITS)
    for part in parts:
        reader.receive(part)
    return reader.finish()


def identify(**fields: Any) -> Identification:
    return exchange(encode_identify(IdentifyMessage(**fields)))


@pytest.mark.property
def test_100_000_records_of_others_are_not_stored() -> None:
    """CVE-2023-40583: each is valid, and of another id; neither an answer nor a push stores one."""
    store = Peerstore()
    store.connected(ALICE.peer_id, now=0)
    raw = ADDR.to_bytes()
    for seq in range(100_000):
        mallory = Identity.generate()
        record = PeerRecord(mallory.peer_id, seq, (ADDR,)).seal(mallory.private_key)
        said = identify(signed_peer_record=record, listen_addrs=(raw,))
        assert said.refused and said.signed_record is None and not said.addrs
        with pytest.raises(RemoteProtocolError):
            store.add_record(record, peer=ALICE.peer_id, now=0)
    assert list(store) == [ALICE.peer_id]
    assert store.addrs(ALICE.peer_id, now=0) == () and store.record(ALICE.peer_id) is None


@given(messages)
@example(
    IdentifyMessage(protocols=("/x",) * 1024, listen_addrs=(b"a" * 60,) * 64, signed_peer_record=b"r" * 4096)
)
def test_parts_add_up_to_the_whole(message: IdentifyMessage) -> None:
    parts = split(message, LIMITS)
    assert 1 <= len(parts) <= LIMITS.max_messages
    assert len(parts[0]) <= LIMITS.max_own_message
    merged = IdentifyMessage()
    for part in parts:
        assert len(part) <= LIMITS.max_message
        merged = merge(merged, decode_identify(part))
    assert merged == message


def test_a_small_message_is_sent_whole() -> None:
    message = IdentifyMessage(public_key=b"k", protocols=("/a",), signed_peer_record=b"r")
    assert split(message, LIMITS) == [encode_identify(message)]


def test_what_fits_ten_messages_only_in_part_loses_addresses_first() -> None:
    message = IdentifyMessage(
        public_key=b"k", protocols=("/p",), listen_addrs=(b"a" * 900,) * 60, signed_peer_record=b"r" * 3000
    )
    parts = split(message, LIMITS)
    assert len(parts) == LIMITS.max_messages
    first, last = decode_identify(parts[0]), decode_identify(parts[-1])
    assert (first.public_key, first.protocols) == (b"k", ("/p",))
    assert last == IdentifyMessage(signed_peer_record=b"r" * 3000)


def test_a_record_too_large_for_any_message_is_left_out() -> None:
    parts = split(IdentifyMessage(public_key=b"k", signed_peer_record=b"r" * 9000), LIMITS)
    assert [decode_identify(part) for part in parts] == [IdentifyMessage(public_key=b"k")]


@given(messages, messages, messages)
def test_merging_is_associative(a: IdentifyMessage, b: IdentifyMessage, c: IdentifyMessage) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(IdentifyMessage(), a) == a == merge(a, IdentifyMessage())
    assert merge(a, b).listen_addrs == a.listen_addrs + b.listen_addrs
    assert merge(a, b).agent_version == (a.agent_version if b.agent_version is None else b.agent_version)


@given(st.lists(st.binary(max_size=200) | messages.map(encode_identify), max_size=12))
def test_anything_is_taken_or_refused(parts: list[bytes]) -> None:
    try:
        found = exchange(*parts)
    except RemoteProtocolError:
        return
    assert len(found.protocols) <= LIMITS.max_protocols
    assert len(found.addrs) <= LIMITS.max_addrs
    assert len(found.agent_version) <= LIMITS.max_version


def test_what_an_honest_peer_says() -> None:
    record = PeerRecord(ALICE.peer_id, 7, (ADDR,)).seal(ALICE.private_key)
    found = identify(
        public_key=ALICE.public_key.to_protobuf(),
        listen_addrs=(b"\x04\x01\x02\x03\x04",),
        protocols=("/a", "/b", "/a"),
        observed_addr=ADDR.to_bytes(),
        agent_version="other/1",
        signed_peer_record=record,
    )
    assert found == Identification(
        peer_id=ALICE.peer_id,
        public_key=ALICE.public_key,
        protocols=(ProtocolId("/a"), ProtocolId("/b")),
        addrs=(ADDR,),
        signed_record=record,
        observed_addr=ADDR,
        agent_version="other/1",
        protocol_version="",
        refused="",
    )


def test_nothing_is_no_identification() -> None:
    with pytest.raises(RemoteProtocolError, match="without a message"):
        exchange()


def test_the_key_must_be_the_handshakes() -> None:
    with pytest.raises(RemoteProtocolError, match="another public key"):
        identify(public_key=BOB.public_key.to_protobuf())
    assert identify().peer_id == ALICE.peer_id  # optional in the spec


def test_records_of_others_are_refused() -> None:
    """Random other peers' valid records (GHSA-gcq9-qqwx-rgj3) and mixed ones (GHSA-wc36-xgcc-jwpr)."""
    bobs = PeerRecord(BOB.peer_id, 1, (ADDR,)).seal(BOB.private_key)
    found = identify(protocols=("/a",), listen_addrs=(ADDR.to_bytes(),), signed_peer_record=bobs)
    assert (found.signed_record, found.addrs) == (None, ())
    assert str(BOB.peer_id) in found.refused
    assert found.protocols == ("/a",)
    tampered = bytearray(PeerRecord(ALICE.peer_id, 1, (ADDR,)).seal(ALICE.private_key))
    tampered[-1] ^= 1
    assert identify(signed_peer_record=bytes(tampered)).signed_record is None


def test_what_is_signed_and_no_record_is_as_good_as_absent() -> None:
    """rust-libp2p's records have a type and a domain of its own; its unsigned addresses are as good as anybody's."""
    rusts = SignedEnvelope.seal(
        ALICE.private_key,
        domain="libp2p-routing-state",
        payload_type=b"/libp2p/routing-state-record",
        payload=b"as it likes",
    )
    found = identify(listen_addrs=(ADDR.to_bytes(),), signed_peer_record=rusts.to_bytes())
    assert (found.signed_record, found.addrs, found.refused) == (None, (ADDR,), "")
    found = identify(listen_addrs=(ADDR.to_bytes(),), signed_peer_record=b"no envelope")
    assert (found.signed_record, found.addrs) == (None, ())
    assert found.refused


def test_a_record_with_no_address_is_harmless() -> None:
    """CVE-2026-40094."""
    found = identify(signed_peer_record=PeerRecord(ALICE.peer_id, 1, ()).seal(ALICE.private_key))
    assert found.addrs == ()
    assert found.signed_record is not None


def test_an_eleventh_message_is_refused() -> None:
    part = encode_identify(IdentifyMessage(protocols=("/a",)))
    assert exchange(*[part] * LIMITS.max_messages).protocols == ("/a",)
    with pytest.raises(RemoteProtocolError, match="more than 10 messages"):
        exchange(*[part] * (LIMITS.max_messages + 1))


def test_a_protocol_flood_is_cut() -> None:
    """Ten messages of nearly 8 KiB, some 13,000 protocols of four bytes: CL-2020-29, go #3501."""
    parts = []
    for chunk in range(LIMITS.max_messages):
        names = tuple(f"{chunk}{index:03x}"[:5] for index in range(1000))
        parts.append(encode_identify(IdentifyMessage(protocols=names)))
        assert len(parts[-1]) <= LIMITS.max_message
    assert len(exchange(*parts).protocols) == LIMITS.max_protocols


def test_an_address_flood_is_cut_before_it_is_parsed() -> None:
    raws = tuple(Multiaddr(f"/ip4/1.2.{i // 256}.{i % 256}/tcp/1").to_bytes() for i in range(800))
    start = time.thread_time()
    found = exchange(*[encode_identify(IdentifyMessage(listen_addrs=raws))] * LIMITS.max_messages)
    assert len(found.addrs) == LIMITS.max_addrs
    assert time.thread_time() - start < 0.25


def test_bad_addresses_are_skipped() -> None:
    found = identify(
        listen_addrs=(b"", b"\x04\x7f", ADDR.to_bytes(), b"\xff" * 70), observed_addr=b"\xff\xff"
    )
    assert found.addrs == (ADDR,)
    assert found.observed_addr is None


def test_agent_versions_cannot_write_in_a_log() -> None:
    """Row 39: eight kibibytes of line breaks, terminal colours and writing directions."""
    found = identify(agent_version="a\n\x1b[31m\u202eb" * 500, protocol_version="\r\x00")
    assert len(found.agent_version) <= LIMITS.max_version
    assert found.agent_version.startswith("a\\n\\x1b[31m\\u202eb")
    assert found.agent_version.isascii() and found.agent_version.isprintable()
    assert found.protocol_version == "\\r\\x00"


def test_what_many_peers_say_is_there_once() -> None:
    first, second = (identify(agent_version="agent/1", protocols=("/a/1", "/b/1")) for _ in range(2))
    assert first.agent_version is second.agent_version
    assert all(one is other for one, other in zip(first.protocols, second.protocols, strict=True))


def test_what_one_peer_says_does_not_stay_for_ever() -> None:
    """Some interpreters (CPython 3.12 at first, those without a GIL) never let go of an interned string."""
    found = identify(agent_version="an agent of the moment", protocols=("/a protocol of the moment",))
    for said in (found.agent_version, *found.protocols):
        again = "".join(said)
        assert again is not said
        assert sys.intern(again) is again
    for n in range(2 * WIRE_LIMITS.kept_names // LIMITS.max_protocols + 1):
        identify(protocols=tuple(f"/{n}/{m}" for m in range(LIMITS.max_protocols // 2)))
    assert _shared.cache_info().currsize <= WIRE_LIMITS.kept_names
    long = ("/" + "x" * WIRE_LIMITS.kept_name_size,)
    assert identify(protocols=long).protocols[0] is not identify(protocols=long).protocols[0]
