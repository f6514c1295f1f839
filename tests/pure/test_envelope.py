"""Signed envelopes and peer records: nothing comes out of them that was not signed, for this, by its subject."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.identity import KeyType, PeerId, PeerRecord, PrivateKey, SignedEnvelope, open_peer_record
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE, _open_kept
from p2p.limits import WIRE_LIMITS
from p2p.wire.addresses import Multiaddr, parse_user_addr
from p2p.wire.messages import EnvelopeMessage, PeerRecordMessage, encode_envelope, encode_peer_record

KEY = PrivateKey.from_seed(bytes(32))
OTHER = PrivateKey.from_seed(b"\1" * 32)
PEER = PeerId.from_public_key(KEY.public_key)
ADDR = parse_user_addr("/ip4/192.0.2.1/tcp/4001")


def sealed_payload(
    payload: bytes, key: PrivateKey = KEY, domain: str = DOMAIN, kind: bytes = PAYLOAD_TYPE
) -> bytes:
    return SignedEnvelope.seal(key, domain=domain, payload_type=kind, payload=payload).to_bytes()


@pytest.mark.parametrize("kind", KeyType)
def test_round_trip(kind: KeyType) -> None:
    key = PrivateKey.generate(kind)
    envelope = SignedEnvelope.seal(key, domain="test", payload_type=b"\x03\x02", payload=b"payload")
    opened = SignedEnvelope.open(envelope.to_bytes(), domain="test", payload_type=b"\x03\x02")
    assert opened == envelope
    assert opened.payload == b"payload"
    assert opened.signer == PeerId.from_public_key(key.public_key)


@given(st.text(max_size=10), st.binary(max_size=10), st.binary(max_size=100))
def test_any_fields(domain: str, payload_type: bytes, payload: bytes) -> None:
    data = sealed_payload(payload, domain=domain, kind=payload_type)
    opened = SignedEnvelope.open(data, domain=domain, payload_type=payload_type)
    assert (opened.payload, opened.payload_type, opened.public_key) == (payload, payload_type, KEY.public_key)
    with pytest.raises(RemoteProtocolError):
        SignedEnvelope.open(data, domain=domain + "x", payload_type=payload_type)
    with pytest.raises(RemoteProtocolError):
        SignedEnvelope.open(data, domain=domain, payload_type=payload_type + b"x")


def test_field_borders_are_signed() -> None:
    """Moving a byte from one field to the next must not verify."""
    envelope = SignedEnvelope.seal(KEY, domain="ab", payload_type=b"cd", payload=b"ef")
    for domain, payload_type, payload in (("a", b"bcd", b"ef"), ("ab", b"cde", b"f"), ("ab", b"c", b"def")):
        forged = EnvelopeMessage(KEY.public_key.to_protobuf(), payload_type, payload, envelope.signature)
        with pytest.raises(RemoteProtocolError):
            SignedEnvelope.open(encode_envelope(forged), domain=domain, payload_type=payload_type)


def test_every_byte_counts() -> None:
    data = sealed_payload(b"payload")
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1
        with pytest.raises(RemoteProtocolError):
            SignedEnvelope.open(bytes(flipped), domain=DOMAIN, payload_type=PAYLOAD_TYPE)


def test_somebody_elses_signature() -> None:
    envelope = SignedEnvelope.seal(KEY, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=b"payload")
    stolen = EnvelopeMessage(OTHER.public_key.to_protobuf(), PAYLOAD_TYPE, b"payload", envelope.signature)
    with pytest.raises(RemoteProtocolError, match="signature"):
        SignedEnvelope.open(encode_envelope(stolen), domain=DOMAIN, payload_type=PAYLOAD_TYPE)


def test_an_envelope_too_large() -> None:
    with pytest.raises(RemoteProtocolError, match="limit"):
        SignedEnvelope.open(
            sealed_payload(bytes(WIRE_LIMITS.max_envelope)), domain=DOMAIN, payload_type=PAYLOAD_TYPE
        )


@given(st.integers(0, 2**64 - 1), st.integers(0, 20))
def test_records(seq: int, count: int) -> None:
    record = PeerRecord(PEER, seq, (ADDR,) * count)
    assert open_peer_record(record.seal(KEY)) == record


def test_a_record_signed_by_another_is_refused() -> None:
    payload = encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, (ADDR.to_bytes(),)))
    assert open_peer_record(sealed_payload(payload)).peer_id == PEER
    with pytest.raises(RemoteProtocolError, match="signed by"):
        open_peer_record(sealed_payload(payload, key=OTHER))
    with pytest.raises(ValueError, match="that peer's key"):
        PeerRecord(PEER, 1, ()).seal(OTHER)


def test_a_record_for_another_domain_or_type_is_refused() -> None:
    payload = encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, ()))
    for data in (
        sealed_payload(payload, domain="libp2p-relay-rsvp"),
        sealed_payload(payload, kind=b"\x03\x02"),
    ):
        with pytest.raises(RemoteProtocolError):
            open_peer_record(data)


@pytest.mark.parametrize("peer_id", [b"", b"\0\0", b"\x12\x20", OTHER.public_key.to_protobuf()])
def test_a_record_of_nobody_is_refused(peer_id: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_peer_record(sealed_payload(encode_peer_record(PeerRecordMessage(peer_id, 1, ()))))


def test_addresses_that_cannot_be_read_are_left_out() -> None:
    addresses = (b"", ADDR.to_bytes(), bytes.fromhex("047f"), b"\xff\xff\x7f", bytes(1500))
    payload = encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, addresses))
    assert open_peer_record(sealed_payload(payload)).addresses == (ADDR,)
    payload = encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, (b"",)))
    assert open_peer_record(sealed_payload(payload)).addresses == ()


@pytest.mark.parametrize("seq", [-1, 2**64])
def test_seq_fits_64_bits(seq: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        PeerRecord(PEER, seq, ()).seal(KEY)


def test_what_is_sealed_can_be_opened() -> None:
    most = PeerRecord(PEER, 1, (ADDR,) * WIRE_LIMITS.max_record_addrs_read)
    assert open_peer_record(most.seal(KEY)) == most
    with pytest.raises(ValueError, match="addresses"):
        PeerRecord(PEER, 1, (ADDR,) * (WIRE_LIMITS.max_record_addrs_read + 1)).seal(KEY)
    with pytest.raises(ValueError, match="bytes"):
        PeerRecord(PEER, 1, (Multiaddr("/dns4/" + "a." * 60 + "example"),) * 64).seal(KEY)


def test_a_record_with_more_addresses_is_cut_and_one_with_far_more_refused() -> None:
    def record(count: int) -> bytes:
        return sealed_payload(
            encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, (ADDR.to_bytes(),) * count))
        )

    most = WIRE_LIMITS.max_record_addrs
    assert len(open_peer_record(record(most)).addresses) == WIRE_LIMITS.max_record_addrs_read < most
    with pytest.raises(RemoteProtocolError):
        open_peer_record(record(most + 1))


@pytest.mark.parametrize(
    "part", ["/dns/aa", "/sni/a.aa", "/dnsaddr/a.b.c.d.e.f.g", "/dns4/" + "é" * 9, "/ws"]
)
def test_the_dearest_records_are_cheap(part: str) -> None:
    dear = parse_user_addr(part * WIRE_LIMITS.max_address_parts).to_bytes()
    count = min(WIRE_LIMITS.max_record_addrs, WIRE_LIMITS.max_envelope // (len(dear) + 16))
    data = sealed_payload(encode_peer_record(PeerRecordMessage(PEER.to_bytes(), 1, (dear,) * count)))
    spent = []
    for _ in range(3):
        start = time.thread_time()
        # Read or left out: long names that are not ASCII are.
        assert bool(open_peer_record(data).addresses) == part.isascii()
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.050


def test_a_record_that_was_good_is_kept_by_all_of_its_bytes() -> None:
    record = PeerRecord(PEER, 7, (ADDR,))
    sealed = record.seal(KEY)
    kept = open_peer_record(sealed)
    assert open_peer_record(bytes(bytearray(sealed))) is kept
    for i in range(len(sealed)):
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                open_peer_record(sealed[:i] + bytes((sealed[i] ^ 1,)) + sealed[i + 1 :])
    long = PeerRecord(PEER, 8, (ADDR,) * WIRE_LIMITS.max_record_addrs_read).seal(KEY)
    assert len(long) > WIRE_LIMITS.kept_record_size
    before = _open_kept.cache_info()
    assert open_peer_record(long) == open_peer_record(long)
    assert _open_kept.cache_info() == before
    for seq in range(WIRE_LIMITS.kept_records + 10):
        open_peer_record(PeerRecord(PEER, seq, (ADDR,)).seal(KEY))
    assert _open_kept.cache_info().currsize == WIRE_LIMITS.kept_records
