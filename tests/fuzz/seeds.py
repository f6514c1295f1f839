"""What parsers accept: where mutation begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p2p.identity import KeyType, PeerRecord, PublicKey
from p2p.wire import messages, plaintext_messages
from p2p.wire.addresses import parse_peer_addr, parse_user_addr
from p2p.wire.framing import encode_frame
from tests.fuzz.machines import THEM, US, x25519

VECTORS: dict[str, Any] = json.loads(
    Path(__file__).parent.parent.joinpath("vectors/identity.json").read_text()
)

# --- identity -----------------------------------------------------------------------------------------

SIGNED = {KeyType[name]: pair for name, pair in VECTORS["signed"]["vectors"].items()}
MESSAGE = VECTORS["signed"]["message"].encode()
KEYS = {KeyType[name]: bytes.fromhex(pair["public"]) for name, pair in VECTORS["pairs"]["vectors"].items()}
KEY_DATA = {kind: PublicKey.from_protobuf(key).data for kind, key in KEYS.items()}
ADDRS = tuple(
    parse_user_addr(text).to_bytes()
    for text in (
        f"/ip4/192.0.2.1/tcp/4001/p2p/{THEM.peer_id}",
        f"/ip6/::1/udp/4001/quic-v1/p2p/{US.peer_id}/p2p-circuit/p2p/{THEM.peer_id}",
        "/dns4/example.org/tcp/443/tls/sni/example.org/ws",
        "/ip4/1.2.3.4/udp/9/webrtc-direct/certhash/uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ",
        f"/unix/tmp/socket/p2p/{THEM.peer_id}",
        "/memory/7",
    )
)
RECORD = PeerRecord(THEM.peer_id, 7, tuple(map(parse_peer_addr, ADDRS))).seal(THEM.private_key)
RECORD_OF_ANOTHER = PeerRecord(US.peer_id, 7, ()).seal(US.private_key)
IDENTIFY = messages.encode_identify(
    messages.IdentifyMessage(
        THEM.public_key.to_protobuf(), ADDRS, ("/a", "/b"), ADDRS[0], "v\x1b", "ag\nent", RECORD
    )
)
IDENTIFY_OF_ANYBODY = messages.encode_identify(
    messages.IdentifyMessage(
        listen_addrs=ADDRS, protocols=("/a", "/b"), agent_version="v", observed_addr=ADDRS[0]
    )
)
SHORT_IDENTIFY = messages.encode_identify(
    messages.IdentifyMessage(protocols=("/a", "é"), agent_version="ü", protocol_version="")
)
IDENTIFY_WITH_RECORD_OF_ANOTHER = messages.encode_identify(
    messages.IdentifyMessage(signed_peer_record=RECORD_OF_ANOTHER, protocols=("/a",) * 3)
)

# --- handshakes and negotiation -----------------------------------------------------------------------

#: What the peer whose static key is ``x25519(2)`` says of itself.
NOISE_PAYLOAD = messages.encode_noise_payload(
    messages.NoisePayload(
        THEM.public_key.to_protobuf(),
        THEM.sign(b"noise-libp2p-static-key:" + x25519(2).public_key().public_bytes_raw()),
        ("/yamux/1.0.0", "/mplex/6.7.0"),
        (b"hash",),
    )
)
SHORT_NOISE_PAYLOAD = messages.encode_noise_payload(messages.NoisePayload(b"k", b"s", ("é", "/b")))
#: Points of Curve25519 with which every secret is known to everybody.
LOW_ORDER = (
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
)
EXCHANGE = plaintext_messages.encode_plaintext_exchange(
    plaintext_messages.PlaintextExchange(THEM.peer_id.to_bytes(), THEM.public_key.to_protobuf())
)
MULTISTREAM = encode_frame(b"/multistream/1.0.0\n")
NA, LS = encode_frame(b"na\n"), encode_frame(b"ls\n")
ECHO, OTHER = encode_frame(b"/echo/1\n"), encode_frame(b"/other/1\n")
NOISE = encode_frame(b"/noise\n")

# --- yamux --------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    return b"\0" + bytes([kind, 0, flags]) + stream_id.to_bytes(4, "big") + length.to_bytes(4, "big") + body


def yamux(first: int) -> tuple[bytes, ...]:
    """What a peer may say that opens streams from ``first`` on; ours begin at ``3 - first``."""
    ours = 3 - first
    return (
        frame(0, 1, first, 5, b"hello") + frame(0, 0, first, 2, b"!!") + frame(0, 4, first, 0),
        frame(1, 1, first, 0) + frame(1, 0, first, 100_000) + frame(1, 8, first, 7),
        frame(1, 2, ours, 0) + frame(0, 0, ours, 3, b"abc") + frame(0, 4, ours, 1, b"d"),
        frame(0, 1, first + 2, 0) + frame(0, 0, first + 2, 300, b"x" * 300) + frame(1, 8, ours, 0),
        frame(2, 1, 0, 99) + frame(2, 2, 0, 99) + frame(3, 0, 0, 0),
    )


#: Ours are 0 and 1, and so are theirs.
MPLEX = (
    b"\x00\x03two" + b"\x02\x05hello" + b"\x02\x00" + b"\x04\x00",
    b"\x00\x00" + b"\x02" + encode_frame(b"x" * 300) + b"\x06\x00" + b"\x02\x01x",
    b"\x01\x05hello" + b"\x01\x02!!" + b"\x03\x00" + b"\x0d\x00",
    b"\x08\x00" + b"\x00\x00" + b"\x0a\x01a" + b"\x02\x01b" + b"\x80\x10\x00" + b"\x82\x10\x01c",
    b"\x00\x00\x02" + encode_frame(MULTISTREAM + ECHO + b"data") + b"\x04\x00",
    b"\x01" + encode_frame(MULTISTREAM + ECHO + b"data") + b"\x03\x00",
)


def speaking(stream_id: int, *texts: bytes) -> bytes:
    """A frame that opens a stream and says ``texts``."""
    body = b"".join(texts)
    return frame(0, 1, stream_id, len(body), body)


def answering(stream_id: int, *texts: bytes) -> bytes:
    """A frame on a stream of ours."""
    body = b"".join(texts)
    return frame(0, 2, stream_id, len(body), body)


STREAMS = (
    answering(1, MULTISTREAM, ECHO, b"data") + frame(0, 4, 1, 0) + answering(3, MULTISTREAM, NA),
    speaking(2, MULTISTREAM, ECHO, b"data") + frame(0, 4, 2, 0),
    speaking(2, MULTISTREAM) + speaking(4, MULTISTREAM, OTHER, LS, ECHO) + frame(0, 0, 2, 8, ECHO[:8]),
    frame(2, 1, 0, 1) + speaking(2, MULTISTREAM, LS, OTHER) + frame(1, 8, 2, 0) + frame(3, 0, 0, 0),
)
