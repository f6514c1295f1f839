"""The protobuf messages of connection set-up: round trips, what decoders insist on, and names of their own."""

from __future__ import annotations

import importlib
import pkgutil
import time

import pytest
from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st

import p2p.wire.proto
from p2p.errors import RemoteProtocolError
from p2p.limits import WIRE_LIMITS
from p2p.wire import varint
from p2p.wire.messages import (
    EnvelopeMessage,
    IdentifyMessage,
    KeyMessage,
    KeyType,
    NoisePayload,
    PeerRecordMessage,
    decode_envelope,
    decode_identify,
    decode_noise_payload,
    decode_peer_record,
    decode_private_key,
    decode_public_key,
    encode_envelope,
    encode_identify,
    encode_noise_payload,
    encode_peer_record,
    encode_private_key,
    encode_public_key,
)
from p2p.wire.plaintext_messages import (
    PlaintextExchange,
    decode_plaintext_exchange,
    encode_plaintext_exchange,
)

SHORT = st.binary(max_size=40)
SOME = st.binary(min_size=1, max_size=40)
NAMES = st.lists(st.text(max_size=20), max_size=4).map(tuple)
KEYS = st.builds(KeyMessage, st.sampled_from(KeyType), SHORT)
ENVELOPES = st.builds(EnvelopeMessage, SHORT, SHORT, SHORT, SHORT)
RECORDS = st.builds(
    PeerRecordMessage, SHORT, st.integers(0, 2**64 - 1), st.lists(SHORT, max_size=5).map(tuple)
)
NOISE = st.builds(NoisePayload, SOME, SOME, NAMES, st.lists(SHORT, max_size=3).map(tuple))
EXCHANGES = st.builds(PlaintextExchange, SOME, SOME)
IDENTIFY = st.builds(
    IdentifyMessage,
    st.none() | SHORT,
    st.lists(SHORT, max_size=4).map(tuple),
    NAMES,
    st.none() | SHORT,
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
    st.none() | SHORT,
)


@given(KEYS)
def test_keys(key: KeyMessage) -> None:
    assert decode_public_key(encode_public_key(key)) == key
    assert decode_private_key(encode_private_key(key)) == key
    assert encode_public_key(key) == bytes((8, key.type, 18, len(key.data))) + key.data


@given(ENVELOPES)
def test_envelopes(envelope: EnvelopeMessage) -> None:
    assert decode_envelope(encode_envelope(envelope)) == envelope


@given(RECORDS)
def test_peer_records(record: PeerRecordMessage) -> None:
    assert decode_peer_record(encode_peer_record(record)) == record


@given(NOISE)
def test_noise_payloads(payload: NoisePayload) -> None:
    assert decode_noise_payload(encode_noise_payload(payload)) == payload


@given(EXCHANGES)
def test_plaintext_exchanges(exchange: PlaintextExchange) -> None:
    assert decode_plaintext_exchange(encode_plaintext_exchange(exchange)) == exchange


@given(IDENTIFY)
def test_identify(message: IdentifyMessage) -> None:
    assert decode_identify(encode_identify(message)) == message


GOOD_KEY = bytes((8, 1, 18, 32)) + bytes(range(32))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD_KEY[2:],  # no type
        GOOD_KEY[:2],  # no data
        GOOD_KEY[2:] + GOOD_KEY[:2],  # in another order
        b"\x88\x00\x01" + GOOD_KEY[2:],  # a tag of two bytes
        b"\x08\x81\x00" + GOOD_KEY[2:],  # a type of two bytes
        bytes((8, 1, 18, 0xA0, 0)) + bytes(range(32)),  # a length of two bytes
        GOOD_KEY + GOOD_KEY[:2],  # the type twice
        GOOD_KEY + GOOD_KEY[2:],  # the data twice
        GOOD_KEY + b"\x18\x00",  # one field more
        GOOD_KEY + b"\x00",
        GOOD_KEY[:-1],
        bytes((8, 99)) + GOOD_KEY[2:],
        bytes((8, 4)) + GOOD_KEY[2:],
        b"\x08" + b"\xff" * 9 + b"\x01" + GOOD_KEY[2:],  # type -1
    ],
)
def test_keys_have_one_encoding(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_public_key(data)
    with pytest.raises(RemoteProtocolError):
        decode_private_key(data)


def test_key_sizes() -> None:
    size = WIRE_LIMITS.max_public_key - 5
    decode_public_key(encode_public_key(KeyMessage(KeyType.RSA, bytes(size))))
    with pytest.raises(RemoteProtocolError, match="limit"):
        decode_public_key(encode_public_key(KeyMessage(KeyType.RSA, bytes(size + 1))))


@pytest.mark.parametrize("missing", ["identity_key", "identity_sig"])
def test_a_noise_payload_needs_key_and_signature(missing: str) -> None:
    fields = {"identity_key": b"key", "identity_sig": b"sig", missing: b""}
    payload = NoisePayload(fields["identity_key"], fields["identity_sig"])
    with pytest.raises(RemoteProtocolError, match="without"):
        decode_noise_payload(encode_noise_payload(payload))


@pytest.mark.parametrize(
    "payload", [b"\x0a\x01k\x12\x01s\x22\x02\x12\xff", b"\x0a\x01k\x12\x01s\x22\x03\x12\x01\xff"]
)
def test_noise_muxers_must_be_text(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_noise_payload(payload)


def test_noise_muxers_are_counted() -> None:
    decode_noise_payload(encode_noise_payload(NoisePayload(b"k", b"s", ("m",) * 100)))
    with pytest.raises(RemoteProtocolError):
        decode_noise_payload(encode_noise_payload(NoisePayload(b"k", b"s", ("m",) * 101)))


@pytest.mark.parametrize("number", [3, 5, 6])
def test_identify_text_must_be_utf8(number: int) -> None:
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        decode_identify(bytes((number << 3 | 2, 1, 0xFF)))


def test_identify_bounds() -> None:
    decode_identify(encode_identify(IdentifyMessage(protocols=("/p",) * 1024)))
    for refused in (
        IdentifyMessage(protocols=("/p",) * 1025),
        IdentifyMessage(protocols=("p" * 257,)),
        IdentifyMessage(agent_version="a" * 9000),
    ):
        with pytest.raises(RemoteProtocolError):
            decode_identify(encode_identify(refused))


def test_a_singular_field_twice_is_refused() -> None:
    once = encode_identify(IdentifyMessage(observed_addr=b"a"))
    with pytest.raises(RemoteProtocolError):
        decode_identify(once + once)


def test_record_addresses_are_counted() -> None:
    most = WIRE_LIMITS.max_record_addrs
    decode_peer_record(encode_peer_record(PeerRecordMessage(b"", 0, (b"a",) * most)))
    with pytest.raises(RemoteProtocolError):
        decode_peer_record(encode_peer_record(PeerRecordMessage(b"", 0, (b"a",) * (most + 1))))


def test_a_mebibyte_of_empty_entries_costs_nothing() -> None:
    start = time.thread_time()
    for decode in (decode_identify, decode_peer_record, decode_noise_payload, decode_envelope):
        with pytest.raises(RemoteProtocolError):
            decode(b"\x1a\x00" * (1 << 19))
        with pytest.raises(RemoteProtocolError):
            decode(b"\x1a\x00" * (1 << 12))
    assert time.thread_time() - start < 0.050


def test_seq_of_64_bits() -> None:
    assert decode_peer_record(b"\x10" + b"\xff" * 9 + b"\x01").seq == 2**64 - 1
    with pytest.raises(RemoteProtocolError):
        decode_peer_record(b"\x10" + b"\xff" * 9 + b"\x02")


def test_unknown_fields_are_skipped() -> None:
    extra = varint.encode(77 << 3 | 2) + b"\x03abc"
    assert decode_identify(extra) == IdentifyMessage()


def test_descriptors_have_names_of_their_own() -> None:
    modules = [name for _, name, _ in pkgutil.iter_modules(p2p.wire.proto.__path__) if name.endswith("_pb2")]
    assert len(modules) >= 6
    for name in modules:
        descriptor = importlib.import_module(f"p2p.wire.proto.{name}").DESCRIPTOR
        assert descriptor.name == f"p2p_trio/wire/proto/{name.removesuffix('_pb2')}.proto"
        assert descriptor.package.startswith("p2p_trio.")
        assert descriptor_pool.Default().FindFileByName(descriptor.name) is not None
