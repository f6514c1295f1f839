"""Everything that reads a peer's bytes: random, cut or changed ones are accepted or refused, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.identity import KeyType, PeerId, PeerRecord, PrivateKey, PublicKey, SignedEnvelope, open_peer_record
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE
from p2p.wire import messages, plaintext_messages, varint
from p2p.wire.addresses import parse_peer_addr, parse_user_addr
from p2p.wire.fetch_messages import (
    FetchAnswer,
    FetchStatus,
    decode_fetch_answer,
    decode_fetch_request,
    encode_fetch_answer,
    encode_fetch_request,
)
from p2p.wire.framing import FrameReader, encode_frame

KEYS = {kind: PrivateKey.generate(kind) for kind in KeyType}
KEY = KEYS[KeyType.ED25519]
PEER = PeerId.from_public_key(KEY.public_key)
ADDR = parse_user_addr(f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}")
RECORD = PeerRecord(PEER, 7, (ADDR, ADDR)).seal(KEY)


def read_frames(data: bytes) -> object:
    reader = FrameReader(1000)
    found = []
    while data:
        data = data[reader.feed(data) :]
        if (message := reader.next()) is not None:
            found.append(message)
    reader.feed_eof()
    return found


def open_envelope(data: bytes) -> object:
    return SignedEnvelope.open(data, domain=DOMAIN, payload_type=PAYLOAD_TYPE)


def read_varint(data: bytes) -> object:
    return varint.decode(data, max_value=varint.MAX_VALUE)


def read_inline_key(data: bytes) -> object:
    return PeerId.from_bytes(data).public_key()


#: Each with examples of what it accepts.
DECODERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "varint": (read_varint, [b"\x05", b"\xff\x7f"]),
    "frames": (read_frames, [encode_frame(b"hello") * 3]),
    "public key message": (messages.decode_public_key, [KEY.public_key.to_protobuf()]),
    "envelope message": (messages.decode_envelope, [RECORD]),
    "peer record message": (
        messages.decode_peer_record,
        [messages.encode_peer_record(messages.PeerRecordMessage(PEER.to_bytes(), 7, (ADDR.to_bytes(),)))],
    ),
    "noise payload": (
        messages.decode_noise_payload,
        [messages.encode_noise_payload(messages.NoisePayload(b"key", b"sig", ("/yamux/1.0.0",), (b"hash",)))],
    ),
    "plaintext exchange": (
        plaintext_messages.decode_plaintext_exchange,
        [plaintext_messages.encode_plaintext_exchange(plaintext_messages.PlaintextExchange(b"id", b"key"))],
    ),
    "identify": (
        messages.decode_identify,
        [
            messages.encode_identify(
                messages.IdentifyMessage(b"key", (b"addr",), ("/a", "/b"), b"obs", "v", "agent", RECORD)
            )
        ],
    ),
    "request to fetch": (decode_fetch_request, [encode_fetch_request(b"key")]),
    "answer to fetch": (
        decode_fetch_answer,
        [encode_fetch_answer(FetchAnswer(status, b"value")) for status in FetchStatus],
    ),
    "public key": (PublicKey.from_protobuf, [key.public_key.to_protobuf() for key in KEYS.values()]),
    "peer id": (PeerId.from_bytes, [PEER.to_bytes()]),
    "key in a peer id": (read_inline_key, [PEER.to_bytes()]),
    "envelope": (open_envelope, [RECORD]),
    "peer record": (open_peer_record, [RECORD]),
    "address": (parse_peer_addr, [ADDR.to_bytes()]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_the_examples_are_accepted(name: str) -> None:
    decode, examples = DECODERS[name]
    for data in examples:
        decode(data)


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.data())
def test_accepted_or_refused(name: str, data: st.DataObject) -> None:
    decode, examples = DECODERS[name]
    raw = bytearray(data.draw(st.sampled_from(examples)))
    match data.draw(st.sampled_from(["random", "cut", "changed", "longer"])):
        case "random":
            raw = bytearray(data.draw(st.binary(max_size=64)))
        case "cut":
            del raw[data.draw(st.integers(0, len(raw) - 1)) :]
        case "changed":
            for _ in range(data.draw(st.integers(1, 4))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        case "longer":
            at = data.draw(st.integers(0, len(raw)))
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    try:
        decode(bytes(raw))
    except RemoteProtocolError:
        pass
