"""The protobuf messages of identity and connection set-up, as frozen values.

Only this module and those called ``…_messages`` touch the generated classes. Each ``decode_…`` runs its guard over the
bytes first and raises ``RemoteProtocolError`` for whatever is too large, malformed or incomplete; each ``encode_…``
writes fields in the order of their numbers, so equal values give equal bytes. What is inside a ``bytes``
field (a key, an address) is not looked at here.
"""

from __future__ import annotations

from enum import IntEnum

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.limits import WIRE_LIMITS, IdentifyLimits, NoiseLimits
from p2p.wire.guards import LENGTH, VARINT, FieldRule, Guard
from p2p.wire.parsing import guarded, text_of
from p2p.wire.proto.envelope_pb2 import Envelope
from p2p.wire.proto.identify_pb2 import Identify
from p2p.wire.proto.keys_pb2 import PrivateKey, PublicKey
from p2p.wire.proto.noise_pb2 import NoiseExtensions, NoiseHandshakePayload
from p2p.wire.proto.peer_record_pb2 import PeerRecord

_IDENTIFY = IdentifyLimits()
_NOISE = NoiseLimits()


# --- keys (specs/peer-ids) ------------------------------------------------------------------------------


class KeyType(IntEnum):
    """The kinds of identity keys, with their numbers on the wire."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@frozen
class KeyMessage:
    """``PublicKey`` or ``PrivateKey``: they have the same shape. ``data`` depends on ``type``."""

    type: KeyType
    data: bytes


_KEY_FIELDS = {1: FieldRule(VARINT), 2: FieldRule(LENGTH)}
_PUBLIC_KEY = Guard(WIRE_LIMITS.max_public_key, _KEY_FIELDS, max_elements=2)
_PRIVATE_KEY = Guard(WIRE_LIMITS.max_private_key, _KEY_FIELDS, max_elements=2)


def encode_public_key(key: KeyMessage) -> bytes:
    return PublicKey(Type=_wire_type(key.type), Data=key.data).SerializeToString(deterministic=True)


def decode_public_key(data: bytes) -> KeyMessage:
    """Only the one deterministic encoding is accepted: a peer id is made of these bytes."""
    key = _key(guarded(PublicKey, _PUBLIC_KEY, data))
    if encode_public_key(key) != data:
        raise RemoteProtocolError("public key is not in its deterministic encoding")
    return key


def encode_private_key(key: KeyMessage) -> bytes:
    return PrivateKey(Type=_wire_type(key.type), Data=key.data).SerializeToString(deterministic=True)


def decode_private_key(data: bytes) -> KeyMessage:
    """As :func:`decode_public_key`. Never on the wire; in key files."""
    key = _key(guarded(PrivateKey, _PRIVATE_KEY, data))
    if encode_private_key(key) != data:
        raise RemoteProtocolError("private key is not in its deterministic encoding")
    return key


def _wire_type(key_type: KeyType) -> str:
    return _WIRE_TYPES[key_type]


_WIRE_TYPES = {
    KeyType.RSA: "RSA",
    KeyType.ED25519: "Ed25519",
    KeyType.SECP256K1: "Secp256k1",
    KeyType.ECDSA: "ECDSA",
}


def _key(message: PublicKey | PrivateKey) -> KeyMessage:
    # An unknown type is kept as an unknown field by proto2, and so is missing.
    if not message.HasField("Type") or not message.HasField("Data"):
        raise RemoteProtocolError("key without a known type, or without data")
    return KeyMessage(KeyType(message.Type), message.Data)


# --- signed envelope (RFC 0002), peer record (RFC 0003) -------------------------------------------------


@frozen
class EnvelopeMessage:
    """``Envelope``; ``public_key`` holds a ``PublicKey`` message. Nothing is verified yet."""

    public_key: bytes
    payload_type: bytes
    payload: bytes
    signature: bytes


_ENVELOPE = Guard(
    WIRE_LIMITS.max_envelope,
    {
        1: FieldRule(LENGTH, max_length=WIRE_LIMITS.max_public_key),
        2: FieldRule(LENGTH),
        3: FieldRule(LENGTH),
        5: FieldRule(LENGTH),
    },
    max_elements=16,
)


def encode_envelope(envelope: EnvelopeMessage) -> bytes:
    return Envelope(
        public_key=envelope.public_key,
        payload_type=envelope.payload_type,
        payload=envelope.payload,
        signature=envelope.signature,
    ).SerializeToString(deterministic=True)


def decode_envelope(data: bytes) -> EnvelopeMessage:
    message = guarded(Envelope, _ENVELOPE, data)
    return EnvelopeMessage(message.public_key, message.payload_type, message.payload, message.signature)


@frozen
class PeerRecordMessage:
    """``PeerRecord``; ``addresses`` are binary multiaddrs, not parsed."""

    peer_id: bytes
    seq: int
    addresses: tuple[bytes, ...]


_ADDRESS_INFO = Guard(2 * WIRE_LIMITS.max_address, {1: FieldRule(LENGTH)}, max_elements=8)
_PEER_RECORD = Guard(
    WIRE_LIMITS.max_envelope,
    {
        1: FieldRule(LENGTH),
        2: FieldRule(VARINT),
        3: FieldRule(LENGTH, max_count=WIRE_LIMITS.max_record_addrs, nested=_ADDRESS_INFO),
    },
    max_elements=4 * WIRE_LIMITS.max_record_addrs,
)


def encode_peer_record(record: PeerRecordMessage) -> bytes:
    """Raises ``ValueError`` when ``seq`` is not an unsigned 64-bit number."""
    message = PeerRecord(peer_id=record.peer_id, seq=record.seq)
    for address in record.addresses:
        message.addresses.add(multiaddr=address)
    return message.SerializeToString(deterministic=True)


def decode_peer_record(data: bytes) -> PeerRecordMessage:
    message = guarded(PeerRecord, _PEER_RECORD, data)
    addresses = tuple(info.multiaddr for info in message.addresses)
    return PeerRecordMessage(message.peer_id, message.seq, addresses)


# --- Noise (specs/noise) --------------------------------------------------------------------------------


@frozen
class NoisePayload:
    """``NoiseHandshakePayload`` with its extensions."""

    identity_key: bytes
    identity_sig: bytes
    stream_muxers: tuple[str, ...] = ()
    webtransport_certhashes: tuple[bytes, ...] = ()


_NOISE_PAYLOAD = Guard(
    _NOISE.max_handshake_message,
    {
        1: FieldRule(LENGTH, max_length=WIRE_LIMITS.max_public_key),
        2: FieldRule(LENGTH),
        4: FieldRule(
            LENGTH,
            nested=Guard(
                _NOISE.max_handshake_message,
                {
                    1: FieldRule(LENGTH, max_count=16, max_length=64),
                    2: FieldRule(LENGTH, max_count=_NOISE.max_muxers, max_length=_NOISE.max_muxer_name),
                },
                max_elements=200,
            ),
        ),
    },
    max_elements=256,
)


def encode_noise_payload(payload: NoisePayload) -> bytes:
    message = NoiseHandshakePayload(identity_key=payload.identity_key, identity_sig=payload.identity_sig)
    if payload.stream_muxers or payload.webtransport_certhashes:
        extensions = NoiseExtensions(
            webtransport_certhashes=payload.webtransport_certhashes,
            stream_muxers=[muxer.encode("utf-8") for muxer in payload.stream_muxers],
        )
        message.extensions.CopyFrom(extensions)
    return message.SerializeToString(deterministic=True)


def decode_noise_payload(data: bytes) -> NoisePayload:
    """A payload without a key or without a signature is refused."""
    message = guarded(NoiseHandshakePayload, _NOISE_PAYLOAD, data)
    if not message.identity_key or not message.identity_sig:
        raise RemoteProtocolError("noise payload without identity_key or identity_sig")
    return NoisePayload(
        identity_key=message.identity_key,
        identity_sig=message.identity_sig,
        stream_muxers=tuple(text_of(muxer, "a stream muxer") for muxer in message.extensions.stream_muxers),
        webtransport_certhashes=tuple(message.extensions.webtransport_certhashes),
    )


# --- identify (specs/identify) --------------------------------------------------------------------------


@frozen
class IdentifyMessage:
    """``Identify``; None marks what was not sent, so that parts of one exchange can be merged."""

    public_key: bytes | None = None
    listen_addrs: tuple[bytes, ...] = ()
    protocols: tuple[str, ...] = ()
    observed_addr: bytes | None = None
    protocol_version: str | None = None
    agent_version: str | None = None
    signed_peer_record: bytes | None = None


# More addresses than are kept are let through and cut by the reader: a rich peer is not an attack.
_IDENTIFY_MESSAGE = Guard(
    _IDENTIFY.max_message,
    {
        1: FieldRule(LENGTH, max_length=WIRE_LIMITS.max_public_key),
        2: FieldRule(LENGTH, max_count=1024),
        3: FieldRule(LENGTH, max_count=_IDENTIFY.max_protocols, max_length=_IDENTIFY.max_protocol_name),
        4: FieldRule(LENGTH),
        5: FieldRule(LENGTH),
        6: FieldRule(LENGTH),
        8: FieldRule(LENGTH, max_length=WIRE_LIMITS.max_envelope),
    },
    max_elements=2048,
)


def encode_identify(message: IdentifyMessage) -> bytes:
    return Identify(
        publicKey=message.public_key,
        listenAddrs=message.listen_addrs,
        protocols=[protocol.encode("utf-8") for protocol in message.protocols],
        observedAddr=message.observed_addr,
        protocolVersion=_optional_bytes(message.protocol_version),
        agentVersion=_optional_bytes(message.agent_version),
        signedPeerRecord=message.signed_peer_record,
    ).SerializeToString(deterministic=True)


def decode_identify(data: bytes) -> IdentifyMessage:
    message = guarded(Identify, _IDENTIFY_MESSAGE, data)
    version = (
        text_of(message.protocolVersion, "protocolVersion") if message.HasField("protocolVersion") else None
    )
    agent = text_of(message.agentVersion, "agentVersion") if message.HasField("agentVersion") else None
    return IdentifyMessage(
        public_key=message.publicKey if message.HasField("publicKey") else None,
        listen_addrs=tuple(message.listenAddrs),
        protocols=tuple(text_of(protocol, "a protocol id") for protocol in message.protocols),
        observed_addr=message.observedAddr if message.HasField("observedAddr") else None,
        protocol_version=version,
        agent_version=agent,
        signed_peer_record=message.signedPeerRecord if message.HasField("signedPeerRecord") else None,
    )


def _optional_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8")
